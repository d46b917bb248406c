//! The test vectors of FORMAT.md: one whole case from fixed keys, in files.
//!
//! The files in `vectors/` are what the page shows. Each is made again here and must be the
//! same to the byte; then a program of no more than Python's own library and `ssh-keygen`
//! (`vectors/check.py`) verifies them, without any code of ours. To write them after a change
//! of format: `HOLDFAST_WRITE_VECTORS=1 cargo test -p custody --test vectors the_files`.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;
#[path = "vectors/make.rs"]
mod make;

use std::{fs, process::Command};

use custody::{
    commit::Opening,
    manifest::{
        file::{self, Reader},
        leaf,
    },
    statement::Body,
};
use make::{Files, folder, make, manifest, rows, writing};

#[test]
fn the_files_of_the_format_page_are_what_the_code_writes() {
    let made = make();
    if writing() {
        for (path, bytes) in &made {
            let path = folder().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    for (path, bytes) in &made {
        let stored = fs::read(folder().join(path)).unwrap_or_default();
        let same = stored == *bytes;
        assert!(same, "{path} is not what the code writes");
    }
}

#[test]
fn the_manifest_file_of_the_page_is_read_and_gives_its_root() {
    let open = || fs::File::open(folder().join("snapshot/manifest.parquet")).unwrap();
    let (key, root) = manifest(&mut Files::new());
    let checked = file::check(Reader::open(open()).unwrap(), Some(&key), &root).unwrap();
    assert_eq!((checked.rows, checked.recomputed), (4, true));
    for (at, stored) in Reader::open(open()).unwrap().enumerate() {
        assert_eq!(stored.unwrap().row.unwrap(), rows()[at]);
    }
}

#[test]
fn a_program_without_any_code_of_ours_verifies_every_vector() {
    let python = std::env::var("HOLDFAST_PYTHON").unwrap_or("python3".to_owned());
    let run = |folder: &std::path::Path| {
        Command::new(&python)
            .arg(folder.join("check.py"))
            .arg(folder)
            .output()
    };
    let output = match (
        run(&folder()),
        Command::new("ssh-keygen").arg("-?").output(),
    ) {
        (Ok(output), Ok(_)) => output,
        _ => return house::skipped("vectors", "needs python3 and ssh-keygen"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    assert!(said.contains("every vector verifies"), "{said}");
    // And it can say no: one changed byte anywhere in what it reads is found.
    let copy = tempfile::tempdir().unwrap();
    for path in make().keys().map(String::as_str).chain(["check.py"]) {
        let to = copy.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder().join(path), to).unwrap();
    }
    assert!(run(copy.path()).unwrap().status.success());
    for (path, at) in [
        ("commitments.json", 60),
        ("manifest.json", 40),
        ("receipt.json", 2500),
        ("snapshot/sealed.entry", 300),
        ("snapshot/manifest.parquet", 50),
        ("consistency.json", 60),
    ] {
        let path = copy.path().join(path);
        let right = fs::read(&path).unwrap();
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        fs::write(&path, wrong).unwrap();
        let output = run(copy.path()).unwrap();
        assert!(!output.status.success(), "{} at {at}", path.display());
        fs::write(&path, right).unwrap();
    }
}

/// The page says what the vectors say, and forgets no kind and no purpose.
#[test]
fn the_page_names_every_kind_and_shows_the_vectors_as_they_are() {
    let page = include_str!("../FORMAT.md");
    for kind in Body::KINDS {
        assert!(
            page.contains(&format!("`{kind}`")),
            "{kind} is not on the page"
        );
    }
    for purpose in ["command", "approval", "agent", "coordinator", "login"] {
        assert!(page.contains(&format!("`{purpose}@holdfast`")));
    }
    let opening = Opening::new("path", "/srv/data/alice", [7; 32]);
    assert!(page.contains(&opening.commitment().to_string()));
    let (key, root) = manifest(&mut Files::new());
    let row = &rows()[1];
    assert!(page.contains(&root.to_string()));
    assert!(page.contains(&leaf::leaf_hash(row, &key.salt_row(1)).to_string()));
    let metadata = hex::encode(leaf::metadata(row));
    let (begin, end) = (
        page.find("has metadata `").unwrap(),
        page.find(" and leaf hash").unwrap(),
    );
    let shown: String = page[begin + 14..end]
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    assert_eq!(shown, metadata);
}

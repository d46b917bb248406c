//! Opening parcels: what was released arrives, and nothing else, and nothing outside.
#![allow(clippy::unwrap_used, missing_docs)]

mod parcel_support;
#[path = "../../custody/tests/support/mod.rs"]
mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use cli::parcel::{OpenError, Opened, compare, open};
use custody::{
    digest::Digest,
    manifest::{
        leaf::SnapshotKey,
        row::{Kind, Row, Status},
    },
};
use parcel_support::{Owner, Tar, pack};
use support::Manifest;
use tar::EntryType;

fn row(index: u64, path: &[u8], kind: Kind, content: &[u8], target: Option<&[u8]>) -> Row {
    Row {
        kind,
        size: content.len() as u64,
        sha256: (kind == Kind::File).then(|| Digest::of(content)),
        mode: 0o6755,
        mtime_ns: 1_700_000_000_000_000_000,
        target: target.map(<[u8]>::to_vec),
        status: Status::Read,
        reason: None,
        ..Row::unknown(index, path.to_vec(), "")
    }
}

/// Path, kind, content and target.
type Thing<'a> = (&'a [u8], Kind, &'a [u8], Option<&'a [u8]>);

/// A manifest of whatever rows; row 0 is the folder itself.
fn manifest(things: &[Thing<'_>]) -> Manifest {
    let mut rows = vec![row(0, b".", Kind::Folder, b"", None)];
    let mut contents = vec![Vec::new()];
    for (index, (path, kind, content, target)) in (1..).zip(things) {
        rows.push(row(index, path, *kind, content, *target));
        contents.push(content.to_vec());
    }
    Manifest::from_rows(SnapshotKey::from_random([9; 32]), rows, contents)
}

struct Tried {
    folder: tempfile::TempDir,
    result: Result<Opened, OpenError>,
}

impl Tried {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("out").join(path)).ok()
    }
    fn wrong(&self) -> String {
        self.result.as_ref().unwrap().wrong.join("; ")
    }
}

fn tried(owner: &Owner, parcel: &[u8]) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("parcel"), parcel).unwrap();
    fs::write(folder.path().join("key"), &owner.secret).unwrap();
    let at = |name: &str| folder.path().join(name);
    let result = open(&at("parcel"), &at("key"), &at("out"));
    Tried { folder, result }
}

/// Every path below a folder but the three that a try begins with.
fn outside(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| !["parcel", "key", "out"].contains(&name.as_str()));
    names
}

#[test]
fn an_owner_gets_his_files_folders_and_harmless_links_with_no_set_id_bits() {
    let manifest = manifest(&[
        (b"alice", Kind::Folder, b"", None),
        (b"alice/a.txt", Kind::File, b"hello", None),
        (b"alice/device", Kind::BlockDevice, b"", None),
        (b"alice/evil", Kind::Symlink, b"", Some(b"/etc/passwd")),
        (b"alice/link", Kind::Symlink, b"", Some(b"a.txt")),
        (b"alice/z\xff", Kind::File, b"raw name", None),
    ]);
    let owner = Owner::new();
    let mut tar = Tar::new(&manifest, &[1, 2, 3, 4, 5, 6]);
    for index in [1, 2, 5, 6] {
        tar.row(&manifest.rows[index], &manifest.contents[index]);
    }
    let tried = tried(&owner, &owner.encrypt(&tar.finish()));
    let opened = tried.result.as_ref().unwrap();
    assert_eq!(opened.wrong, Vec::<String>::new());
    let counts = (
        opened.files,
        opened.folders,
        opened.symlinks,
        opened.listed,
        opened.bytes,
    );
    assert_eq!(counts, (2, 1, 1, 2, 13));
    assert_eq!(tried.read("alice/a.txt").unwrap(), b"hello");
    assert_eq!(tried.read("alice/link").unwrap(), b"hello");
    let file = tried.folder.path().join("out/alice/a.txt");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    assert!(!tried.folder.path().join("out/alice/evil").exists());
    let at = |name: &str| tried.folder.path().join(name);
    let again = compare(&at("parcel"), &at("key"), &at("out")).unwrap();
    assert_eq!(again.wrong, Vec::<String>::new());
    fs::write(&file, b"hellO").unwrap();
    assert_eq!(
        compare(&at("parcel"), &at("key"), &at("out"))
            .unwrap()
            .wrong
            .len(),
        1
    );
}

#[test]
fn a_file_with_other_bytes_is_named_and_not_left_lying_about() {
    let manifest = Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")]);
    let owner = Owner::new();
    let mut tar = Tar::new(&manifest, &[1, 2]);
    tar.row(&manifest.rows[1], b"hellO");
    tar.row(&manifest.rows[2], b"world");
    let tried = tried(&owner, &owner.encrypt(&tar.finish()));
    assert!(
        tried.wrong().contains("`files/0/a.txt` has other bytes"),
        "{}",
        tried.wrong()
    );
    assert_eq!(
        (tried.read("a.txt"), tried.read("b.txt")),
        (None, Some(b"world".to_vec()))
    );
}

#[test]
fn a_row_of_another_snapshot_a_missing_file_and_a_stranger_are_named() {
    let owner = Owner::new();
    let (ours, other) = (
        Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")]),
        Manifest::of(&[("a.txt", b"hellO"), ("b.txt", b"world")]),
    );
    // The row says what its file is, but is not in the tree whose root stands beside it.
    let line =
        parcel_support::line(&other, 1).replace(&other.root.to_string(), &ours.root.to_string());
    let mut tar = Tar(tar::Builder::new(Vec::new()));
    let about = br#"{"format":"holdfast-parcel/1","release":"r","rows":1}"#;
    tar.raw(b"holdfast/parcel.json", EntryType::Regular, about, b"");
    tar.raw(
        b"holdfast/rows.jsonl",
        EntryType::Regular,
        line.as_bytes(),
        b"",
    );
    tar.row(&other.rows[1], b"hellO");
    let one = tried(&owner, &owner.encrypt(&tar.finish()));
    assert!(
        one.wrong().contains("is not in the snapshot"),
        "{}",
        one.wrong()
    );

    let mut tar = Tar::new(&ours, &[1, 2]);
    tar.row(&ours.rows[2], b"world");
    let two = tried(&owner, &owner.encrypt(&tar.finish()));
    assert!(
        two.wrong().contains("`files/0/a.txt` is missing"),
        "{}",
        two.wrong()
    );

    let mut tar = Tar::new(&ours, &[1]);
    tar.row(&ours.rows[1], b"hello");
    tar.raw(b"files/0/extra", EntryType::Regular, b"x", b"");
    let three = tried(&owner, &owner.encrypt(&tar.finish()));
    assert!(
        three.wrong().contains("`files/0/extra` is in no row"),
        "{}",
        three.wrong()
    );
    assert_eq!(three.read("extra"), None);
}

#[test]
fn nothing_is_ever_written_outside_whatever_the_rows_and_the_archive_say() {
    let owner = Owner::new();
    for path in [
        &b"../evil"[..],
        b"/evil",
        b"a/../../evil",
        b"..",
        b"a//evil",
        b"a/./evil",
        b"",
    ] {
        let manifest = manifest(&[(path, Kind::File, b"evil", None)]);
        let tried = tried(&owner, &pack(&manifest, &owner));
        assert!(!tried.wrong().is_empty(), "{path:?}");
        assert_eq!(
            outside(tried.folder.path()),
            Vec::<String>::new(),
            "{path:?}"
        );
        assert_eq!(tried.result.as_ref().unwrap().files, 0);
    }
}

#[test]
fn a_file_is_not_written_through_a_link_that_came_before_it() {
    let owner = Owner::new();
    // The link stays inside, yet the file behind it would land in another place.
    let manifest = manifest(&[
        (b"a", Kind::Symlink, b"", Some(b"b")),
        (b"a/evil", Kind::File, b"evil", None),
        (b"b", Kind::Folder, b"", None),
    ]);
    let tried = tried(&owner, &pack(&manifest, &owner));
    assert!(tried.wrong().contains("the symlink"), "{}", tried.wrong());
    assert_eq!(tried.read("b/evil"), None);
}

#[test]
fn links_that_together_lead_out_are_made_in_their_own_folders_or_not_at_all() {
    let owner = Owner::new();
    let manifest = manifest(&[
        (b"p/q/r", Kind::Symlink, b"", Some(b"../../s")),
        (b"p/q/r/l", Kind::Symlink, b"", Some(b"../../../t")),
        (b"s", Kind::Folder, b"", None),
    ]);
    let tried = tried(&owner, &pack(&manifest, &owner));
    assert!(!tried.wrong().is_empty());
    let inside = tried.folder.path().join("out/s/l");
    assert!(fs::symlink_metadata(inside).is_err());
}

#[test]
fn devices_hard_links_and_pipes_in_the_archive_are_refused() {
    let owner = Owner::new();
    for kind in [
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Symlink,
    ] {
        let manifest = Manifest::of(&[("a.txt", b"")]);
        let mut tar = Tar::new(&manifest, &[1]);
        tar.raw(b"files/0/a.txt", kind, b"", b"/etc/passwd");
        let tried = tried(&owner, &owner.encrypt(&tar.finish()));
        assert!(
            tried.wrong().contains("another kind"),
            "{kind:?}: {}",
            tried.wrong()
        );
        assert!(fs::symlink_metadata(tried.folder.path().join("out/a.txt")).is_err());
    }
}

#[test]
fn a_damaged_cut_or_foreign_parcel_does_not_open() {
    let manifest = Manifest::of(&[("a.txt", b"hello"), ("b.txt", &[7; 200_000])]);
    let (owner, other) = (Owner::new(), Owner::new());
    let parcel = pack(&manifest, &owner);
    let not = |owner: &Owner, parcel: &[u8]| {
        matches!(
            tried(owner, parcel).result,
            Err(OpenError::DoesNotVerify(_))
        )
    };
    assert!(not(&other, &parcel));
    assert!(not(&owner, &[]));
    assert!(not(&owner, &[0; 1000]));
    for length in [10, 100, 70_000, parcel.len() - 1] {
        assert!(not(&owner, &parcel[..length]), "{length}");
    }
    for at in (0..parcel.len()).step_by(parcel.len() / 17) {
        let mut changed = parcel.clone();
        changed[at] ^= 1;
        assert!(not(&owner, &changed), "{at}");
    }
    let empty = Tar(tar::Builder::new(Vec::new())).finish();
    assert!(not(&owner, &owner.encrypt(&empty)));
}

#[test]
fn a_folder_that_is_not_empty_is_not_opened_into() {
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    let owner = Owner::new();
    let tried = tried(&owner, &pack(&manifest, &owner));
    let at = |name: &str| tried.folder.path().join(name);
    let again = open(&at("parcel"), &at("key"), &at("out"));
    assert!(matches!(again, Err(OpenError::Usage(_))));
    let missing = open(&at("none"), &at("key"), &at("new"));
    assert!(matches!(missing, Err(OpenError::World(_))));
}

#[test]
fn a_parcel_made_with_the_age_tool_opens_with_a_key_made_by_age_keygen() {
    if std::process::Command::new("age-keygen")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED a_parcel_made_with_the_age_tool: age is not installed");
        if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
            use std::io::Write as _;
            let mut out = fs::File::options()
                .append(true)
                .create(true)
                .open(file)
                .unwrap();
            writeln!(out, "a_parcel_made_with_the_age_tool: age is not installed").unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
    };
    run("age-keygen", &["-o", at("key").to_str().unwrap()]);
    let key = fs::read_to_string(at("key")).unwrap();
    let public = key
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .unwrap();
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    let mut tar = Tar::new(&manifest, &[1]);
    tar.row(&manifest.rows[1], b"hello");
    fs::write(at("tar"), tar.finish()).unwrap();
    let (out, tar) = (at("parcel"), at("tar"));
    run(
        "age",
        &[
            "-r",
            public,
            "-o",
            out.to_str().unwrap(),
            tar.to_str().unwrap(),
        ],
    );
    let opened = open(&at("parcel"), &at("key"), &at("out")).unwrap();
    assert_eq!((opened.files, opened.wrong.len()), (1, 0));
    assert_eq!(fs::read(at("out/a.txt")).unwrap(), b"hello");
}

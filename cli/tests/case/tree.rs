//! A real tree: with odd names and things, hashed by `sha256sum` and read by pyarrow.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{Seek as _, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
};

use custody::manifest::{file::Stored, row::Kind};
use serde_json::{Value, json};

use crate::{
    common::{is_root, skipped},
    played::Played,
};

/// A tree such as customers have.
fn grow(tree: &Path) {
    let name = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes).to_owned());
    fs::create_dir_all(tree.join("alice/deep/er/and/deeper")).unwrap();
    fs::create_dir_all(tree.join("empty folder")).unwrap();
    for (path, content) in [
        (name(b"alice/letter.txt"), &b"dear"[..]),
        (name(b"alice/deep/er/and/deeper/x"), b"down here"),
        (name(b"alice/caf\xe9"), b"not UTF-8"),
        (name(b"alice/two\nlines"), b"a newline in the name"),
        (name(b"alice/ leading and trailing "), b"spaces"),
        (name(b"alice/-rf"), b"no option"),
        (name(b"alice/\\back'slash\""), b"quotes"),
        (name(b"alice/empty"), b""),
        (name(b"\xff\xfe"), b"no letter at all"),
        (name(&[b'n'; 255]), b"as long as names can be"),
        (name("\u{202e}gpj.exe".as_bytes()), b"right to left"),
    ] {
        fs::write(tree.join(path), content).unwrap();
    }
    fs::write(tree.join("alice/large"), vec![0xa5; 3 << 20]).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 2 << 20).unwrap();
    for (to, at) in [
        ("alice/letter.txt", "to a file"),
        ("nowhere", "to nothing"),
        ("/etc/passwd", "out of the tree"),
        ("alice", "to a folder"),
        ("loop", "loop"),
    ] {
        symlink(to, tree.join(at)).unwrap();
    }
    symlink(OsStr::from_bytes(b"caf\xe9"), tree.join("alice/odd link")).unwrap();
    fs::hard_link(tree.join("alice/letter.txt"), tree.join("alice/same")).unwrap();
    let fifo = Command::new("mkfifo").arg(tree.join("fifo")).status();
    assert!(fifo.unwrap().success());
    drop(UnixListener::bind(tree.join("socket")).unwrap());
}

/// Every regular file below a folder with what `sha256sum` says of it.
fn sums(folder: &Path) -> BTreeMap<Vec<u8>, String> {
    let list = Command::new("find")
        .args([".", "-type", "f", "-print0"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(list.status.success(), "{list:?}");
    let mut names = tempfile::tempfile().unwrap();
    names.write_all(&list.stdout).unwrap();
    names.rewind().unwrap();
    let output = Command::new("xargs")
        .args(["-0", "sha256sum", "--zero", "--"])
        .current_dir(folder)
        .stdin(names)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == 0);
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (sum, path) = line.split_at(64);
            let path = path.strip_prefix(b"  ./").unwrap();
            (path.to_vec(), String::from_utf8(sum.to_vec()).unwrap())
        })
        .collect()
}

fn of_kind(rows: &[Stored], kind: Kind) -> impl Iterator<Item = &custody::manifest::row::Row> {
    let rows = rows.iter().map(|stored| stored.row.as_ref().unwrap());
    rows.filter(move |row| row.kind == kind)
}

#[test]
fn every_file_of_a_real_tree_has_the_hash_that_sha256sum_gives_and_nothing_odd_is_lost() {
    let test =
        "every_file_of_a_real_tree_has_the_hash_that_sha256sum_gives_and_nothing_odd_is_lost";
    if !is_root(test) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    grow(source.path());
    let played = Played::new(Some(source.path()));
    let rows = played.rows("store-1");
    assert_eq!(rows.len() as u64, played.snapshot("store-1")["rows"]);

    let expected = sums(source.path());
    assert_eq!(expected.len(), 14, "{:?}", expected.keys());
    let found: BTreeMap<_, _> = of_kind(&rows, Kind::File)
        .map(|row| (row.path.clone(), row.sha256.unwrap().to_string()))
        .collect();
    assert_eq!(found, expected);
    let links: BTreeMap<_, _> = of_kind(&rows, Kind::Symlink)
        .map(|row| (row.path.clone(), row.target.clone().unwrap()))
        .collect();
    assert_eq!(links.len(), 6);
    for (path, target) in &links {
        let link = source.path().join(OsStr::from_bytes(path));
        let real = fs::read_link(&link).unwrap().into_os_string().into_vec();
        assert_eq!(&real, target, "{link:?}");
    }
    // The demo copies what has content, and says that it left the rest out.
    for kind in [Kind::Fifo, Kind::Socket, Kind::Unknown] {
        assert_eq!(of_kind(&rows, kind).count(), 0);
    }
    let folders: Vec<_> = of_kind(&rows, Kind::Folder).map(|row| &row.path).collect();
    assert!(folders.contains(&&b"empty folder".to_vec()));

    another_reader_gives_the_same_rows(&played.manifest("store-1"), &rows);
}

/// Reads every column with pyarrow; bytes come as hex.
const READ: &str = "
import json, sys, pyarrow.parquet
plain = lambda v: v.hex() if isinstance(v, bytes) else v
for row in pyarrow.parquet.read_table(sys.argv[1]).to_pylist():
    print(json.dumps({k: plain(v) for k, v in row.items()}))
";

fn another_reader_gives_the_same_rows(manifest: &Path, rows: &[Stored]) {
    let test = "another_reader_gives_the_same_rows";
    let Some(python) = std::env::var_os("HOLDFAST_PYTHON") else {
        return skipped(test, "HOLDFAST_PYTHON names no Python with pyarrow");
    };
    let mut read = Command::new(python);
    let output = read.args(["-c", READ]).arg(manifest).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ours: Vec<Value> = rows.iter().map(as_read).collect();
    assert_eq!(theirs, ours);
}

fn as_read(stored: &Stored) -> Value {
    let row = stored.row.as_ref().unwrap();
    json!({
        "index": stored.index,
        "path": hex::encode(&row.path),
        "kind": row.kind.as_str(),
        "size": row.size,
        "sha256": row.sha256.map(|hash| hash.to_string()),
        "mtime_ns": row.mtime_ns,
        "ctime_ns": row.ctime_ns,
        "mode": row.mode,
        "uid": row.uid,
        "gid": row.gid,
        "nlink": row.nlink,
        "inode": row.inode,
        "target": row.target.as_ref().map(hex::encode),
        "xattrs": row.xattrs.as_ref().map(hex::encode),
        "holes": row.holes,
        "status": row.status.as_str(),
        "reason": row.reason,
        "leaf": stored.leaf.to_string(),
    })
}

//! Capture: every thing is a row, every file hashed right, and nothing leads out of the scope.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use agent::capture::seal::{Capture, CaptureError, Progress, Sealed, capture};
use common::tool;
use custody::{
    digest::Digest,
    id::SnapshotId,
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
        row::{Kind, Row, Status},
    },
};
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

struct Taken {
    sealed: Sealed,
    rows: BTreeMap<Vec<u8>, Row>,
}

fn take(root: &Path, relative: &str) -> Result<Taken, CaptureError> {
    let out = tempfile::tempdir().unwrap();
    let manifest = out.path().join("manifest.parquet");
    let root = File::open(root).unwrap();
    let key = SnapshotKey::from_random([1; 32]);
    let what = Capture {
        root: root.as_fd(),
        relative: Path::new(relative),
        exclude: Vec::new(),
        origins: None,
        snapshot: SnapshotId::from_random([2; 16]),
        key: &key,
        out: &manifest,
        threads: 2,
    };
    let sealed = capture(&what, &Progress::default())?;
    let open = || Reader::open(File::open(&manifest).unwrap()).unwrap();
    let checked = check(open(), Some(&key), &sealed.root).unwrap();
    assert_eq!((checked.rows, checked.bytes), (sealed.rows, sealed.bytes));
    assert_eq!(checked.unreadable, sealed.unreadable);
    let rows = open().map(|stored| stored.unwrap().row.unwrap());
    Ok(Taken {
        sealed,
        rows: rows.map(|row| (row.path.clone(), row)).collect(),
    })
}

#[test]
fn every_oddity_is_a_row_and_every_hash_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("plain"), b"hello").unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::hard_link(at("plain"), at("second name")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    tool("mkfifo", &[at("pipe").to_str().unwrap()]);
    let odd = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"odd \n\xff name"));
    fs::write(&odd, b"odd").unwrap();
    fs::write(at(&"n".repeat(255)), b"long").unwrap();
    let mut sparse = File::create(at("sparse")).unwrap();
    sparse.write_all(b"head").unwrap();
    sparse.seek(SeekFrom::Start(8 << 20)).unwrap();
    sparse.write_all(b"tail").unwrap();
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("sub/inner"), vec![7; 300_000]).unwrap();

    let taken = take(folder.path(), "").unwrap();
    let row = |path: &[u8]| &taken.rows[path];
    assert_eq!(row(b".").kind, Kind::Folder);
    assert_eq!(row(b"plain").sha256, Some(Digest::of(b"hello")));
    assert_eq!(row(b"second name").sha256, Some(Digest::of(b"hello")));
    assert_eq!(row(b"plain").nlink, 2);
    assert_eq!(row(b"plain").inode, row(b"second name").inode);
    assert_eq!(row(b"empty").sha256, Some(Digest::of(b"")));
    assert_eq!(row(b"link").kind, Kind::Symlink);
    assert_eq!(row(b"link").target.as_deref(), Some(&b"/etc/passwd"[..]));
    assert_eq!(row(b"link").sha256, None);
    assert_eq!(
        (row(b"socket").kind, row(b"socket").status),
        (Kind::Socket, Status::NotOpened)
    );
    assert_eq!(
        (row(b"pipe").kind, row(b"pipe").status),
        (Kind::Fifo, Status::NotOpened)
    );
    assert_eq!(row(b"odd \n\xff name").sha256, Some(Digest::of(b"odd")));
    assert_eq!(
        row("n".repeat(255).as_bytes()).sha256,
        Some(Digest::of(b"long"))
    );
    assert_eq!(
        row(b"sub/inner").sha256,
        Some(Digest::of(&vec![7; 300_000]))
    );
    let mut whole = vec![0; (8 << 20) + 4];
    whole[..4].copy_from_slice(b"head");
    whole[8 << 20..].copy_from_slice(b"tail");
    assert_eq!(row(b"sparse").sha256, Some(Digest::of(&whole)));
    assert!(row(b"sparse").holes >= 7 << 20, "{}", row(b"sparse").holes);
    assert_eq!(taken.sealed.rows, 12);
    assert_eq!(taken.sealed.unreadable, 0);
}

#[test]
fn a_long_list_of_attributes_is_not_left_out() {
    let name = "a_long_list_of_attributes_is_not_left_out";
    if !common::mounted::can_mount(name) {
        return;
    }
    let mounted = common::mounted::Mounted::new("xfs", 320);
    let file = mounted.path().join("file");
    fs::write(&file, b"x").unwrap();
    for number in 0..60 {
        let attribute = format!("user.{number:0>200}");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, attribute, b"value", flags).unwrap();
    }
    let taken = take(mounted.path(), "").unwrap();
    let xattrs = taken.rows[&b"file"[..]].xattrs.as_ref().unwrap();
    assert_eq!(xattrs.windows(5).filter(|w| *w == b"value").count(), 60);
}

#[test]
fn files_that_are_only_holes_do_not_keep_a_capture_for_a_century() {
    let name = "files_that_are_only_holes_do_not_keep_a_capture_for_a_century";
    if !common::mounted::can_mount(name) {
        return;
    }
    let mounted = common::mounted::Mounted::new("tmpfs", 0);
    let at = |name: &str| mounted.path().join(name);
    for (name, length) in [("endless", i64::MAX as u64 - 4096), ("huge", 1 << 60)] {
        let mut file = File::create(at(name)).unwrap();
        file.write_all(b"head").unwrap();
        file.set_len(length).unwrap();
    }
    fs::write(at("real"), b"real").unwrap();
    let taken = take(mounted.path(), "").unwrap();
    for name in ["endless", "huge"] {
        let row = &taken.rows[name.as_bytes()];
        let said = (row.status, row.reason.as_deref(), row.sha256);
        assert_eq!(said, (Status::Unreadable, Some("too-many-holes"), None));
        assert!(row.holes > 1 << 59, "{name}");
    }
    assert_eq!(taken.rows[&b"real"[..]].sha256, Some(Digest::of(b"real")));
    assert_eq!(taken.sealed.unreadable, 2);
}

#[test]
fn devices_are_rows_and_are_not_opened() {
    if !rustix::process::geteuid().is_root() {
        common::skipped(
            "devices_are_rows_and_are_not_opened",
            "making a device needs root",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("tape");
    // Major 9 is a SCSI tape: opening it could rewind one.
    tool("mknod", &[device.to_str().unwrap(), "c", "9", "0"]);
    let taken = take(folder.path(), "").unwrap();
    let row = &taken.rows[&b"tape"[..]];
    assert_eq!(
        (row.kind, row.status, row.sha256),
        (Kind::CharDevice, Status::NotOpened, None)
    );
}

#[test]
fn what_cannot_be_read_is_a_row_with_its_reason() {
    // A process's memory is a regular file that cannot be read at its beginning, even by root.
    let process = PathBuf::from(format!("/proc/{}", std::process::id()));
    let taken = take(&process, "mem").unwrap();
    let row = &taken.rows[&b"mem"[..]];
    assert_eq!(
        (row.status, row.reason.as_deref()),
        (Status::Unreadable, Some("EIO"))
    );
    assert_eq!(taken.sealed.unreadable, 1);
}

#[test]
fn rows_stand_in_the_order_of_the_walk_and_one_file_is_a_target_too() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a-", "a"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("x"), name).unwrap();
    }
    let taken = take(folder.path(), "").unwrap();
    let mut rows: Vec<&Row> = taken.rows.values().collect();
    rows.sort_by_key(|row| row.index);
    let paths: Vec<&[u8]> = rows.iter().map(|row| row.path.as_slice()).collect();
    let expected: [&[u8]; 7] = [b".", b"a", b"a/x", b"a-", b"a-/x", b"b", b"b/x"];
    assert_eq!(paths, expected);
    let one = take(folder.path(), "a/x").unwrap();
    assert_eq!(one.rows[&b"x"[..]].sha256, Some(Digest::of(b"a")));
    assert_eq!(one.sealed.rows, 1);
}

#[test]
fn no_symlink_and_no_dots_lead_out_of_the_scope() {
    let folder = tempfile::tempdir().unwrap();
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("secret"), b"not ours").unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    std::os::unix::fs::symlink(secret.path(), folder.path().join("in/out")).unwrap();
    for relative in ["in/out/secret", "../", "in/../.."] {
        assert!(take(folder.path(), relative).is_err(), "{relative}");
    }
    // A target that is a symlink is that link, not what it points to.
    let link = take(folder.path(), "in/out").map(|taken| taken.rows[&b"out"[..]].kind);
    assert!(!matches!(link, Ok(kind) if kind != Kind::Symlink));
    let taken = take(folder.path(), "in").unwrap();
    assert_eq!(taken.rows.len(), 2);
}

#[test]
fn a_folder_swapped_for_a_symlink_during_the_walk_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("secret"), b"not ours").unwrap();
    let (real, aside) = (folder.path().join("real"), folder.path().join("aside"));
    fs::create_dir(&real).unwrap();
    for index in 0..200 {
        fs::write(real.join(format!("file {index}")), b"ours").unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&real, &aside).unwrap();
                std::os::unix::fs::symlink(secret.path(), &real).unwrap();
                fs::remove_file(&real).unwrap();
                fs::rename(&aside, &real).unwrap();
            }
        });
        let theirs = Digest::of(b"not ours");
        for _ in 0..60 {
            let taken = take(folder.path(), "").unwrap();
            assert!(taken.rows.values().all(|row| row.sha256 != Some(theirs)));
            assert!(!taken.rows.keys().any(|path| path.ends_with(b"secret")));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_file_that_grows_while_it_is_read_is_said_to_have_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing");
    fs::write(&path, vec![1; 16 << 20]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&[2; 64]).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        let taken = take(folder.path(), "").unwrap();
        stop.store(true, Ordering::Relaxed);
        let row = &taken.rows[&b"growing"[..]];
        assert_eq!(row.status, Status::Changed);
        assert_eq!(row.reason.as_deref(), Some("changed-while-read"));
    });
}

#[test]
fn a_tree_of_2000_folders_in_each_other_is_walked_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut fd = open(folder.path(), flags, Mode::empty()).unwrap();
    for _ in 0..2000 {
        mkdirat(&fd, "d", Mode::from(0o755)).unwrap();
        openat(&fd, "z", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
        fd = openat(&fd, "d", flags, Mode::empty()).unwrap();
    }
    drop(fd);
    let taken = take(folder.path(), "").unwrap();
    assert_eq!(taken.sealed.rows, 4001);
    assert_eq!(taken.sealed.unreadable, 0);
    tool("rm", &["-rf", folder.path().join("d").to_str().unwrap()]);
}

#[test]
fn a_real_tree_hashes_as_sha256sum_does() {
    let root = PathBuf::from("/usr/share/doc");
    let taken = take(&root, "").unwrap();
    let out = std::process::Command::new("sh")
        .args(["-c", "find . -type f -print0 | xargs -0 sha256sum -z"])
        .current_dir(&root)
        .output()
        .unwrap();
    let mut files = 0;
    for line in out
        .stdout
        .split(|&b| b == 0)
        .filter(|line| !line.is_empty())
    {
        let (hash, path) = (std::str::from_utf8(&line[..64]).unwrap(), &line[68..]);
        assert_eq!(taken.rows[path].sha256.unwrap().to_string(), hash);
        files += 1;
    }
    assert!(files > 10);
    assert_eq!(
        files,
        taken
            .rows
            .values()
            .filter(|row| row.kind == Kind::File)
            .count()
    );
}

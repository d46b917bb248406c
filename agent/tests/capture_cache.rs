//! A capture leaves the host's page cache as it found it: what was there stays, and nothing else
//! comes to stay.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::{fd::AsFd as _, unix::fs::FileExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use agent::capture::seal::{Capture, Progress, capture};
use common::{mounted::Mounted, mounted::can_mount, tool};
use custody::{
    digest::Digest, id::SnapshotId, manifest::file::Reader, manifest::leaf::SnapshotKey,
};
use rustix::fs::{Advice, fadvise};

/// Bytes of a file that are in the page cache, by the tool of util-linux.
fn cached(path: &Path) -> u64 {
    let out = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .arg(path)
        .output();
    let out = out.expect("fincore runs (Debian package util-linux)");
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Whether the kernel tells which pages are there (Linux 6.5).
fn can_tell(test: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (parts.next().unwrap(), parts.next().unwrap());
    if version < (6, 5) {
        common::skipped(test, "the kernel cannot say what is in its page cache");
    }
    version >= (6, 5)
}

/// Files from none to several parts of what is asked about at a time.
const SIZES: [usize; 10] = [
    0,
    1,
    4095,
    5000,
    65_535,
    65_536,
    300_000,
    (1 << 20) + 1,
    (5 << 20) + 12_345,
    9 << 20,
];

fn lay(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut laid = BTreeMap::new();
    for (n, size) in SIZES.iter().enumerate() {
        let path = folder.join(format!("file {n}"));
        let bytes: Vec<u8> = (0..*size).map(|at| (at * 7 + at / 251 + n) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        laid.insert(path, Digest::of(&bytes));
    }
    laid
}

/// Takes a file out of the cache, as far as that goes.
fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

/// Captures a folder and checks the hashes of all files.
fn take(folder: &Path, laid: &BTreeMap<PathBuf, Digest>) {
    let out = tempfile::tempdir().unwrap();
    let manifest = out.path().join("manifest");
    let root = File::open(folder).unwrap();
    let key = SnapshotKey::from_random([1; 32]);
    let what = Capture {
        root: root.as_fd(),
        relative: Path::new(""),
        exclude: Vec::new(),
        origins: None,
        snapshot: SnapshotId::from_random([2; 16]),
        key: &key,
        out: &manifest,
        threads: 2,
    };
    capture(&what, &Progress::default()).unwrap();
    let reader = Reader::open(File::open(&manifest).unwrap()).unwrap();
    let rows = reader.map(|stored| stored.unwrap().row.unwrap());
    let found: BTreeMap<PathBuf, Digest> = rows
        .filter_map(|row| {
            let name = String::from_utf8(row.path).unwrap();
            Some((folder.join(name), row.sha256?))
        })
        .collect();
    assert_eq!(&found, laid);
}

/// Runs a test on the file systems of servers, each on a loop device.
fn everywhere(test: &str, body: impl Fn(&Path)) {
    if !can_tell(test) || !can_mount(test) {
        return;
    }
    for (kind, size) in common::mounted::KINDS {
        eprintln!("on {kind}");
        body(Mounted::new(kind, size).path());
    }
}

#[test]
fn a_capture_of_what_nobody_reads_leaves_nothing_of_it_in_the_cache() {
    everywhere(
        "a_capture_of_what_nobody_reads_leaves_nothing_of_it_in_the_cache",
        |folder| {
            let laid = lay(folder);
            laid.keys().for_each(|path| forget(path));
            let before: u64 = laid.keys().map(|path| cached(path)).sum();
            assert_eq!(before, 0, "it can be taken out");
            take(folder, &laid);
            let left: Vec<u64> = laid.keys().map(|path| cached(path)).collect();
            assert_eq!(left.iter().sum::<u64>(), 0, "{left:?}");
        },
    );
}

#[test]
fn a_capture_takes_nothing_out_of_the_cache_that_was_there() {
    everywhere(
        "a_capture_takes_nothing_out_of_the_cache_that_was_there",
        |folder| {
            let laid = lay(folder);
            for path in laid.keys() {
                forget(path);
                File::open(path)
                    .unwrap()
                    .read_to_end(&mut Vec::new())
                    .unwrap();
            }
            let there = || -> Vec<u64> { laid.keys().map(|path| cached(path)).collect() };
            let before = there();
            assert!(before.iter().sum::<u64>() >= SIZES.iter().sum::<usize>() as u64);
            take(folder, &laid);
            assert_eq!(there(), before);
        },
    );
}

#[test]
fn of_a_database_the_pages_that_are_in_use_stay_and_the_others_do_not_come() {
    everywhere(
        "of_a_database_the_pages_that_are_in_use_stay_and_the_others_do_not_come",
        |folder| {
            let laid = lay(folder);
            let path = folder.join("file 9");
            laid.keys().for_each(|path| forget(path));
            let file = File::open(&path).unwrap();
            fadvise(&file, 0, None, Advice::Random).unwrap();
            // Single pages, neighbours, and one across two parts.
            for page in [0, 7, 8, 100, 255, 256, 700, 1500, 2303] {
                file.read_exact_at(&mut [0; 4096], page * 4096).unwrap();
            }
            let before = cached(&path);
            assert!((9 * 4096..1 << 20).contains(&before), "{before}");
            take(folder, &laid);
            assert_eq!(cached(&path), before);
        },
    );
}

#[test]
fn the_holes_of_a_sparse_file_are_not_brought_into_the_cache() {
    everywhere(
        "the_holes_of_a_sparse_file_are_not_brought_into_the_cache",
        |folder| {
            let path = folder.join("sparse");
            let file = File::create(&path).unwrap();
            file.set_len(24 << 20).unwrap();
            file.write_all_at(&[1; 200_000], 8 << 20).unwrap();
            let mut whole = vec![0; 24 << 20];
            whole[8 << 20..][..200_000].fill(1);
            drop(file);
            forget(&path);
            tool("sync", &[]);
            take(
                folder,
                &BTreeMap::from([(path.clone(), Digest::of(&whole))]),
            );
            assert_eq!(cached(&path), 0);
        },
    );
}

//! A release of any size is packed in the same little memory.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};

use agent::{
    capture::seal::{Capture, Progress, capture},
    release::{
        pack::{Packing, pack},
        reread::Base,
        rows::Part,
    },
};
use custody::{
    house::ranges::Ranges,
    id::{ReleaseId, SnapshotId},
    manifest::leaf::SnapshotKey,
};

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn half_a_gigabyte_is_packed_in_less_than_a_tenth_of_it() {
    let (tree, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let size = 512 << 20;
    let big = File::create(tree.path().join("big")).unwrap();
    big.set_len(size).unwrap();
    big.write_all_at(b"end", size - 3).unwrap();
    let key = SnapshotKey::from_random([4; 32]);
    let snapshot = SnapshotId::from_random([2; 16]);
    let manifest = out.path().join("manifest");
    let root = File::open(tree.path()).unwrap();
    let what = Capture {
        root: root.as_fd(),
        relative: Path::new(""),
        exclude: Vec::new(),
        origins: None,
        snapshot,
        key: &key,
        out: &manifest,
        threads: 2,
    };
    let sealed = capture(&what, &Progress::default()).unwrap();
    let part = Part {
        snapshot,
        manifest,
        root: sealed.root,
        rows: sealed.rows,
        key,
        chosen: Ranges::from_unsorted(vec![(0, sealed.rows)]),
    };
    let base = Base::below(&OwnedFd::from(root), Path::new("")).unwrap();
    let identity = age::x25519::Identity::generate();
    let parcel = out.path().join("parcel");
    let what = Packing {
        release: ReleaseId::from_random([3; 16]),
        recipient: &identity.to_public().to_string(),
        parts: &[(part, base)],
        out: &parcel,
        pace: &|_| {},
    };
    let packed = pack(&what, &Progress::default(), |_| Ok(())).unwrap();
    assert!(packed.bytes > size);
    assert!(peak() < 50 << 10, "{} KiB", peak());
}

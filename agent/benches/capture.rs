//! Capture with manifest, tree and signature, beside hashdeep, sha256sum and openssl, with the
//! page cache warm. `cargo bench -p agent --bench capture`, or `make bench` for all.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

mod common;

use std::{fs::File, os::fd::AsFd as _, path::Path, process::Command};

use agent::capture::seal::{Capture, Progress, capture};
use common::{Contender, contest, measure, place, print};
use custody::{
    id::SnapshotId,
    manifest::leaf::SnapshotKey,
    sign::{Namespace, SecretKey, Signer as _},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, root, out] = arguments.as_slice()
        && word == "--capture"
    {
        return captured(Path::new(root), Path::new(out));
    }
    let (large, small) = (place("large"), place("small"));
    common::large(&large, 4, 512 << 20).expect("the large files are laid");
    common::small(&small, 100_000).expect("the small files are laid");
    for (title, folder, rounds) in [
        ("Four large files", &large, 3),
        ("Many small files", &small, 3),
    ] {
        let (files, bytes) = measure(folder).expect("the tree is readable");
        let at = folder.display();
        let mut ours = Command::new(std::env::current_exe().expect("this program"));
        ours.arg("--capture")
            .arg(folder)
            .arg(place("manifest.parquet"));
        let find = format!("find {at} -type f -print0 | xargs -0 -P2");
        // As many names a run as keep two processes busy.
        let names = (files / 2).clamp(1, 1500);
        let contenders = vec![
            Contender {
                name: "holdfast capture",
                command: ours,
            },
            Contender::shell(
                "openssl dgst -sha256, two at a time",
                &format!("{find} -n {names} openssl dgst -sha256"),
            ),
            Contender::shell(
                "sha256sum, two at a time",
                &format!("{find} -n {names} sha256sum"),
            ),
            Contender::shell(
                "hashdeep -c sha256 -j2",
                &format!("hashdeep -r -c sha256 -j2 {at}"),
            ),
        ];
        print(title, files, bytes, &contest(contenders, rounds));
    }
}

/// One whole capture: walk, hash, manifest on disk, tree, and the root signed.
fn captured(root: &Path, out: &Path) {
    let folder = File::open(root).expect("the tree can be opened");
    let key = SnapshotKey::from_random([7; 32]);
    let sealed = capture(
        &Capture {
            root: folder.as_fd(),
            relative: Path::new(""),
            exclude: vec![],
            origins: None,
            snapshot: SnapshotId::from_random([7; 16]),
            key: &key,
            out,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        },
        &Progress::default(),
    )
    .expect("the tree can be captured");
    let signature = SecretKey::from_seed(&[7; 32])
        .sign(Namespace::Agent, sealed.root.as_bytes())
        .expect("a key in memory signs");
    println!("{} {} {}", sealed.rows, sealed.root, signature.to_base64());
}

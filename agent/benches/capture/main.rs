//! Capture with manifest, tree and signature, beside what else hashes trees.
//! `cargo bench -p agent --bench capture`, or `make bench` for all; names of contests as arguments
//! choose some: `units eight small one cold rows`.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod peers;
mod rows;
mod units;

use std::{fs::File, os::fd::AsFd as _, path::Path};

use agent::capture::seal::{Capture, Progress, Sealed, capture};
use common::{Result, contest, measure, place, print};
use custody::{
    id::SnapshotId,
    manifest::leaf::SnapshotKey,
    sign::{Namespace, SecretKey, Signer as _},
};

/// A tree that everybody hashes, and what is aimed at: times as fast as the yardstick, and the
/// part of its CPU seconds, where two files can be hashed side by side.
struct Contest {
    name: &'static str,
    title: &'static str,
    lay: fn(&Path) -> std::io::Result<()>,
    folder: &'static str,
    cold: bool,
    faster: f64,
    cpu: Option<f64>,
}

/// The most memory that a capture may ever have, in KiB.
const MEMORY: u64 = 64 << 10;

const CONTESTS: [Contest; 5] = [
    Contest {
        name: "eight",
        title: "Eight files of 512 MiB",
        lay: |folder| common::large(folder, 8, 512 << 20),
        folder: "eight",
        cold: false,
        faster: 1.45,
        cpu: Some(0.75),
    },
    Contest {
        name: "small",
        title: "100,000 files of median 8 KiB",
        lay: |folder| common::small(folder, 100_000),
        folder: "small",
        cold: false,
        faster: 1.3,
        cpu: Some(0.75),
    },
    Contest {
        name: "one",
        title: "One file of 2 GiB",
        lay: |folder| common::large(folder, 1, 2 << 30),
        folder: "one",
        cold: false,
        faster: 0.97,
        cpu: None,
    },
    Contest {
        name: "cold",
        title: "Eight files of 512 MiB, the page cache dropped before each run",
        lay: |folder| common::large(folder, 8, 512 << 20),
        folder: "eight",
        cold: true,
        faster: 1.1,
        cpu: None,
    },
    Contest {
        name: "cold",
        title: "100,000 files of median 8 KiB, the page cache dropped before each run",
        lay: |folder| common::small(folder, 100_000),
        folder: "small",
        cold: true,
        faster: 1.1,
        cpu: None,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [word, root, out] if word == "--capture" => {
            return captured(Path::new(root), Path::new(out));
        }
        [word, count, out] if word == "--rows" => return rows::captured(count, Path::new(out)),
        _ => {}
    }
    // Cargo adds a flag of its own.
    let mut chosen = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .peekable();
    let all = chosen.peek().is_none();
    let chosen: Vec<&str> = chosen.map(String::as_str).collect();
    let is_chosen = |name: &str| all || chosen.contains(&name);
    if is_chosen("units") {
        units::measured();
    }
    let mut verdicts = Vec::new();
    for what in CONTESTS.iter().filter(|contest| is_chosen(contest.name)) {
        if what.cold && !rustix::process::geteuid().is_root() {
            println!(
                "\n{}: not measured, dropping the cache needs root.",
                what.title
            );
            continue;
        }
        let folder = place(what.folder);
        (what.lay)(&folder).expect("the tree is laid");
        let (files, bytes) = measure(&folder).expect("the tree is readable");
        let (contenders, rounds) = match what.cold {
            true => (peers::cold(&folder, files), 2),
            false => (peers::warm(&folder, files), 5),
        };
        let results = contest(contenders, rounds);
        print(what.title, files, bytes, &results);
        verdicts.push(verdict(what, &results));
    }
    if !verdicts.is_empty() {
        println!("\n### Capture against the yardstick\n");
        println!("| | times as fast | aim | CPU seconds | aim | peak MiB | aim |");
        println!("|---|---|---|---|---|---|---|");
        verdicts.iter().for_each(|line| println!("{line}"));
    }
    if is_chosen("rows") {
        rows::measured();
    }
}

/// One line about a contest: ours against the fastest way of running the yardstick.
fn verdict(what: &Contest, results: &[Result]) -> String {
    let ours = &results[0];
    let yardstick = results
        .iter()
        .filter(|result| result.name.starts_with(peers::YARDSTICK))
        .min_by_key(|result| result.best)
        .expect("the yardstick ran");
    let faster = yardstick.best.as_secs_f64() / ours.best.as_secs_f64();
    let cpu = ours.cpu / yardstick.cpu;
    let word = |reached: bool| if reached { "reached" } else { "**missed**" };
    let aim = what.cpu.map_or("-".to_owned(), |aim| {
        format!("at most {aim}: {}", word(cpu <= aim))
    });
    format!(
        "| {} | {faster:.2} | at least {}: {} | {cpu:.2} | {aim} | {:.1} | at most {}: {} |",
        what.title,
        what.faster,
        word(faster >= what.faster),
        ours.memory as f64 / 1024.0,
        MEMORY >> 10,
        word(ours.memory <= MEMORY),
    )
}

/// One whole capture: walk, hash, manifest on disk, tree, and the root signed.
fn captured(root: &Path, out: &Path) {
    let sealed = seal(root, out, None);
    let signature = SecretKey::from_seed(&[7; 32])
        .sign(Namespace::Agent, sealed.root.as_bytes())
        .expect("a key in memory signs");
    println!("{} {} {}", sealed.rows, sealed.root, signature.to_base64());
}

/// Captures a folder, by origins where there are some.
fn seal(root: &Path, out: &Path, origins: Option<&Path>) -> Sealed {
    let folder = File::open(root).expect("the tree can be opened");
    let key = SnapshotKey::from_random([7; 32]);
    let what = Capture {
        root: folder.as_fd(),
        relative: Path::new(""),
        exclude: vec![],
        origins: origins.map(Path::to_owned),
        snapshot: SnapshotId::from_random([7; 16]),
        key: &key,
        out,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
    };
    capture(&what, &Progress::default()).expect("the tree can be captured")
}

//! Holding as root: 100,000 files in place beside `chattr -R`, 20,000 in a vault of clones beside
//! `cp -a --reflink=always`, and 1,000,000 by a btrfs snapshot.
//! `cargo bench -p agent --bench hold`, or `make bench` for all.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs
)]

mod common;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/common/mounted.rs"]
mod mounted;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use agent::enforce::{Keeper, Progress, Root, flag};
use common::{measure, place};
use custody::{house::regime::Holding, id::TargetId};
use mounted::Mounted;

const ROUNDS: u8 = 3;

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

fn chattr(flag: &str, folder: &Path) {
    let status = Command::new("chattr")
        .args(["-R", flag])
        .arg(folder)
        .status();
    assert!(
        status
            .expect("chattr runs (Debian package e2fsprogs)")
            .success()
    );
}

/// As the tests' helper asks for it.
fn skipped(what: &str, why: &str) {
    println!("\n{what} was not measured: {why}.");
}

fn keeper(state: &Path, root: &Path) -> Keeper {
    let root = Root {
        path: root.to_owned(),
        vault: root.join(".holdfast-vault"),
    };
    Keeper::open(state, vec![root]).expect("the keeper opens")
}

fn row(name: &str, files: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("| {name} | {seconds:.3} | {:.0} |", files as f64 / seconds);
}

/// A vault of clones beside `cp`, which seals, flushes and records nothing.
fn clones(kind: &str) {
    const FILES: u64 = 20_000;
    let mounted = Mounted::new(kind, 4096);
    // A plain folder: a subvolume would be held by a snapshot.
    let root = mounted.path().join("root");
    let data = root.join("data");
    std::fs::create_dir(&root).expect("a folder");
    common::small(&data, FILES).expect("the files are laid");
    let (files, _) = measure(&data).expect("the tree is readable");
    let mut best = [Duration::MAX; 3];
    for round in 0..ROUNDS {
        let state = tempfile::tempdir().expect("a folder for the state");
        let keeper = keeper(state.path(), &root);
        let (target, progress) = (TargetId::from_random([round; 16]), Progress::default());
        rustix::fs::sync();
        let (raised, raise) = timed(|| keeper.raise(target, &data, Holding::Preserve, &progress));
        let raised = raised.expect("the hold is raised");
        assert_eq!(
            (raised.mechanism.word(), raised.files),
            ("reflink-vault", files)
        );
        let copy = root.join(format!("copy {round}"));
        rustix::fs::sync();
        let copying = || {
            let mut cp = Command::new("cp");
            let cp = cp.args(["-a", "--reflink=always"]).arg(&data).arg(&copy);
            assert!(cp.status().expect("cp runs").success());
        };
        let ((), alone) = timed(copying);
        let ((), flushed) = timed(|| {
            let folder = std::fs::File::open(&root).expect("a folder");
            rustix::fs::syncfs(folder).expect("flushed");
        });
        std::fs::remove_dir_all(&copy).expect("the copy is removed");
        keeper
            .lower(target, &progress)
            .expect("the hold is lowered");
        for (best, took) in best.iter_mut().zip([raise, alone, alone + flushed]) {
            *best = took.min(*best);
        }
    }
    println!("\n### {files} files in a vault of clones on {kind}\n");
    println!("| | seconds | files/s |\n|---|---|---|");
    row(
        "holdfast: raise (clones, origins, flush, seal, record)",
        files,
        best[0],
    );
    row(
        "cp -a --reflink=always (nothing flushed, sealed or recorded)",
        files,
        best[1],
    );
    row("cp -a --reflink=always, then syncfs", files, best[2]);
    let ratio = |of: Duration| of.as_secs_f64() / best[0].as_secs_f64();
    println!(
        "\nHoldfast is {:.2} times as fast as cp, {:.2} times as fast as cp with the flush.",
        ratio(best[1]),
        ratio(best[2])
    );
}

/// One snapshot of many files: when it stands, and what counting and proving them takes then.
fn snapshot() {
    const FOLDERS: usize = 1000;
    let mounted = Mounted::new("btrfs", 8192);
    let data = mounted.path().join("data");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let data = &data;
            scope.spawn(move || {
                for folder in (half..FOLDERS).step_by(2) {
                    let folder = data.join(format!("{folder}"));
                    std::fs::create_dir_all(&folder).expect("a folder");
                    for name in 0..1000 {
                        std::fs::File::create(folder.join(format!("{name}"))).expect("a file");
                    }
                }
            });
        }
    });
    rustix::fs::sync();
    let mut best = [Duration::MAX; 5];
    let mut files = 0;
    for round in 0..ROUNDS {
        let state = tempfile::tempdir().expect("a folder for the state");
        let keeper = keeper(state.path(), mounted.path());
        let (target, progress) = (TargetId::from_random([round; 16]), Progress::default());
        let folder = mounted.path().join(format!(".holdfast-vault/{target}"));
        let (stands, raise, raised) = std::thread::scope(|scope| {
            // It stands when the folder around the read-only snapshot carries the flag.
            let watch = scope.spawn(|| {
                let set = || flag::is_set(std::fs::File::open(&folder).ok()?).ok();
                timed(|| {
                    while set() != Some(true) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
                .1
            });
            let raising = || keeper.raise(target, &data, Holding::Preserve, &progress);
            let (raised, raise) = timed(raising);
            let raised = raised.expect("the hold is raised");
            (watch.join().expect("it stands"), raise, raised)
        });
        assert_eq!(raised.mechanism.word(), "btrfs-snapshot");
        files = raised.files;
        let (_, counting) = timed(|| measure(&data).expect("the tree is readable"));
        let (proof, prove) = timed(|| keeper.prove(target, &progress));
        assert!(proof.expect("the hold is proved").holds());
        let (found, check) = timed(|| keeper.check(target, &progress));
        assert_eq!(found.expect("the hold is checked"), []);
        keeper
            .lower(target, &progress)
            .expect("the hold is lowered");
        for (best, took) in best.iter_mut().zip([stands, raise, counting, prove, check]) {
            *best = took.min(*best);
        }
    }
    println!("\n### {files} files by one btrfs snapshot\n");
    println!("| | seconds | files/s |\n|---|---|---|");
    for (name, took) in [
        "holdfast: from the order to a sealed snapshot on disk",
        "holdfast: the same, and all that is in it counted",
        "one thread that looks at every file of the living tree, cached",
        "holdfast: prove",
        "holdfast: check",
    ]
    .iter()
    .zip(best)
    {
        row(name, files, took);
    }
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("\nHolding in place was not measured: setting the immutable flag needs root.");
        return;
    }
    in_place();
    if mounted::can_mount("a vault of clones, and a snapshot") {
        clones("xfs");
        clones("btrfs");
        snapshot();
    }
}

fn in_place() {
    let home = place("hold");
    let data = home.join("data");
    std::fs::create_dir_all(&home).expect("the folder can be made");
    common::small(&data, 100_000).expect("the files are laid");
    let (files, _) = measure(&data).expect("the tree is readable");
    let mut best = [Duration::MAX; 5];
    for round in 0..ROUNDS {
        let state = tempfile::tempdir().expect("a folder for the state");
        let root = Root {
            path: data.clone(),
            vault: home.join("vault"),
        };
        let keeper = Keeper::open(state.path(), vec![root]).expect("the keeper opens");
        let (target, progress) = (TargetId::from_random([round; 16]), Progress::default());
        let (raised, raise) = timed(|| keeper.raise(target, &data, Holding::Freeze, &progress));
        let raised = raised.expect("the hold is raised");
        assert_eq!(
            (raised.mechanism.word(), raised.files),
            ("immutable-flag", files)
        );
        let (proof, prove) = timed(|| keeper.prove(target, &progress));
        let proof = proof.expect("the hold is proved");
        assert!(proof.attempts > 0 && proof.attempts == proof.refused && proof.writers == 0);
        let (lowered, lower) = timed(|| keeper.lower(target, &progress));
        lowered.expect("the hold is lowered");
        let (_, set) = timed(|| chattr("+i", &data));
        let (_, clear) = timed(|| chattr("-i", &data));
        for (best, took) in best.iter_mut().zip([raise, prove, lower, set, clear]) {
            *best = took.min(*best);
        }
    }
    println!("\n### Holding {files} files in place\n");
    println!("| | seconds | files/s |\n|---|---|---|");
    let names = [
        "holdfast: raise (survey, flags on files and folders, record)",
        "holdfast: prove (a lease on every file, attempts)",
        "holdfast: lower",
        "chattr -R +i (flags alone, nothing recorded or proved)",
        "chattr -R -i",
    ];
    for (name, took) in names.iter().zip(best) {
        row(name, files, took);
    }
}

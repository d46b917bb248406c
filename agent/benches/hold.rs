//! Holding 100,000 files in place: raise, proof and lowering, beside `chattr -R`, as root.
//! `cargo bench -p agent --bench hold`, or `make bench` for all.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

mod common;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use agent::enforce::{Keeper, Progress, Root};
use common::{measure, place};
use custody::{house::regime::Holding, id::TargetId};

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

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("\nHolding in place was not measured: setting the immutable flag needs root.");
        return;
    }
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
        let seconds = took.as_secs_f64();
        println!("| {name} | {seconds:.3} | {:.0} |", files as f64 / seconds);
    }
}

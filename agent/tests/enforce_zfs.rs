//! ZFS by a recorded program: exactly these arguments, in this order, and these answers. The answers
//! are OpenZFS's documented ones; no pool was there to give them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use agent::enforce::{
    Found, HoldTrouble, Keeper, Phase, Progress,
    mounts::Mount,
    zfs::host::{Answer, Zfs},
};
use common::{
    tool,
    trees::{captured, keeper, on, plant, target},
};
use custody::{
    digest::Digest,
    house::{finding::FindingKind, mechanism::Mechanism, regime::Holding::Preserve},
};

/// What is expected to be run, and what it answers.
type Script = Arc<Mutex<VecDeque<(String, Answer)>>>;

/// A host whose `zfs` answers by a script.
#[derive(Debug)]
struct Recorded {
    root: PathBuf,
    script: Script,
}

impl Zfs for Recorded {
    fn is_here(&self) -> bool {
        true
    }

    fn run(&self, arguments: &[&str]) -> io::Result<Answer> {
        let next = self.script.lock().unwrap().pop_front();
        let (expected, answer) =
            next.unwrap_or_else(|| panic!("zfs {arguments:?} is not expected"));
        assert_eq!(arguments.join(" "), expected);
        if arguments[0] == "snapshot" && answer.done {
            // What a pool shows of a snapshot.
            let name = arguments[1].split('@').nth(1).unwrap();
            let at = self.root.join(".zfs/snapshot").join(name);
            fs::create_dir_all(&at).unwrap();
            let data = self.root.join("data");
            tool("cp", &["-a", data.to_str().unwrap(), at.to_str().unwrap()]);
        }
        Ok(answer)
    }

    fn mounts(&self) -> Vec<Mount> {
        vec![Mount {
            point: self.root.clone(),
            file_system: "zfs".to_owned(),
            source: "tank/www".into(),
        }]
    }
}

fn said(out: &str) -> Answer {
    Answer {
        done: true,
        out: out.to_owned(),
        error: String::new(),
    }
}

fn no(error: &str) -> Answer {
    Answer {
        done: false,
        out: String::new(),
        error: error.to_owned(),
    }
}

struct Host {
    folder: tempfile::TempDir,
    script: Script,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("www")).unwrap();
        plant(&folder.path().join("www"));
        Self {
            folder,
            script: Script::default(),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("www")
    }

    fn keeper(&self) -> Keeper {
        let mut keeper = keeper(&self.folder.path().join("state"), &self.root());
        keeper.with_zfs(Box::new(Recorded {
            root: self.root(),
            script: Arc::clone(&self.script),
        }));
        keeper
    }

    fn expect(&self, calls: &[(String, Answer)]) {
        let mut script = self.script.lock().unwrap();
        assert!(script.is_empty(), "not run: {script:?}");
        script.extend(calls.iter().cloned());
    }

    fn data(&self) -> PathBuf {
        self.root().join("data")
    }
}

fn tag() -> String {
    format!("holdfast-{}", target(1))
}

fn name() -> String {
    format!("tank/www@{}", tag())
}

fn list(answer: Answer) -> (String, Answer) {
    let list = "list -H -p -o name,guid,createtxg,creation -t snapshot";
    (format!("{list} {}", name()), answer)
}

fn there() -> Answer {
    said(&format!(
        "{}\t8211934466512330921\t4711\t1780000000\n",
        name()
    ))
}

fn missing() -> Answer {
    no(&format!(
        "cannot open '{}': dataset does not exist\n",
        name()
    ))
}

fn holds(held: bool) -> (String, Answer) {
    let other = format!("{}\tbackup\tTue Nov 24 12:00 2026\n", name());
    let ours = format!("{}\t{}\tTue Nov 24 12:00 2026\n", name(), tag());
    let all = if held { other + &ours } else { other };
    (format!("holds -H {}", name()), said(&all))
}

fn run(words: &str, answer: Answer) -> (String, Answer) {
    (
        words.replace("NAME", &name()).replace("TAG", &tag()),
        answer,
    )
}

fn raising() -> Vec<(String, Answer)> {
    vec![
        list(missing()),
        run("snapshot NAME", said("")),
        list(there()),
        run("hold TAG NAME", said("")),
        holds(true),
    ]
}

#[test]
fn a_dataset_is_snapshot_and_held_by_exactly_these_calls_and_read_in_the_snapshot() {
    let host = Host::new();
    let keeper = host.keeper();
    let plan = keeper.plan(&host.data(), Preserve).unwrap();
    assert_eq!(plan.mechanism, Mechanism::ZfsSnapshot);
    host.expect(&raising());
    let raised = keeper
        .raise(target(1), &host.data(), Preserve, &on())
        .unwrap();
    assert_eq!(raised.mechanism, Mechanism::ZfsSnapshot);
    assert_eq!((raised.files, raised.folders, raised.bytes), (4, 4, 19));
    assert_eq!(keeper.all()[0].as_of_ns, 1_780_000_000_000_000_000);
    fs::write(host.data().join("a"), "later").unwrap();
    let rows = captured(&keeper, 1);
    assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")));

    host.expect(&[list(there()), holds(true)]);
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    host.expect(&[
        run("release TAG NAME", said("")),
        run("destroy NAME", said("")),
    ]);
    assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 4);
    host.expect(&[]);
}

#[test]
fn what_root_does_to_the_hold_or_the_snapshot_is_found_and_made_good() {
    let host = Host::new();
    let keeper = host.keeper();
    host.expect(&raising());
    keeper
        .raise(target(1), &host.data(), Preserve, &on())
        .unwrap();
    let place: &Path = &host.root().join(".zfs/snapshot").join(tag());
    let check = |calls: &[(String, Answer)]| {
        host.expect(calls);
        keeper.check(target(1), &on()).unwrap()
    };
    let gone = [Found::at(FindingKind::SnapshotGone, place)];
    let free = [Found::at(FindingKind::ProtectionGone, place)];
    assert_eq!(check(&[list(there()), holds(false)]), free);
    assert_eq!(check(&[list(missing())]), gone);
    // Another one by the same name.
    let other = said(&format!("{}\t99\t4800\t1780000900\n", name()));
    assert_eq!(check(&[list(other)]), gone);
    // Raised again: the check, then what is missing.
    host.expect(&[
        list(there()),
        holds(false),
        list(there()),
        run("hold TAG NAME", said("")),
        holds(true),
    ]);
    keeper
        .raise(target(1), &host.data(), Preserve, &on())
        .unwrap();
    assert_eq!(check(&[list(there()), holds(true)]), []);
    // A proof that finds the hold gone does not hold.
    host.expect(&[holds(false)]);
    assert!(!keeper.prove(target(1), &on()).unwrap().holds());
}

#[test]
fn a_snapshot_that_is_busy_stays_and_a_second_lowering_goes_on() {
    let host = Host::new();
    let keeper = host.keeper();
    host.expect(&raising());
    keeper
        .raise(target(1), &host.data(), Preserve, &on())
        .unwrap();
    let busy = format!("cannot destroy '{}': dataset is busy\n", name());
    host.expect(&[
        run("release TAG NAME", said("")),
        run("destroy NAME", no(&busy)),
    ]);
    let trouble = keeper.lower(target(1), &on()).unwrap_err();
    assert_eq!(trouble.word(), "io-error");
    assert!(trouble.to_string().contains("busy"), "{trouble}");
    assert_eq!(keeper.all()[0].phase, Phase::Lowering);
    let none = "cannot release hold from snapshot: no such tag on this dataset\n";
    host.expect(&[
        run("release TAG NAME", no(none)),
        run("destroy NAME", said("")),
    ]);
    keeper.lower(target(1), &on()).unwrap();
    host.expect(&[]);
}

#[test]
fn a_crash_between_any_two_calls_is_gone_on_from_without_a_second_snapshot() {
    // How far it came, and what a second run then has to call.
    for (steps, first, second) in [
        (1, 1, raising()),
        (2, 3, [&[list(there())][..], &raising()[3..]].concat()),
        (3, 5, {
            let again = "cannot hold snapshot: tag already exists on this dataset\n";
            vec![list(there()), run("hold TAG NAME", no(again)), holds(true)]
        }),
    ] {
        let host = Host::new();
        host.expect(&raising()[..first]);
        // The record itself is the first step.
        let crash = Progress::stop_after(steps);
        let stopped = host
            .keeper()
            .raise(target(1), &host.data(), Preserve, &crash);
        assert!(matches!(stopped, Err(HoldTrouble::Stopped)), "{steps}");
        host.expect(&second);
        let keeper = host.keeper();
        keeper
            .raise(target(1), &host.data(), Preserve, &on())
            .unwrap();
        assert_eq!(keeper.all()[0].phase, Phase::Raised);
        host.expect(&[]);
    }
}

#[test]
fn where_zfs_says_no_another_mechanism_does_unless_that_is_too_weak() {
    let denied = || {
        let text = format!("cannot create snapshot '{}': permission denied\n", name());
        vec![list(missing()), run("snapshot NAME", no(&text))]
    };
    let host = Host::new();
    host.expect(&denied());
    let wanted = Some(Mechanism::ZfsSnapshot);
    let refused = host
        .keeper()
        .raise_at_least(target(1), &host.data(), Preserve, wanted, &on());
    assert_eq!(refused.unwrap_err().word(), "too-weak");
    let host = Host::new();
    host.expect(&denied());
    let keeper = host.keeper();
    let raised = keeper
        .raise(target(1), &host.data(), Preserve, &on())
        .unwrap();
    assert!(raised.mechanism < Mechanism::ZfsSnapshot);
    keeper.lower(target(1), &on()).unwrap();
}

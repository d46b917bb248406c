//! The watch: what is done to held things by force is found within seconds, with what, where and
//! by whom, and what was not done to them is not.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use agent::{config::Place, status, watch::WatchState};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::is_flagged,
};
use coordinator::Coordinator;
use custody::{house::finding::FindingKind, statement::Body};
use proto::v1::{Holding, Raise, Task, task::Task as Kind};
use stage::{Host, said, target, task};

/// In which what is done must be found.
const SOON: Duration = Duration::from_secs(5);

/// A host whose root is a file system of its own.
struct Stand {
    host: Host,
    mounted: Mounted,
}

/// A finding with its commitments opened.
#[derive(Clone, Debug)]
struct Seen {
    what: FindingKind,
    places: Vec<PathBuf>,
    by: Option<String>,
}

impl Stand {
    async fn new(kind: &str, mebibytes: u64) -> Self {
        let mounted = Mounted::new(kind, mebibytes);
        let base = tempfile::tempdir().unwrap();
        let root = mounted.path().canonicalize().unwrap();
        for (file, text) in [
            ("alice/mail/one", "hello"),
            ("alice/two", "2"),
            ("bob/three", "3"),
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
        let host = Host {
            place: Place(base.path().join("agent")),
            base,
            root,
            coordinator: Coordinator::start().await,
        };
        host.enrol().await.unwrap();
        Self { host, mounted }
    }

    fn freeze(&self, n: u8, position: u64, folder: &str) -> Task {
        let path = self.host.root.join(folder);
        let raise = Raise {
            target: target(n).to_string(),
            path: path.as_os_str().as_bytes().to_vec().into(),
            holding: Holding::Freeze.into(),
            ..Default::default()
        };
        task(Kind::Raise(raise), position)
    }

    /// Takes off what would keep the file system from being removed.
    fn tidy(&self) {
        let mut tidying = Command::new("chattr");
        let _ = tidying
            .args(["-R", "-f", "-i"])
            .arg(&self.host.root)
            .output();
    }

    /// Where a target's copy lies.
    fn vault(&self, n: u8) -> PathBuf {
        let vault = self.host.root.join(".holdfast-vault");
        vault.join(target(n).to_string())
    }

    async fn verified(&self, times: usize) {
        let what = format!("verified {times} times");
        self.host
            .coordinator
            .until(&what, said("hold.verified", times))
            .await;
    }

    /// Waits until so many targets are watched, in so many folders at least.
    async fn watched(&self, targets: u64, folders: u64) -> WatchState {
        let state = || status::read(&self.host.place).unwrap().live.watch;
        for _ in 0..200 {
            let now = state();
            if now.targets >= targets && now.folders >= folders {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never watched: {:?}", state());
    }

    fn findings(&self) -> Vec<Seen> {
        let bodies = self.host.coordinator.bodies();
        let opened = self.host.coordinator.get(|script| script.opened.clone());
        let value = |commitment: &custody::commit::Commitment| {
            let opening = opened.iter().find(|opening| opening.opens(commitment));
            opening.map(|opening| opening.value.clone())
        };
        let path = |value: Vec<u8>| PathBuf::from(std::ffi::OsStr::from_bytes(&value));
        let finding = |body: Body| match body {
            Body::Finding(finding) => {
                assert!(finding.noticed.is_some());
                Some(Seen {
                    what: finding.what,
                    places: finding.places.iter().filter_map(value).map(path).collect(),
                    by: finding
                        .by
                        .as_ref()
                        .and_then(value)
                        .map(|by| String::from_utf8(by).unwrap()),
                })
            }
            _ => None,
        };
        bodies.into_iter().filter_map(finding).collect()
    }

    /// Waits for a finding at a place, which must come soon after what was done.
    async fn found(&self, what: FindingKind, place: &Path, done: Instant) -> Seen {
        loop {
            let all = self.findings();
            let mut here = all
                .iter()
                .filter(|seen| seen.what == what && seen.places.iter().any(|p| p == place));
            if let Some(seen) = here.next() {
                eprintln!("{what:?} after {:?}", done.elapsed());
                return seen.clone();
            }
            let waited = done.elapsed();
            assert!(waited < SOON, "no {what:?} at {place:?}: {all:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Takes the flag off by a program that stays for a while, so that it can be named for sure.
fn take_flag_off(path: &Path) -> Child {
    let script = "open(F, '<', $ARGV[0]) or die; my $f = pack('L!', 0); \
                  ioctl(F, 0x80086601, $f) or die; $f = pack('L!', unpack('L!', $f) & ~0x10); \
                  ioctl(F, 0x40086602, $f) or die; close(F); sleep(4)";
    let child = Command::new("perl").args(["-e", script]).arg(path).spawn();
    child.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_root_takes_off_is_found_with_its_program_and_put_back() {
    if !can_mount("a_flag_that_root_takes_off") {
        return;
    }
    for (kind, size) in KINDS {
        let stand = Stand::new(kind, size).await;
        let deep = stand.host.root.join("alice/mail/sub");
        if kind == "btrfs" {
            tool("btrfs", &["-q", "subvolume", "create", text(&deep)]);
        } else {
            fs::create_dir(&deep).unwrap();
        }
        fs::write(deep.join("four"), "4").unwrap();
        let tasks = vec![stand.freeze(1, 5, "alice"), stand.freeze(2, 6, "bob/three")];
        stand.host.tasks(tasks);
        let running = stand.host.run();
        stand.verified(2).await;
        let state = stand.watched(2, 4).await;
        assert!(state.fanotify && state.why.is_none(), "{kind}: {state:?}");

        // In a subvolume of its own, and of a target that is one file.
        for (times, place) in [
            (3, deep.join("four")),
            (4, stand.host.root.join("bob/three")),
        ] {
            let done = Instant::now();
            let mut child = take_flag_off(&place);
            let seen = stand.found(FindingKind::ProtectionGone, &place, done).await;
            assert_eq!(seen.by, Some(format!("perl {} 0", child.id())), "{kind}");
            stand.verified(times).await;
            child.kill().unwrap();
            child.wait().unwrap();
        }

        let one = stand.host.root.join("alice/mail/one");
        let done = Instant::now();
        let mut child = take_flag_off(&one);
        let seen = stand.found(FindingKind::ProtectionGone, &one, done).await;
        assert_eq!(seen.by, Some(format!("perl {} 0", child.id())), "{kind}");
        stand.verified(5).await;
        assert!(is_flagged(&one), "{kind}: it is put back");
        child.kill().unwrap();
        child.wait().unwrap();

        // Force that leaves nothing to look at.
        let two = stand.host.root.join("alice/two");
        let done = Instant::now();
        let force = format!(
            "chattr -i {0}/alice {0}/alice/two && rm {0}/alice/two",
            text(&stand.host.root)
        );
        tool("sh", &["-c", &force]);
        let seen = stand.found(FindingKind::HeldChanged, &two, done).await;
        let by = seen.by.unwrap();
        assert!(
            by.starts_with("rm ") || by.starts_with("? "),
            "{kind}: {by}"
        );
        stand.verified(6).await;
        assert!(is_flagged(&stand.host.root.join("alice")));
        running.stop().await.unwrap();
        stand.tidy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_while_the_agent_is_down_is_found_at_its_next_start() {
    if !can_mount("what_is_done_while_the_agent_is_down") {
        return;
    }
    let stand = Stand::new("ext4", 64).await;
    stand.host.tasks(vec![
        stand.freeze(1, 5, "alice"),
        stand.host.raise(2, 6, "bob"),
    ]);
    let running = stand.host.run();
    stand.verified(2).await;
    stand.watched(2, 4).await;
    running.stop().await.unwrap();

    let one = stand.host.root.join("alice/mail/one");
    let force = format!(
        "chattr -i {0} && echo more >> {0} && chattr +i {0}",
        text(&one)
    );
    tool("sh", &["-c", &force]);
    let copy = stand.vault(2).join("tree/three");
    tool("chattr", &["-i", text(&copy)]);
    let started = Instant::now();
    let running = stand.host.run();
    stand.found(FindingKind::HeldChanged, &one, started).await;
    stand
        .found(FindingKind::ProtectionGone, &copy, started)
        .await;
    stand.verified(4).await;
    assert!(is_flagged(&copy));
    running.stop().await.unwrap();

    // And a mount that came meanwhile: nothing in it is taken for what is held.
    let alice = stand.host.root.join("alice");
    tool("mount", &["-t", "tmpfs", "tmpfs", text(&alice)]);
    let started = Instant::now();
    let running = stand.host.run();
    stand.found(FindingKind::MountedOver, &alice, started).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let state = stand.watched(2, 2).await;
    assert_eq!(state.unreachable, 1);
    tool("umount", &[text(&alice)]);
    stand.verified(5).await;
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_that_go_or_cover_what_is_held_are_found_and_hold_nobody_up() {
    if !can_mount("mounts_that_go_or_cover_what_is_held") {
        return;
    }
    let stand = Stand::new("xfs", 320).await;
    let (root, alice) = (stand.host.root.clone(), stand.host.root.join("alice"));
    stand.host.tasks(vec![stand.freeze(1, 5, "alice")]);
    let running = stand.host.run();
    stand.verified(1).await;
    stand.watched(1, 2).await;

    // By another folder of the same file system, and below by a file system in memory.
    let done = Instant::now();
    tool("mount", &["--bind", text(&root.join("bob")), text(&alice)]);
    stand.found(FindingKind::MountedOver, &alice, done).await;
    tool("umount", &[text(&alice)]);
    stand.verified(2).await;
    let mail = alice.join("mail");
    let done = Instant::now();
    tool("mount", &["-t", "tmpfs", "tmpfs", text(&mail)]);
    stand.found(FindingKind::MountedOver, &mail, done).await;
    tool("umount", &[text(&mail)]);
    stand.verified(3).await;

    // The watch keeps nothing open, so the file system can be unmounted like any other.
    let unmounted = |_| {
        let unmounting = Command::new("umount").arg(&root).status();
        unmounting.is_ok_and(|status| status.success())
    };
    let done = Instant::now();
    assert!((0..3).any(unmounted), "somebody keeps it busy");
    stand.found(FindingKind::Unmounted, &alice, done).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!alice.exists(), "nothing was made in its place");
    let image = root.with_file_name("image");
    tool("mount", &["-o", "loop", text(&image), text(&root)]);
    stand.verified(4).await;
    assert!(is_flagged(&alice));
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_root_touches_is_found_and_one_that_is_gone_holds_up_no_other() {
    if !can_mount("a_copy_that_root_touches") {
        return;
    }
    let stand = Stand::new("xfs", 320).await;
    stand.host.tasks(vec![
        stand.host.raise(1, 5, "alice"),
        stand.host.raise(2, 6, "bob"),
    ]);
    let running = stand.host.run();
    stand.verified(2).await;
    stand.watched(2, 4).await;

    let (alice, bob) = (stand.vault(1), stand.vault(2));
    let vault = alice.parent().unwrap();
    let one = alice.join("tree/mail/one");
    let done = Instant::now();
    let force = format!(
        "chattr -i {0}/tree/mail {0}/tree/mail/one && rm {0}/tree/mail/one",
        text(&alice)
    );
    tool("sh", &["-c", &force]);
    stand.found(FindingKind::HeldChanged, &one, done).await;

    // All of it: it cannot come back. The other one is watched all the same.
    let done = Instant::now();
    let force = format!(
        "chattr -i {0} && chattr -R -i {1} && rm -r {1}",
        text(vault),
        text(&alice)
    );
    tool("sh", &["-c", &force]);
    stand.found(FindingKind::HeldChanged, &alice, done).await;
    let three = bob.join("tree/three");
    let done = Instant::now();
    let mut child = take_flag_off(&three);
    let seen = stand.found(FindingKind::ProtectionGone, &three, done).await;
    assert_eq!(seen.by, Some(format!("perl {} 0", child.id())));
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..100 {
        if is_flagged(&three) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_flagged(&three), "it is sealed again");
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_root_opens_or_deletes_is_found() {
    if !can_mount("a_snapshot_that_root_opens_or_deletes") {
        return;
    }
    let stand = Stand::new("btrfs", 192).await;
    stand.host.tasks(vec![stand.host.raise(1, 5, "alice")]);
    let running = stand.host.run();
    stand.verified(1).await;
    stand.watched(1, 1).await;

    let tree = stand.vault(1).join("tree");
    let done = Instant::now();
    tool(
        "btrfs",
        &["property", "set", "-f", text(&tree), "ro", "false"],
    );
    stand.found(FindingKind::ProtectionGone, &tree, done).await;
    stand.verified(2).await;
    let done = Instant::now();
    tool("chattr", &["-i", text(tree.parent().unwrap())]);
    tool("btrfs", &["-q", "subvolume", "delete", text(&tree)]);
    stand.found(FindingKind::SnapshotGone, &tree, done).await;
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_to_living_files_or_reads_frozen_ones_makes_no_finding() {
    if !can_mount("who_writes_to_living_files") {
        return;
    }
    let stand = Stand::new("ext4", 64).await;
    let root = text(&stand.host.root).to_owned();
    stand.host.tasks(vec![
        stand.host.raise(1, 5, "alice"),
        stand.freeze(2, 6, "bob"),
    ]);
    let running = stand.host.run();
    stand.verified(2).await;
    let before = stand.watched(2, 3).await;
    let work = format!(
        "cd {root}/alice && for i in 1 2 3 4; do echo $i > new$i; echo $i >> two; mv new$i mail/; \
         rm -f mail/new$i; chmod 600 two; cat ../bob/* > /dev/null; ls -l ../bob > /dev/null; \
         (echo x >> ../bob/three) 2> /dev/null; sleep 1; done; mkdir mail/more; rm mail/one"
    );
    tool("sh", &["-c", &work]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stand.findings().len(), 0, "{:?}", stand.findings());
    assert_eq!(
        stand
            .mounted
            .path()
            .join("alice/two")
            .metadata()
            .unwrap()
            .len()
            % 2,
        1
    );
    drop(before);
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_force_is_a_few_findings_and_all_is_put_back() {
    if !can_mount("a_storm_of_force") {
        return;
    }
    let stand = Stand::new("ext4", 64).await;
    let alice = stand.host.root.join("alice");
    for number in 0..1500 {
        fs::write(alice.join(format!("mail/{number}")), "x").unwrap();
    }
    stand.host.tasks(vec![stand.freeze(1, 5, "alice")]);
    let running = stand.host.run();
    stand.verified(1).await;
    stand.watched(1, 2).await;
    let force = format!(
        "for i in 1 2 3; do chattr -R -i {} 2> /dev/null; done; true",
        text(&alice)
    );
    tool("sh", &["-c", &force]);
    let calm = Instant::now();
    let loose = || {
        fs::read_dir(alice.join("mail"))
            .unwrap()
            .filter(|e| !is_flagged(&e.as_ref().unwrap().path()))
            .count()
    };
    while loose() > 0 && calm.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        loose(),
        0,
        "after {:?}: {:?}",
        calm.elapsed(),
        stand.findings()
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    let findings = stand.findings();
    eprintln!("{} findings", findings.len());
    assert!((1..=8).contains(&findings.len()), "{}", findings.len());
    assert!(findings.iter().all(|seen| seen.places.len() <= 8));
    assert!(findings[0].by.as_ref().is_some_and(|by| by.contains(' ')));
    running.stop().await.unwrap();
    stand.tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_in_the_same_root_is_a_finding_and_nothing_is_touched() {
    if !can_mount("another_agent_in_the_same_root") {
        return;
    }
    let stand = Stand::new("ext4", 64).await;
    let other = tempfile::tempdir().unwrap();
    let keeper = common::trees::keeper(other.path(), &stand.host.root);
    let bob = stand.host.root.join("bob");
    let progress = common::trees::on();
    keeper
        .raise(
            target(9),
            &bob,
            custody::house::regime::Holding::Preserve,
            &progress,
        )
        .unwrap();
    stand.host.tasks(vec![stand.freeze(1, 5, "alice")]);
    let running = stand.host.run();
    let vault = stand.host.root.join(".holdfast-vault");
    let coordinator = &stand.host.coordinator;
    coordinator.until("failed", said("hold.failed", 1)).await;
    stand
        .found(FindingKind::SecondAgent, &vault, Instant::now())
        .await;
    assert!(!is_flagged(&stand.host.root.join("alice/two")));
    running.stop().await.unwrap();
    let refused = stand
        .host
        .place
        .lock()
        .and_then(|_first| stand.host.place.lock());
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("Stop it first"), "{why}");
    stand.tidy();
}

//! A good guest: what reading may take of its host is set while it reads, kept over a restart, and
//! kept to; and how far it is, is told.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent::{
    capture::{
        seal::{Capture, Progress, capture_with},
        shared::Shared,
    },
    config::Config,
    guest::{Guest, Waits},
    status,
};
use custody::{house::limits::Limits, id::SnapshotId, manifest::leaf::SnapshotKey};
use proto::v1::{Capture as CaptureTask, SetLimits, Task, Underway, task::Task as Kind};
use stage::{Host, said, target, task};

/// Bytes of the tree that is read, and how many of them a second at first.
const TREE: u64 = 64 << 20;
const SLOW: u64 = 4 << 20;

fn limits(position: u64, set: SetLimits) -> Task {
    task(Kind::SetLimits(set), position)
}

fn newest(host: &Host) -> Underway {
    host.coordinator
        .get(|script| script.underway.last().cloned())
        .unwrap_or_default()
}

/// Waits for a word on what is under way.
async fn hears(host: &Host, what: &str, is_so: impl Fn(&Underway) -> bool) -> Underway {
    let so = |script: &coordinator::Script| script.underway.last().is_some_and(&is_so);
    host.coordinator.until(what, so).await;
    newest(host)
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_it_reads_a_pause_stops_it_and_a_restart_forgets_nothing() {
    let host = Host::new().await;
    let mut config = Config::load(&host.place).unwrap();
    // The other tests keep this host busy.
    config.guest.yield_above = 0;
    config.store(&host.place).unwrap();
    fs::write(host.root.join("alice/long"), vec![7; TREE as usize]).unwrap();
    let slow = SetLimits {
        read_bytes_per_second: SLOW,
        ..SetLimits::default()
    };
    let snapshot = SnapshotId::from_random([5; 16]);
    let capture = CaptureTask {
        snapshot: snapshot.to_string(),
        target: target(1).to_string(),
    };
    host.tasks(vec![
        limits(20, slow),
        host.raise(1, 5, "alice"),
        task(Kind::Capture(capture), 6),
    ]);
    let running = host.run();
    let told = hears(&host, "its pace", |u| {
        u.task == "capture" && u.bytes > SLOW && u.bytes_per_second > 0
    })
    .await;
    assert_eq!(
        (told.about.as_str(), told.waits.as_str()),
        (&*snapshot.to_string(), "limited")
    );
    assert!(told.total_bytes >= TREE && told.bytes < TREE, "{told:?}");
    let (half, double) = (SLOW / 2, SLOW * 2);
    assert!((half..double).contains(&told.bytes_per_second), "{told:?}");
    let left = (told.total_bytes - told.bytes) / SLOW;
    assert!(
        (left / 2..left * 2).contains(&told.seconds_left),
        "{told:?}"
    );

    // An older word that comes late changes nothing.
    let paused = SetLimits {
        paused: true,
        ..slow
    };
    let send = |task| host.coordinator.set(|script| script.later.push(task));
    send(limits(19, SetLimits::default()));
    send(limits(21, paused));
    hears(&host, "the pause", |u| u.waits == "paused").await;
    // Heard at the latest two seconds after it counted; from there on nothing more is read.
    let at = newest(&host).bytes;
    let heard = host.coordinator.get(|script| script.underway.len());
    host.coordinator
        .until("it stands", |script| script.underway.len() >= heard + 2)
        .await;
    assert_eq!(newest(&host).bytes, at, "something was read in the pause");

    // Killed in the pause, and started with nobody to ask: it is still paused, and slow.
    running.stop().await.unwrap();
    host.coordinator.set(|script| script.revoked = true);
    let running = host.run();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shown = status::read(&host.place).unwrap();
    assert!(shown.limits.paused && shown.limits.read_bytes == Some(SLOW));
    assert!(
        shown.to_text().contains("reading      paused, at most"),
        "{}",
        shown.to_text()
    );
    running.stop().await.unwrap();
    host.coordinator.set(|script| {
        script.revoked = false;
        // What was sent before comes again, as a coordinator would send it.
        script.tasks[0] = limits(21, paused);
        script.underway.clear();
    });
    let running = host.run();
    hears(&host, "still the pause", |u| u.waits == "paused").await;
    assert_eq!(
        host.coordinator
            .kinds()
            .iter()
            .filter(|k| **k == "snapshot.sealed")
            .count(),
        0
    );

    // Let go on, it is done at once.
    let begun = Instant::now();
    send(limits(22, SetLimits::default()));
    host.coordinator
        .until("sealed", said("snapshot.sealed", 1))
        .await;
    assert!(begun.elapsed() < Duration::from_secs(8));
    hears(&host, "it is over", |u| u.over).await;
    running.stop().await.unwrap();
    assert_eq!(status::read(&host.place).unwrap().limits, Limits::default());
}

/// Kills a child at the end of a test, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time that a process has used, in seconds, from the kernel's own books.
fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

#[test]
#[ignore = "the child of another test"]
fn child_that_captures_at_a_fifth_of_a_core() {
    let Ok(folder) = std::env::var("HOLDFAST_GUEST_CHILD") else {
        return;
    };
    let folder = Path::new(&folder);
    let limits = Limits {
        cpu_percent: Some(20),
        ..Limits::default()
    };
    let guest = Guest::new(limits, 0);
    let shared = Shared::asking(Box::new(move |bytes| {
        guest.before_read(bytes, || false).unwrap();
    }));
    let root = File::open(folder.join("tree")).unwrap();
    let what = Capture {
        root: root.as_fd(),
        relative: Path::new(""),
        exclude: Vec::new(),
        origins: None,
        snapshot: SnapshotId::from_random([5; 16]),
        key: &SnapshotKey::from_random([5; 32]),
        out: &folder.join("manifest.parquet"),
        threads: 2,
    };
    capture_with(&what, &shared, &Progress::default()).unwrap();
}

#[test]
fn a_capture_limited_to_a_fifth_of_a_core_takes_that_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..2000 {
        fs::write(tree.join(format!("small-{n}")), vec![1; 4000]).unwrap();
    }
    fs::write(tree.join("large"), vec![5; 64 << 20]).unwrap();
    // As long as is measured, whatever the disk does: two holes, each hashed like any content.
    for n in 0..2 {
        let hole = File::create(tree.join(format!("zz-hole-{n}"))).unwrap();
        hole.set_len(64 << 30).unwrap();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "child_that_captures_at_a_fifth_of_a_core",
        ])
        .env("HOLDFAST_GUEST_CHILD", folder.path())
        .stdout(Stdio::null())
        .spawn();
    let child = Killed(child.unwrap());
    let pid = child.0.id();
    // Starting is not limited.
    std::thread::sleep(Duration::from_secs(2));
    let (begun, before) = (Instant::now(), cpu_of(pid));
    let mut windows = Vec::new();
    let (mut at, mut used) = (begun, before);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(5));
        let (now, cpu) = (Instant::now(), cpu_of(pid));
        windows.push((cpu - used) / (now - at).as_secs_f64() * 100.0);
        (at, used) = (now, cpu);
    }
    let share = (used - before) / (at - begun).as_secs_f64() * 100.0;
    assert!((17.0..=23.0).contains(&share), "{share} %, {windows:?}");
    assert!(
        windows.iter().all(|w| (14.0..=26.0).contains(w)),
        "{windows:?}"
    );
}

#[test]
fn reading_yields_while_the_hosts_own_programs_wait() {
    if !Guest::can_tell_load() {
        let why = "the kernel has no /proc/pressure";
        return common::skipped("reading_yields_while_the_hosts_own_programs_wait", why);
    }
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let busy = |_| {
        let mut shell = Command::new("sh");
        Killed(shell.args(["-c", "while :; do :; done"]).spawn().unwrap())
    };
    let busy: Vec<Killed> = (0..2 * cores).map(busy).collect();
    let guest = Guest::new(Limits::default(), 10);
    let begun = Instant::now();
    while guest.waits() != Some(Waits::HostBusy) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it never slowed down"
        );
        guest.before_read(4096, || false).unwrap();
        let reading = Instant::now();
        while reading.elapsed() < Duration::from_millis(1) {}
    }
    drop(busy);
}

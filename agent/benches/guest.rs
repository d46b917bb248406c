//! What the agent costs its host: a capture that is limited to a fifth of a core, by the kernel's
//! own books, and an agent that only holds. `cargo bench -p agent --bench guest`, or `make bench`
//! for all. The agent that is measured is the shipped program, `HOLDFAST_BIN/holdfast-agent`.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs
)]

mod common;
#[path = "../tests/common/coordinator.rs"]
mod coordinator;
#[path = "../tests/common/stage.rs"]
mod stage;

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent::{
    capture::{
        seal::{Capture, Progress, capture_with},
        shared::Shared,
    },
    guest::Guest,
};
use common::place;
use custody::{house::limits::Limits, id::SnapshotId, manifest::leaf::SnapshotKey};
use stage::{Host, said};

/// For how long each is measured.
const MINUTE: u64 = 60;
/// Files under the hold of the agent that only holds.
const HELD: u64 = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, root, out] = arguments.as_slice()
        && word == "--capture"
    {
        return limited(Path::new(root), Path::new(out));
    }
    println!("\n## A good guest\n");
    println!("| what | aim | measured |\n|---|---|---|");
    a_fifth_of_a_core();
    idle();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time that a process has used, in seconds.
fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a line of the kernel's");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// Percent of one core in each window of so many seconds.
fn shares(pid: u32, windows: u64, seconds: u64) -> Vec<f64> {
    let (mut at, mut used) = (Instant::now(), cpu_of(pid));
    let window = |_| {
        std::thread::sleep(Duration::from_secs(seconds));
        let (now, cpu) = (Instant::now(), cpu_of(pid));
        let share = (cpu - used) / (now - at).as_secs_f64() * 100.0;
        (at, used) = (now, cpu);
        share
    };
    (0..windows).map(window).collect()
}

fn a_fifth_of_a_core() {
    let (large, small) = (place("large"), place("small"));
    common::large(&large, 8, 512 << 20).expect("the large files are laid");
    common::small(&small, 100_000).expect("the small files are laid");
    for (name, folder) in [("large files", large), ("100,000 small files", small)] {
        let mut ours = Command::new(std::env::current_exe().expect("this program"));
        ours.arg("--capture")
            .arg(folder)
            .arg(place("guest.parquet"));
        let child = Killed(ours.stdout(Stdio::null()).spawn().expect("it starts"));
        std::thread::sleep(Duration::from_secs(1));
        let windows = shares(child.0.id(), MINUTE / 5, 5);
        #[allow(clippy::cast_precision_loss)]
        let all = windows.iter().sum::<f64>() / windows.len() as f64;
        let least = windows.iter().copied().fold(f64::MAX, f64::min);
        let most = windows.iter().copied().fold(0.0, f64::max);
        println!(
            "| a capture of {name} limited to 20 % of a core, over {MINUTE} s | 18 to 22 % | \
             {all:.1} % (each 5 s: {least:.1} to {most:.1} %) |"
        );
    }
}

/// Captures over and over at a fifth of a core.
fn limited(root: &Path, out: &Path) {
    let limits = Limits {
        cpu_percent: Some(20),
        ..Limits::default()
    };
    let guest = std::sync::Arc::new(Guest::new(limits, 0));
    let folder = File::open(root).expect("the tree can be opened");
    loop {
        let guest = std::sync::Arc::clone(&guest);
        let shared = Shared::asking(Box::new(move |bytes| {
            guest.before_read(bytes, || false).expect("nobody stops it");
        }));
        let what = Capture {
            root: folder.as_fd(),
            relative: Path::new(""),
            exclude: vec![],
            origins: None,
            snapshot: SnapshotId::from_random([7; 16]),
            key: &SnapshotKey::from_random([7; 32]),
            out,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        };
        capture_with(&what, &shared, &Progress::default()).expect("the tree can be captured");
    }
}

fn agent() -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_BIN").map_or_else(
        || {
            let own = std::env::current_exe().expect("this program");
            own.ancestors().nth(2).expect("target/release").to_owned()
        },
        PathBuf::from,
    );
    folder.join("holdfast-agent")
}

/// KiB of a field of the kernel's own account of a process.
fn kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|n| n.parse().ok())
        .expect("a number of KiB")
}

fn idle() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (host, child) = runtime.block_on(async {
        let host = Host::new().await;
        for n in 0..HELD {
            let folder = host.root.join(format!("alice/{}", n / 1000));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(n.to_string()), n.to_string()).expect("a file");
        }
        host.tasks(vec![host.raise(1, 5, "alice")]);
        let mut command = Command::new(agent());
        command.args(["run", "--data"]).arg(&host.place.0);
        let child = Killed(command.stderr(Stdio::null()).spawn().expect("it starts"));
        let held = said("hold.verified", 1);
        host.coordinator.until("held", held).await;
        (host, child)
    });
    let pid = child.0.id();
    // What raising took is given back by now.
    std::thread::sleep(Duration::from_secs(10));
    let share = shares(pid, 1, MINUTE)[0];
    #[allow(clippy::cast_precision_loss)]
    let mib = |field| kib(pid, field) as f64 / 1024.0;
    println!(
        "| an idle agent that holds {HELD} files: CPU time over {MINUTE} s | 0.1 % of a core | \
         {share:.2} % |"
    );
    println!(
        "| its memory | 15 MiB | {:.1} MiB, of which {:.1} are its own and the rest is the program \
         file (at most while raising: {:.1}) |",
        mib("VmRSS:"),
        mib("RssAnon:"),
        mib("VmHWM:"),
    );
    drop(child);
    drop(host);
}

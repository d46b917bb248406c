//! Writers that were there before, and what root does by force: neither goes unseen.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent::{
    capture::walk::Walk,
    enforce::attempt::{self, Tally},
};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{counts, keeper, on, plant, target},
};
use custody::house::{finding::FindingKind, regime::Holding::Freeze};

/// Another process that keeps a file open or mapped for writing until its input ends.
struct Writer(Child);

impl Writer {
    fn start(how: &str, file: &Path) -> Self {
        let open = "import sys,os,mmap\nf=os.open(sys.argv[1],os.O_RDWR)\n";
        let mapped = "m=mmap.mmap(f,5)\nos.close(f)\n";
        let rest = "print('there',flush=True)\nsys.stdin.read()\n";
        let script = match how {
            "mapped" => format!("{open}{mapped}{rest}"),
            _ => format!("{open}{rest}"),
        };
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "{how}");
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_file_with_a_writer_left_is_never_verified() {
    if !can_mount("a_file_with_a_writer_left_is_never_verified") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let writers = [
            Writer::start("open", &data.join("a")),
            Writer::start("mapped", &data.join("sub/c")),
        ];
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert_eq!(proof.writers, 2, "{kind}");
        assert_eq!(proof.attempts, proof.refused, "{kind}");
        assert!(!proof.holds(), "{kind}");
        for writer in writers {
            writer.end();
        }
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
    }
}

#[test]
fn a_proof_waits_a_little_for_a_writer_that_is_going() {
    if !can_mount("a_proof_waits_a_little_for_a_writer_that_is_going") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    let writer = Writer::start("open", &data.join("a"));
    keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    let going = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        writer.end();
    });
    let begun = Instant::now();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    going.join().unwrap();
}

#[test]
fn a_proof_leaves_nothing_behind_on_an_unprotected_tree() {
    if !can_mount("a_proof_leaves_nothing_behind_on_an_unprotected_tree") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        // Root takes every flag off behind our back: all that is tried will succeed.
        let list = |path: &Path| {
            let out = Command::new("find").arg(path).output().unwrap();
            let mut lines: Vec<_> = out
                .stdout
                .split(|&b| b == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            lines.sort();
            lines
        };
        let before = list(&data);
        // Not through the symlink: chattr follows none, and complains of it.
        let _ = Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(&data)
            .status();
        // Each file and folder and the target's own name miss their flag, and so nothing is tried.
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert_eq!((proof.attempts, proof.refused), (9, 0), "{kind}");
        let (root, tally) = (File::open(&data).unwrap(), Tally::default());
        for step in Walk::open(root.as_fd(), Path::new("")).unwrap() {
            attempt::on(&step, &tally);
        }
        let (attempts, refused) = tally.totals();
        assert!(attempts > 20 && refused == 0, "{kind}: {attempts}");
        assert_eq!(list(&data), before, "{kind}");
        assert_eq!(fs::read(data.join("other/d")).unwrap(), b"delta");
    }
}

#[test]
fn what_root_does_by_force_is_found() {
    if !can_mount("what_root_does_by_force_is_found") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let at = |name: &str| data.join(name).to_str().unwrap().to_owned();
        let keeper = keeper(state.path(), mounted.path());
        let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        let found = || counts(keeper.check(target(1), &on()).unwrap());
        let one = |what, count| vec![(what, count)];
        assert_eq!(found(), []);
        // A flag is gone.
        tool("chattr", &["-i", &at("a")]);
        assert_eq!(found(), one(FindingKind::ProtectionGone, 1), "{kind}");
        assert!(!keeper.prove(target(1), &on()).unwrap().holds());
        // Raising again puts it back.
        assert_eq!(
            keeper.raise(target(1), &data, Freeze, &on()).unwrap(),
            raised
        );
        assert_eq!(found(), []);
        assert!(keeper.prove(target(1), &on()).unwrap().holds());
        std::thread::sleep(Duration::from_millis(20));
        // A flag is gone and the content with it: both are said, before the flag is put back.
        tool("chattr", &["-i", &at("a")]);
        fs::write(data.join("a"), "ALPHA").unwrap();
        let both = [FindingKind::ProtectionGone, FindingKind::HeldChanged];
        assert_eq!(found(), both.map(|what| (what, 1)), "{kind}");
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        // Changed, and the flag put back to hide it.
        tool("chattr", &["-i", &at("b")]);
        fs::write(data.join("b"), "BETA").unwrap();
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::options()
            .write(true)
            .open(data.join("b"))
            .unwrap()
            .set_times(time)
            .unwrap();
        tool("chattr", &["+i", &at("b")]);
        assert_eq!(found(), one(FindingKind::HeldChanged, 1), "{kind}");
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        // Something added, and the folder sealed again: the folder changed, a thing appeared.
        tool("chattr", &["-i", &at("sub")]);
        fs::write(data.join("sub/new"), "x").unwrap();
        tool("chattr", &["+i", &at("sub"), &at("sub/new")]);
        let appeared = found();
        assert!(appeared.contains(&(FindingKind::Appeared, 1)), "{kind}");
        keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn a_writer_on_xfs_and_btrfs_could_indeed_go_on_past_the_flag() {
    if !can_mount("a_writer_on_xfs_and_btrfs_could_indeed_go_on_past_the_flag") {
        return;
    }
    // Why the lease is there. Should a kernel close this hole, this test says so.
    for (kind, size) in &KINDS[1..] {
        let mounted = Mounted::new(kind, *size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let mut before = File::options().write(true).open(data.join("a")).unwrap();
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        before.write_all(b"ALPHA").unwrap();
        let mut now = String::new();
        File::open(data.join("a"))
            .unwrap()
            .read_to_string(&mut now)
            .unwrap();
        assert_eq!(now, "ALPHA", "{kind}");
        assert_eq!(keeper.prove(target(1), &on()).unwrap().writers, 1, "{kind}");
    }
}

//! What a customer may try on his own tree while it is held: none of it hangs the agent, keeps a
//! file out, or makes the agent destroy, free or call held what it should not.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{assert_held, captured, flags, is_flagged, keeper, on, plant, target},
};
use custody::{
    digest::Digest,
    house::regime::Holding::{Freeze, Preserve},
    manifest::row::{Kind, Status},
};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

/// A file system whose server never answers; whoever asks it anything waits until this is dropped.
struct Silent {
    at: PathBuf,
    server: Option<File>,
}

impl Silent {
    fn mount(at: &Path) -> Self {
        let server = File::options().read(true).write(true).open("/dev/fuse");
        let server = server.unwrap();
        let mode = if at.is_dir() { "40000" } else { "100000" };
        let options = format!("fd=0,rootmode={mode},user_id=0,group_id=0,allow_other");
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", &options, "silent"])
            .arg(at)
            .stdin(server.try_clone().unwrap())
            .status();
        assert!(mounted.unwrap().success());
        Self {
            at: at.to_owned(),
            server: Some(server),
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Runs something that must end by itself; `undo` lets it go when it does not.
fn in_time<T: Send>(undo: impl FnOnce(), work: impl FnOnce() -> T + Send) -> T {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || done.send(work()));
        match ended.recv_timeout(Duration::from_secs(60)) {
            Ok(done) => done,
            Err(_) => {
                undo();
                panic!("it hangs");
            }
        }
    })
}

#[test]
fn what_is_mounted_in_a_tree_is_asked_nothing_and_keeps_nothing_else_from_being_held() {
    let name = "what_is_mounted_in_a_tree_is_asked_nothing";
    if !can_mount(name) {
        return;
    }
    if !Path::new("/dev/fuse").exists() {
        return common::skipped(name, "the kernel has no FUSE");
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    // Whoever may use FUSE may mount on a folder of his, and on a file of his too.
    let silent = [
        Silent::mount(&data.join("sub/empty")),
        Silent::mount(&data.join("b")),
    ];
    let keeper = keeper(state.path(), mounted.path());
    let undo = || drop(silent);
    in_time(undo, || {
        let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert_eq!((raised.files, raised.folders), (3, 3));
        let said = |line: &String| line.starts_with("2 mounted file systems");
        assert!(raised.does_not_prevent.iter().any(said), "{raised:?}");
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert!(proof.holds(), "{proof:?}");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
        keeper.raise(target(2), &data, Preserve, &on()).unwrap();
        for number in [1, 2] {
            let rows = captured(&keeper, number);
            for path in ["sub/empty", "b"] {
                let row = &rows[path.as_bytes()];
                let kind = (row.kind, row.status, row.reason.as_deref());
                let other = Some("other-file-system");
                assert_eq!(kind, (Kind::Mount, Status::NotOpened, other), "{path}");
            }
            assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")));
        }
        keeper.lower(target(1), &on()).unwrap();
        keeper.lower(target(2), &on()).unwrap();
        assert!(!is_flagged(&data.join("a")));
    });
}

/// Another process with a write lease on a file.
struct Leaser(Child);

impl Leaser {
    /// It gives the lease up when it must and takes it again at once; or it is deaf, and the
    /// kernel takes the lease after 45 s.
    fn start(file: &Path, is_deaf: bool) -> Self {
        let handler = if is_deaf { "signal.SIG_IGN" } else { "give" };
        let script = "import sys,os,fcntl,signal,time\n\
            f=os.open(sys.argv[1],os.O_RDONLY)\n\
            def give(*_): fcntl.fcntl(f,fcntl.F_SETLEASE,fcntl.F_UNLCK)\n\
            signal.signal(signal.SIGIO,HANDLER)\n\
            said=False\n\
            while True:\n\
            \x20 try:\n\
            \x20  fcntl.fcntl(f,fcntl.F_SETLEASE,fcntl.F_WRLCK)\n\
            \x20  if not said: print('there',flush=True); said=True\n\
            \x20 except OSError: pass\n\
            \x20 time.sleep(0.0005)\n";
        let mut child = Command::new("python3")
            .args(["-c", &script.replace("HANDLER", handler)])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        Self(child)
    }
}

impl Drop for Leaser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lease_keeps_no_file_out_of_a_hold_or_of_the_evidence() {
    if !can_mount("a_lease_keeps_no_file_out_of_a_hold_or_of_the_evidence") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let leasers = ["a", "sub/c"].map(|name| Leaser::start(&data.join(name), false));
        keeper.raise(target(2), &data, Preserve, &on()).unwrap();
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert!(is_flagged(&data.join("a")) && is_flagged(&data.join("sub/c")));
        // Who may take a write lease may be writing.
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert_eq!(proof.attempts, proof.refused, "{kind}: {proof:?}");
        for number in [1, 2] {
            let rows = captured(&keeper, number);
            for (name, text) in [("a", "alpha"), ("sub/c", "gamma")] {
                let row = &rows[name.as_bytes()];
                let hash = Some(Digest::of(text.as_bytes()));
                assert_eq!((row.status, row.sha256), (Status::Read, hash), "{kind}");
            }
        }
        drop(leasers);
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        assert_held(&data, "root");
        keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn a_copy_that_is_kept_waiting_keeps_no_other_hold_waiting() {
    if !can_mount("a_copy_that_is_kept_waiting_keeps_no_other_hold_waiting") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    let leaser = Leaser::start(&data.join("a"), true);
    let vault = mounted.path().join(".holdfast-vault");
    std::thread::scope(|scope| {
        let copy = scope.spawn(|| keeper.raise(target(1), &data, Preserve, &on()));
        while !vault.join(target(1).to_string()).join("tree").exists() {
            assert!(!copy.is_finished());
            std::thread::yield_now();
        }
        keeper
            .raise(target(2), &data.join("sub"), Freeze, &on())
            .unwrap();
        keeper
            .raise(target(3), &data.join("other"), Preserve, &on())
            .unwrap();
        for number in [2, 3] {
            assert!(keeper.prove(target(number), &on()).unwrap().holds());
            assert_eq!(keeper.check(target(number), &on()).unwrap(), []);
        }
        keeper.lower(target(3), &on()).unwrap();
        assert!(!copy.is_finished(), "it still waits for the lease");
        drop(leaser);
        copy.join().unwrap().unwrap();
    });
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    let rows = captured(&keeper, 1);
    assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")));
    keeper.lower(target(1), &on()).unwrap();
    assert_eq!(fs::read_dir(&vault).unwrap().count(), 0);
    assert!(!is_flagged(&vault), "an empty vault is nobody's to keep");
    keeper.lower(target(2), &on()).unwrap();
}

#[test]
fn a_narrow_target_that_was_moved_into_a_wide_one_is_lowered_without_freeing_it() {
    if !can_mount("a_narrow_target_that_was_moved_into_a_wide_one_is_lowered_without_freeing_it") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let aside = mounted.path().join("aside");
        fs::create_dir_all(aside.join("kept")).unwrap();
        fs::write(aside.join("kept/file"), "kept").unwrap();
        let keeper = keeper(state.path(), mounted.path());
        let raise = |n, path: &Path| keeper.raise(target(n), path, Freeze, &on()).unwrap();
        raise(1, &aside.join("kept"));
        // The folder around it is nobody's to hold, and goes into what is held next.
        fs::rename(&aside, data.join("aside")).unwrap();
        raise(2, &data);
        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (0, 1), "{kind}");
        assert!(is_flagged(&data.join("aside/kept/file")), "{kind}");
        assert!(keeper.prove(target(2), &on()).unwrap().holds(), "{kind}");
        let lowered = keeper.lower(target(2), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (5, 0), "{kind}");
        assert!(flags(&data).iter().all(|l| !l.contains("-i-")), "{kind}");
    }
}

#[test]
fn what_was_put_in_the_place_of_a_target_is_freed_with_it() {
    if !can_mount("what_was_put_in_the_place_of_a_target_is_freed_with_it") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let held = data.join("sub");
        keeper.raise(target(1), &held, Freeze, &on()).unwrap();
        let aside = mounted.path().join("aside");
        fs::rename(&data, &aside).unwrap();
        fs::create_dir_all(&held).unwrap();
        fs::write(held.join("new"), "new").unwrap();
        // The order names the path, so what is there now is held too, also after a restart.
        let keeper = common::trees::keeper(state.path(), mounted.path());
        keeper.raise(target(1), &held, Freeze, &on()).unwrap();
        assert!(is_flagged(&held.join("new")) && is_flagged(&aside.join("sub/c")));
        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!(lowered.freed, 2, "{kind}");
        fs::remove_dir_all(&aside).unwrap();
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn a_proof_destroys_nothing_that_was_put_in_the_place_of_its_target() {
    if !can_mount("a_proof_destroys_nothing_that_was_put_in_the_place_of_its_target") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper
        .raise(target(1), &data.join("sub"), Freeze, &on())
        .unwrap();
    keeper
        .raise(target(2), &data.join("a"), Freeze, &on())
        .unwrap();
    // Between raising and proving the customer swaps the folder around them for one in which a
    // file stands for the folder and a folder for the file.
    fs::rename(&data, mounted.path().join("aside")).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("sub"), "precious").unwrap();
    fs::create_dir(data.join("a")).unwrap();
    for number in [1, 2] {
        let proof = keeper.prove(target(number), &on()).unwrap();
        assert!(!proof.holds(), "{proof:?}");
    }
    assert_eq!(fs::read(data.join("sub")).unwrap(), b"precious");
    assert!(data.join("a").is_dir());
}

#[test]
fn a_read_only_subvolume_keeps_nothing_else_from_being_held_and_is_never_called_held() {
    if !can_mount("a_read_only_subvolume_keeps_nothing_else_from_being_held") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    // An owner may make one, and make it read-only, without any right.
    let volume = data.join("volume");
    let path = volume.to_str().unwrap();
    tool("btrfs", &["-q", "subvolume", "create", path]);
    fs::write(volume.join("inside"), "inside").unwrap();
    tool("btrfs", &["property", "set", path, "ro", "true"]);
    let keeper = keeper(state.path(), mounted.path());
    let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert_eq!((raised.files, raised.folders), (4, 4));
    assert!(is_flagged(&data.join("a")) && is_flagged(&data));
    assert!(!keeper.prove(target(1), &on()).unwrap().holds());
    tool("btrfs", &["property", "set", path, "ro", "false"]);
    let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert_eq!((raised.files, raised.folders), (5, 5));
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn a_vault_that_was_opened_to_others_is_still_no_part_of_a_target() {
    if !can_mount("a_vault_that_was_opened_to_others_is_still_no_part_of_a_target") {
        return;
    }
    let mounted = Mounted::new("xfs", 320);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    let vault = mounted.path().join(".holdfast-vault");
    tool("chattr", &["-i", vault.to_str().unwrap()]);
    tool("chmod", &["755", vault.to_str().unwrap()]);
    keeper
        .raise(target(2), mounted.path(), Freeze, &on())
        .unwrap();
    let rows = captured(&keeper, 2);
    assert!(rows.contains_key(&b"data/a"[..]));
    let inside = |path: &Vec<u8>| path.starts_with(b".holdfast-vault/");
    assert!(!rows.keys().any(inside));
    keeper.lower(target(2), &on()).unwrap();
}

#[test]
fn a_tree_of_endless_paths_is_cut_where_it_is_said() {
    if !can_mount("a_tree_of_endless_paths_is_cut_where_it_is_said") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let name = "d".repeat(255);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut fd = rustix::fs::open(&data, flags, Mode::empty()).unwrap();
    for _ in 0..300 {
        mkdirat(&fd, &name, Mode::from(0o755)).unwrap();
        fd = openat(&fd, &name, flags, Mode::empty()).unwrap();
    }
    drop(fd);
    let keeper = keeper(state.path(), mounted.path());
    let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    let said = |line: &String| line == "1 things could not be protected";
    assert!(raised.does_not_prevent.iter().any(said), "{raised:?}");
    assert!(!keeper.prove(target(1), &on()).unwrap().holds());
    let rows = captured(&keeper, 1);
    let cut: Vec<_> = rows
        .values()
        .filter(|row| row.reason.as_deref() == Some("path-too-long"))
        .collect();
    assert_eq!((cut.len(), cut[0].status), (1, Status::Unreadable));
    assert!(rows.keys().all(|path| path.len() <= (64 << 10) + 256));
    assert!(keeper.lower(target(1), &on()).unwrap().freed > 0);
    tool("rm", &["-rf", data.join(&name).to_str().unwrap()]);
}

#[test]
fn a_root_or_vault_whose_way_became_a_link_is_not_followed() {
    if !can_mount("a_root_or_vault_whose_way_became_a_link_is_not_followed") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let root = mounted.path().join("root");
    let other = mounted.path().join("other");
    fs::create_dir(&root).unwrap();
    plant(&root);
    fs::create_dir_all(other.join("data")).unwrap();
    fs::write(other.join("data/secret"), "not in scope").unwrap();
    let keeper = keeper(state.path(), &root);
    fs::rename(&root, mounted.path().join("aside")).unwrap();
    symlink(&other, &root).unwrap();
    let trouble = keeper.raise(target(1), &root.join("data"), Freeze, &on());
    assert_eq!(trouble.unwrap_err().word(), "symlink");
    assert!(!is_flagged(&other.join("data")) && !is_flagged(&other.join("data/secret")));
}

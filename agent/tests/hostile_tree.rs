//! Oddities of a tree: each is held, or said not to be, and each is a row of the evidence. None
//! takes for ever, and none leads out of the tree.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/child.rs"]
mod child;
mod common;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use agent::{
    capture::{seal, walk::Walk},
    enforce::Keeper,
};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    trees::{captured, is_flagged, keeper, on, plant, target},
};
use custody::{
    digest::Digest,
    house::regime::Holding::{Freeze, Preserve},
    manifest::row::{Kind, Row, Status},
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, linkat, mkdirat, mknodat, openat};

type Rows = BTreeMap<Vec<u8>, Row>;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY);

fn folder(path: &Path) -> rustix::fd::OwnedFd {
    rustix::fs::open(path, FOLDER, Mode::empty()).unwrap()
}

/// Raises, proves and checks a freeze, and captures what is held.
fn frozen(keeper: &Keeper, data: &Path) -> Rows {
    keeper.raise(target(1), data, Freeze, &on()).unwrap();
    let proof = keeper.prove(target(1), &on()).unwrap();
    assert!(proof.holds(), "{proof:?}");
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    captured(keeper, 1)
}

#[test]
fn names_of_255_bytes_of_any_kind_are_held_and_are_rows_byte_for_byte() {
    if !can_mount("names_of_255_bytes_of_any_kind_are_held_and_are_rows_byte_for_byte") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = mounted.path().join("data");
        fs::create_dir(&data).unwrap();
        let bytes = || (1..=255_u8).filter(|byte| *byte != b'/');
        for byte in bytes() {
            fs::write(data.join(OsStr::from_bytes(&[byte; 255])), [byte]).unwrap();
        }
        let keeper = keeper(state.path(), mounted.path());
        let rows = frozen(&keeper, &data);
        assert_eq!(rows.len(), 1 + 254, "{kind}");
        for byte in bytes() {
            let row = &rows[&vec![byte; 255]];
            assert_eq!(row.sha256, Some(Digest::of(&[byte])), "{kind}: {byte}");
        }
        assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 254);
    }
}

#[test]
fn ten_thousand_folders_in_each_other_are_held_read_and_freed() {
    if !can_mount("ten_thousand_folders_in_each_other_are_held_read_and_freed") {
        return;
    }
    let began = Instant::now();
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = mounted.path().join("data");
        fs::create_dir(&data).unwrap();
        let mut fd = folder(&data);
        for _ in 0..10_000 {
            mkdirat(&fd, "d", Mode::from(0o755)).unwrap();
            fd = openat(&fd, "d", FOLDER, Mode::empty()).unwrap();
        }
        let end = openat(
            &fd,
            "end",
            OFlags::CREATE | OFlags::WRONLY,
            Mode::from(0o644),
        )
        .unwrap();
        File::from(end).write_all(b"deep").unwrap();
        let keeper = keeper(state.path(), mounted.path());
        let rows = frozen(&keeper, &data);
        let is_held = || {
            let end = openat(&fd, "end", OFlags::RDONLY, Mode::empty()).unwrap();
            agent::enforce::flag::is_set(end).unwrap()
        };
        assert!(is_held(), "{kind}");
        let (path, row) = rows.iter().max_by_key(|(path, _)| path.len()).unwrap();
        assert_eq!(path.len(), 20_000 + 3, "{kind}");
        assert_eq!(row.sha256, Some(Digest::of(b"deep")), "{kind}");
        assert_eq!(rows.len(), 10_002, "{kind}");
        keeper.lower(target(1), &on()).unwrap();
        assert!(!is_held(), "{kind}");
    }
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_name_outside_the_scope_of_what_is_held_inside_is_said_and_is_only_a_name() {
    if !can_mount("a_name_outside_the_scope_of_what_is_held_inside_is_said_and_is_only_a_name") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let outside = mounted.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::hard_link(data.join("a"), outside.join("a")).unwrap();
        fs::hard_link(data.join("b"), data.join("b too")).unwrap();
        let keeper = keeper(state.path(), mounted.path());
        let rows = frozen(&keeper, &data);
        let names = |name: &str| {
            let row = &rows[name.as_bytes()];
            (row.nlink, row.sha256)
        };
        assert_eq!(names("a"), (2, Some(Digest::of(b"alpha"))), "{kind}");
        assert_eq!(names("b"), names("b too"), "{kind}");
        let record = keeper.all().pop().unwrap();
        let said = record.raised.unwrap().does_not_prevent;
        let line = |line: &&String| line.contains("names outside the target");
        assert!(
            said.iter().find(line).unwrap().starts_with("1 files"),
            "{said:?}"
        );
        // The flag is on the file: by its other name it cannot be changed or removed either, and
        // the folder around that name is nobody's to hold.
        let other = outside.join("a");
        assert!(fs::write(&other, "x").is_err() && fs::remove_file(&other).is_err());
        assert!(!is_flagged(&outside));
        fs::write(outside.join("new"), "free").unwrap();
        keeper.lower(target(1), &on()).unwrap();
        fs::write(&other, "free").unwrap();
    }
}

#[test]
fn access_lists_and_attributes_are_in_the_evidence_and_cannot_be_changed() {
    if !can_mount("access_lists_and_attributes_are_in_the_evidence_and_cannot_be_changed") {
        return;
    }
    // Version 2: the owner reads and writes, user 1000 reads, group, mask and others read.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let any = u32::MAX;
    for (tag, rights, id) in [
        (1, 6, any),
        (2, 4, 1000),
        (4, 4, any),
        (16, 4, any),
        (32, 4, any),
    ] {
        acl.extend_from_slice(&u16::to_le_bytes(tag));
        acl.extend_from_slice(&u16::to_le_bytes(rights));
        acl.extend_from_slice(&u32::to_le_bytes(id));
    }
    let attributes: [(&str, &[u8]); 3] = [
        ("system.posix_acl_access", &acl),
        ("user.note\u{ff}", b"\0any bytes\xff"),
        ("trusted.secret", b"for root only"),
    ];
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let set = |name: &str, value: &[u8]| {
            rustix::fs::setxattr(data.join("a"), name, value, XattrFlags::empty())
        };
        for (name, value) in attributes {
            set(name, value).unwrap();
        }
        let keeper = keeper(state.path(), mounted.path());
        let rows = frozen(&keeper, &data);
        let said = rows[&b"a"[..]].xattrs.clone().unwrap();
        for (name, value) in attributes {
            let pair = [
                &u32::try_from(name.len()).unwrap().to_be_bytes()[..],
                name.as_bytes(),
                &u32::try_from(value.len()).unwrap().to_be_bytes(),
                value,
            ]
            .concat();
            let is_there = said.windows(pair.len()).any(|window| window == pair);
            assert!(is_there, "{kind}: {name}");
            assert_eq!(
                set(name, value),
                Err(rustix::io::Errno::PERM),
                "{kind}: {name}"
            );
        }
        // A copy carries them in its rows too: they are the original's.
        keeper.raise(target(2), &data, Preserve, &on()).unwrap();
        assert_eq!(captured(&keeper, 2)[&b"a"[..]].xattrs, Some(said), "{kind}");
        keeper.lower(target(2), &on()).unwrap();
        keeper.lower(target(1), &on()).unwrap();
    }
}

/// The work of the next test.
#[test]
fn eight_tebibytes() {
    let Some(root) = child::place() else { return };
    let state = tempfile::tempdir().unwrap();
    let keeper = keeper(state.path(), &root);
    keeper
        .raise(target(1), &root.join("data"), Freeze, &on())
        .unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    // Its zeros take hours to hash. Whoever stops the capture does not wait for them.
    let progress = seal::Progress::default();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| sealed(&keeper, &progress));
        std::thread::sleep(Duration::from_millis(300));
        progress.stop.store(true, Ordering::Relaxed);
        let ended = capture.join().unwrap();
        assert!(
            matches!(ended, Err(seal::CaptureError::Stopped)),
            "{ended:?}"
        );
    });
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn eight_tebibytes_of_hole_are_held_at_once_and_their_reading_can_be_stopped() {
    if !can_mount("eight_tebibytes_of_hole_are_held_at_once_and_their_reading_can_be_stopped") {
        return;
    }
    for (kind, size) in &KINDS[1..] {
        let mounted = Mounted::new(kind, *size);
        let data = plant(mounted.path());
        let huge = File::options().write(true).open(data.join("b")).unwrap();
        let length = 8 << 40;
        huge.set_len(length).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&huge, b"end", length - 3).unwrap();
        drop(huge);
        let work = child::command(&[], "eight_tebibytes", mounted.path());
        child::run(work, Duration::from_secs(30));
    }
}

fn sealed(keeper: &Keeper, progress: &seal::Progress) -> Result<seal::Sealed, seal::CaptureError> {
    use std::os::fd::AsFd as _;
    let source = keeper.source(target(1)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let what = seal::Capture {
        root: source.root.as_fd(),
        relative: &source.relative,
        exclude: source.exclude,
        origins: source.origins,
        snapshot: custody::id::SnapshotId::from_random([2; 16]),
        key: &custody::manifest::leaf::SnapshotKey::from_random([1; 32]),
        out: &out.path().join("manifest.parquet"),
        threads: 2,
    };
    seal::capture(&what, progress)
}

/// A tree with one of everything that must not be opened, and links out of it of every kind.
fn plant_traps(root: &Path) -> (PathBuf, PathBuf) {
    let (data, outside) = (plant(root), root.join("outside"));
    fs::create_dir_all(outside.join("folder")).unwrap();
    for name in ["secret", "folder/secret"] {
        fs::write(outside.join(name), "not ours").unwrap();
    }
    for (name, to) in [
        ("to-file", outside.join("secret")),
        ("to-folder", outside.join("folder")),
        ("to-root", PathBuf::from("/")),
        ("to-itself", PathBuf::from("to-itself")),
        ("to-above", PathBuf::from("../outside/secret")),
        ("to-magic", PathBuf::from("/proc/self/root")),
    ] {
        symlink(to, data.join(name)).unwrap();
    }
    let fd = folder(&data);
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        (
            "watchdog",
            FileType::CharacterDevice,
            rustix::fs::makedev(10, 130),
        ),
        ("loop", FileType::BlockDevice, rustix::fs::makedev(7, 0)),
    ] {
        mknodat(&fd, name, kind, Mode::from(0o666), device).unwrap();
    }
    drop(UnixListener::bind(data.join("socket")).unwrap());
    (data, outside)
}

/// The work of the next test, in a process of its own that is watched from outside.
#[test]
fn traced() {
    let Some(root) = child::place() else { return };
    let state = tempfile::tempdir().unwrap();
    let (data, keeper) = (root.join("data"), keeper(state.path(), &root));
    // The writer swaps what was looked at for a link to the outside, before it is opened.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (real, aside) = (data.join("sub"), root.join("aside"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&real, &aside);
                let _ = symlink(root.join("outside/folder"), &real);
                std::thread::yield_now();
                let _ = fs::remove_file(&real);
                let _ = fs::rename(&aside, &real);
            }
        });
        let _ = keeper.raise(target(2), &data, Preserve, &on());
        for _ in 0..10 {
            if keeper.raise(target(1), &data, Freeze, &on()).is_ok() {
                let _ = keeper.prove(target(1), &on());
                let _ = keeper.check(target(1), &on());
                captured(&keeper, 1);
            }
            let _ = keeper.lower(target(1), &on());
        }
        stop.store(true, Ordering::Relaxed);
    });
    keeper.lower(target(1), &on()).unwrap();
    keeper.lower(target(2), &on()).unwrap();
    child::say("all was done");
}

#[test]
fn nothing_outside_the_scope_and_no_device_pipe_or_socket_is_ever_opened() {
    let name = "nothing_outside_the_scope_and_no_device_pipe_or_socket_is_ever_opened";
    if !can_mount(name) {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return common::skipped(name, "there is no strace");
    }
    let mounted = Mounted::new("ext4", 64);
    let (data, outside) = plant_traps(mounted.path());
    let log = mounted.path().parent().unwrap().join("trace");
    let calls = "trace=open,openat,openat2,creat,name_to_handle_at,open_by_handle_at,execve";
    let words = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-e",
        calls,
        "-e",
        "signal=none",
        "-o",
    ];
    let words: Vec<_> = words
        .iter()
        .map(OsStr::new)
        .chain([log.as_os_str()])
        .collect();
    let work = child::command(&words, "traced", mounted.path());
    let said = child::run(work, Duration::from_secs(60));
    assert!(said.contains("all was done"), "{said}");
    let trace = fs::read(&log).unwrap();
    let trace = String::from_utf8_lossy(&trace);
    let at = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (inside, outside_at) = (at(data.clone()), at(outside.clone()));
    let traps = ["fifo", "null", "watchdog", "loop", "socket"].map(|name| at(data.join(name)));
    let mut seen = 0;
    for line in trace.lines() {
        // With -y the kernel's own name of what was opened stands behind the result.
        let result = line
            .rsplit_once(" = ")
            .and_then(|(_, result)| result.split_once('<'));
        let Some((_, name)) = result else { continue };
        seen += u32::from(name.starts_with(&inside));
        assert!(!name.starts_with(&outside_at), "{line}");
        // To take hold of a thing without opening it wakes no driver and no other end.
        let is_trap = traps.iter().any(|trap| name.starts_with(trap));
        assert!(!is_trap || line.contains("O_PATH"), "{line}");
    }
    assert!(seen > 100, "it saw the work");
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"not ours");
    assert!(!is_flagged(&outside) && !is_flagged(&outside.join("secret")));
}

#[test]
fn links_devices_pipes_and_sockets_are_rows_that_say_what_they_are() {
    if !can_mount("links_devices_pipes_and_sockets_are_rows_that_say_what_they_are") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let (data, outside) = plant_traps(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        for holding in [Freeze, Preserve] {
            keeper.raise(target(1), &data, holding, &on()).unwrap();
            assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
            let rows = captured(&keeper, 1);
            let is = |name: &str| (rows[name.as_bytes()].kind, rows[name.as_bytes()].status);
            for (name, what) in [
                ("fifo", Kind::Fifo),
                ("null", Kind::CharDevice),
                ("watchdog", Kind::CharDevice),
                ("loop", Kind::BlockDevice),
                ("socket", Kind::Socket),
            ] {
                assert_eq!(is(name), (what, Status::NotOpened), "{kind}: {name}");
            }
            for name in [
                "to-file",
                "to-folder",
                "to-root",
                "to-itself",
                "to-above",
                "to-magic",
            ] {
                assert_eq!(is(name), (Kind::Symlink, Status::Read), "{kind}: {name}");
                assert!(rows[name.as_bytes()].target.is_some());
            }
            assert!(
                !rows
                    .values()
                    .any(|row| row.sha256 == Some(Digest::of(b"not ours")))
            );
            keeper.lower(target(1), &on()).unwrap();
        }
        assert!(!is_flagged(&outside));
    }
}

/// The work of the next test.
#[test]
fn a_million() {
    let Some(root) = child::place() else { return };
    use std::os::fd::AsFd as _;
    let (mut count, mut before) = (0, Vec::new());
    let root = File::open(root).unwrap();
    for step in Walk::open(root.as_fd(), Path::new("data")).unwrap().skip(1) {
        assert!(before < step.path, "in the order of their bytes");
        before = step.path;
        count += 1;
    }
    child::say(&format!("walked {count}"));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    child::say(&format!("in {kib} KiB"));
    assert!(kib < 128 << 10);
}

#[test]
fn a_million_names_in_one_folder_are_walked_in_order_and_in_bounded_memory() {
    if !can_mount("a_million_names_in_one_folder_are_walked_in_order_and_in_bounded_memory") {
        return;
    }
    let mounted = Mounted::new("tmpfs", 0);
    let data = mounted.path().join("data");
    fs::create_dir(&data).unwrap();
    let fd = folder(&data);
    openat(&fd, "0", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
    for number in 1..1_000_000 {
        linkat(&fd, "0", &fd, number.to_string(), AtFlags::empty()).unwrap();
    }
    let work = child::command(&[], "a_million", mounted.path());
    let said = child::run(work, Duration::from_secs(60));
    assert!(said.contains("walked 1000000"), "{said}");
}

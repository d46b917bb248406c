//! What happens under a held tree: mounts that come and go, a file system that turns read-only, a
//! disk that cannot be read. Each is a row, a finding or a refusal with its word, and never a hang.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use agent::enforce::{Keeper, Root};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{captured, is_flagged, keeper, on, plant, target},
};
use custody::{
    digest::Digest,
    house::{
        finding::FindingKind,
        mechanism::Mechanism,
        regime::Holding::{Freeze, Preserve},
    },
    manifest::row::{Kind, Status},
};

/// A mount that ends with this value.
struct Over(PathBuf);

impl Over {
    fn new(arguments: &[&str], at: &Path) -> Self {
        let mut mount = Command::new("mount");
        assert!(mount.args(arguments).arg(at).status().unwrap().success());
        Self(at.to_owned())
    }

    fn tmpfs(at: &Path) -> Self {
        Self::new(&["-t", "tmpfs", "over"], at)
    }

    fn bind(from: &Path, at: &Path) -> Self {
        Self::new(&["--bind", from.to_str().unwrap()], at)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_is_bound_into_a_tree_is_a_row_and_is_neither_read_nor_held() {
    if !can_mount("what_is_bound_into_a_tree_is_a_row_and_is_neither_read_nor_held") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        // Of the same file system: no device number tells it from the rest.
        let outside = mounted.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "not ours").unwrap();
        let folder = Over::bind(&outside, &data.join("sub/empty"));
        let file = Over::bind(&outside.join("secret"), &data.join("b"));
        let keeper = keeper(state.path(), mounted.path());
        for holding in [Freeze, Preserve] {
            keeper.raise(target(1), &data, holding, &on()).unwrap();
            assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
            assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{kind}");
            let rows = captured(&keeper, 1);
            // A snapshot has what lies under a mount, and holds that; nothing else sees it.
            let mechanism = keeper.all().pop().unwrap().mechanism;
            for name in ["sub/empty", "b"] {
                let row = &rows[name.as_bytes()];
                if mechanism == Mechanism::BtrfsSnapshot {
                    let under = [None, Some(Digest::of(b"beta"))];
                    assert!(under.contains(&row.sha256), "{row:?}");
                    continue;
                }
                assert_eq!(
                    (row.kind, row.status),
                    (Kind::Mount, Status::NotOpened),
                    "{kind}"
                );
            }
            assert!(!rows.contains_key(&b"sub/empty/secret"[..]));
            assert!(!is_flagged(&outside) && !is_flagged(&outside.join("secret")));
            fs::write(outside.join("secret"), "not ours").unwrap();
            keeper.lower(target(1), &on()).unwrap();
        }
        drop((folder, file));
    }
}

#[test]
fn what_is_held_is_held_through_every_mount_of_it() {
    if !can_mount("what_is_held_is_held_through_every_mount_of_it") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = plant(mounted.path());
        let bound = Over::bind(&data, elsewhere.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        let through = elsewhere.path();
        assert!(fs::write(through.join("a"), "x").is_err(), "{kind}");
        assert!(fs::remove_file(through.join("sub/c")).is_err(), "{kind}");
        assert!(fs::write(through.join("new"), "x").is_err(), "{kind}");
        drop(bound);
        keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn what_is_mounted_over_a_target_is_found_and_what_lies_below_stays_held() {
    if !can_mount("what_is_mounted_over_a_target_is_found_and_what_lies_below_stays_held") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        for at in [data.clone(), mounted.path().to_owned()] {
            let over = Over::tmpfs(&at);
            // What is there now is not what is held: it is said, and nothing of it is touched.
            match keeper.check(target(1), &on()) {
                Ok(found) => assert!(!found.is_empty(), "{kind}"),
                Err(trouble) => {
                    let word = trouble.word();
                    let words = [
                        "other-file-system",
                        "not-found",
                        "unmounted",
                        "mounted-over",
                    ];
                    assert!(words.contains(&word), "{kind}: {word}");
                }
            }
            let proved = keeper.prove(target(1), &on());
            assert!(!proved.is_ok_and(|proof| proof.holds()), "{kind}");
            assert!(keeper.source(target(1)).is_err() || fs::read_dir(&at).unwrap().count() == 0);
            assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "{kind}");
            drop(over);
            assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{kind}");
            assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        }
        // Over a part of it: what lies under it cannot be seen, and is missing.
        let over = Over::tmpfs(&data.join("sub"));
        let found = keeper.check(target(1), &on()).unwrap();
        let kinds: Vec<_> = found.iter().map(|found| found.what).collect();
        let expected = [FindingKind::HeldChanged, FindingKind::MountedOver];
        assert!(
            kinds.iter().any(|kind| expected.contains(kind)),
            "{kind}: {kinds:?}"
        );
        drop(over);
        assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{kind}");
        keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn mounts_that_come_and_go_during_the_work_lead_nowhere_and_stop_nothing() {
    if !can_mount("mounts_that_come_and_go_during_the_work_lead_nowhere_and_stop_nothing") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let outside = mounted.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "not ours").unwrap();
    let keeper = keeper(state.path(), mounted.path());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop((
                    Over::bind(&outside, &data.join("sub")),
                    Over::bind(&outside.join("secret"), &data.join("a")),
                ));
            }
        });
        for _ in 0..30 {
            // It may fail for the moment; it must not go astray.
            let raised = keeper.raise(target(1), &data, Freeze, &on());
            if raised.is_ok() {
                let _ = keeper.prove(target(1), &on());
                let rows = captured(&keeper, 1);
                let theirs = Some(Digest::of(b"not ours"));
                assert!(rows.values().all(|row| row.sha256 != theirs));
                assert!(!rows.contains_key(&b"sub/secret"[..]));
            }
            let _ = keeper.lower(target(1), &on());
            assert!(!is_flagged(&outside) && !is_flagged(&outside.join("secret")));
        }
        stop.store(true, Ordering::Relaxed);
    });
    keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert_eq!(
        captured(&keeper, 1)[&b"sub/c"[..]].sha256,
        Some(Digest::of(b"gamma"))
    );
    keeper.lower(target(1), &on()).unwrap();
    assert!(!is_flagged(&data.join("a")) && !is_flagged(&data.join("sub/c")));
}

#[test]
fn a_file_system_that_turned_read_only_stays_held_and_is_freed_when_it_can_be() {
    if !can_mount("a_file_system_that_turned_read_only_stays_held_and_is_freed_when_it_can_be") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let remount = |how: &str| {
            let at = mounted.path().to_str().unwrap();
            tool("mount", &["-o", &format!("remount,{how}"), at]);
        };
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        remount("ro");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{kind}");
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        let rows = captured(&keeper, 1);
        assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")), "{kind}");
        // Nothing new can be held by a flag, and nothing freed: both are said, neither is called
        // done.
        let new = keeper.raise(target(2), &data.join("sub"), Freeze, &on());
        assert!(
            new.is_err() || keeper.prove(target(2), &on()).unwrap().holds(),
            "{kind}"
        );
        let lowered = keeper.lower(target(1), &on());
        assert_eq!(lowered.unwrap_err().word(), "read-only", "{kind}");
        remount("rw");
        assert!(is_flagged(&data.join("a")), "{kind}: it stays held");
        keeper.lower(target(1), &on()).unwrap();
        keeper.lower(target(2), &on()).unwrap();
        assert!(
            !is_flagged(&data.join("a")) && !is_flagged(&data.join("sub/c")),
            "{kind}"
        );
    }
}

/// A file system in an image whose bytes can be spoiled behind its back.
struct Image {
    folder: tempfile::TempDir,
    over: Option<Over>,
}

impl Image {
    fn new(kind: &str, mebibytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mounted")).unwrap();
        let image = Self { folder, over: None };
        File::create(image.file())
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        let quiet = if kind == "ext4" { "-qF" } else { "-qf" };
        tool(
            &format!("mkfs.{kind}"),
            &[quiet, image.file().to_str().unwrap()],
        );
        image
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&mut self) {
        let file = self.file();
        self.over = Some(Over::new(
            &["-o", "loop", file.to_str().unwrap()],
            &self.path(),
        ));
    }

    fn unmount(&mut self) {
        let over = self.over.take().unwrap();
        tool("umount", &[over.0.to_str().unwrap()]);
        std::mem::forget(over);
    }

    /// Flips a byte wherever the image has `what`; says how often it did.
    fn spoil(&self, what: &[u8]) -> usize {
        let file = self.file();
        let mut image = File::options().read(true).write(true).open(&file).unwrap();
        let mut spoiled = 0;
        let mut at = 0;
        // Only what is there: the image is sparse.
        while let Ok(data) = rustix::fs::seek(&image, rustix::fs::SeekFrom::Data(at)) {
            let end = rustix::fs::seek(&image, rustix::fs::SeekFrom::Hole(data)).unwrap();
            let mut bytes = vec![0; usize::try_from(end - data).unwrap()];
            image.seek(SeekFrom::Start(data)).unwrap();
            image.read_exact(&mut bytes).unwrap();
            for found in memchr(&bytes, what) {
                image
                    .write_all_at(&[!what[0]], data + found as u64)
                    .unwrap();
                spoiled += 1;
            }
            at = end;
        }
        image.flush().unwrap();
        spoiled
    }
}

/// Where `what` stands in `bytes`.
fn memchr(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let starts = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == what[0]);
    starts
        .map(|(at, _)| at)
        .filter(|at| bytes[*at..].starts_with(what))
        .collect()
}

#[test]
fn a_file_that_its_disk_lost_is_a_row_that_says_so_and_the_rest_is_read() {
    if !can_mount("a_file_that_its_disk_lost_is_a_row_that_says_so_and_the_rest_is_read") {
        return;
    }
    // btrfs has a sum of every block: what rots on its disk cannot be read (EIO).
    let mut image = Image::new("btrfs", 192);
    image.mount();
    let data = plant(&image.path());
    let mark = b"these bytes will rot on the disk";
    fs::write(data.join("b"), [&mark[..], &[7; 300_000]].concat()).unwrap();
    image.unmount();
    assert!(image.spoil(mark) > 0);
    image.mount();
    let error = fs::read(data.join("b")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    let state = tempfile::tempdir().unwrap();
    let keeper = keeper(state.path(), &image.path());
    keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert!(
        keeper.prove(target(1), &on()).unwrap().holds(),
        "it can be held unread"
    );
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    let rows = captured(&keeper, 1);
    let row = &rows[&b"b"[..]];
    let said = (row.status, row.reason.as_deref(), row.sha256);
    assert_eq!(said, (Status::Unreadable, Some("EIO"), None));
    assert_eq!(row.size, 300_000 + mark.len() as u64);
    assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")));
    assert_eq!(rows[&b"sub/c"[..]].sha256, Some(Digest::of(b"gamma")));
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn a_folder_that_its_disk_lost_is_a_row_and_is_never_called_held() {
    if !can_mount("a_folder_that_its_disk_lost_is_a_row_and_is_never_called_held") {
        return;
    }
    let mut image = Image::new("ext4", 64);
    image.mount();
    let data = plant(&image.path());
    // Longer than what an inode has room for, so that it stands in a block of its own.
    let mark = "this-name-will-rot-on-the-disk".repeat(4);
    fs::write(data.join("sub").join(&mark), "unreachable").unwrap();
    image.unmount();
    assert!(image.spoil(mark.as_bytes()) > 0);
    image.mount();
    assert!(
        fs::read_dir(data.join("sub"))
            .unwrap()
            .any(|entry| entry.is_err())
    );
    let state = tempfile::tempdir().unwrap();
    let keeper = keeper(state.path(), &image.path());
    match keeper.raise(target(1), &data, Freeze, &on()) {
        Ok(_) => {
            assert!(is_flagged(&data.join("a")), "the rest is held");
            assert!(!keeper.prove(target(1), &on()).unwrap().holds());
            let rows = captured(&keeper, 1);
            let row = &rows[&b"sub"[..]];
            assert_eq!((row.kind, row.status), (Kind::Folder, Status::Unreadable));
            assert!(row.reason.is_some(), "{row:?}");
            assert_eq!(rows[&b"a"[..]].sha256, Some(Digest::of(b"alpha")));
        }
        Err(trouble) => panic!("one lost folder keeps all from being held: {trouble}"),
    }
    // What cannot be reached is not called freed.
    assert!(keeper.lower(target(1), &on()).is_err());
    let _ = Command::new("chattr")
        .args(["-R", "-f", "-i"])
        .arg(&data)
        .status();
}

#[test]
fn a_vault_that_runs_full_in_the_middle_holds_nothing_and_leaves_nothing() {
    if !can_mount("a_vault_that_runs_full_in_the_middle_holds_nothing_and_leaves_nothing") {
        return;
    }
    let (mounted, small) = (Mounted::new("ext4", 64), Mounted::new("ext4", 64));
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    for number in 0..12 {
        fs::write(data.join(format!("big {number}")), vec![number; 3 << 20]).unwrap();
    }
    let vault = small.path().join("vault");
    let root = Root {
        path: mounted.path().to_owned(),
        vault: vault.clone(),
    };
    let keeper = Keeper::open(&state.path().join("holds"), vec![root]).unwrap();
    // Somebody else fills the disk while the copy is being made.
    let filler = small.path().join("filler");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::create(&filler).unwrap();
            while !vault.join(target(1).to_string()).exists() && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200));
            }
            while file.write_all(&vec![1; 1 << 20]).is_ok() {}
        });
        let refused = keeper.raise(target(1), &data, Preserve, &on());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(refused.unwrap_err().word(), "no-space");
    });
    assert!(keeper.source(target(1)).is_err(), "it is not called held");
    fs::remove_file(&filler).unwrap();
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert_eq!(captured(&keeper, 1).len(), 9 + 12);
    keeper.lower(target(1), &on()).unwrap();
    assert!(!vault.exists() || fs::read_dir(&vault).unwrap().count() == 0);
}

#[test]
fn a_file_that_shrinks_or_is_replaced_while_it_is_read_is_right_or_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/file");
    fs::create_dir(folder.path().join("data")).unwrap();
    let long = vec![1; 6 << 20];
    fs::write(&path, &long).unwrap();
    let state = tempfile::tempdir().unwrap();
    // Nothing keeps it still: a copy is taken of a living tree.
    let keeper = keeper(state.path(), folder.path());
    let stop = AtomicBool::new(false);
    let whole = [Digest::of(&long), Digest::of(b"replaced")];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(4096)
                    .unwrap();
                fs::write(path.with_extension("new"), "replaced").unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
                fs::write(path.with_extension("new"), &long).unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
            }
        });
        for number in 1..=6 {
            let raised = keeper.raise(target(number), &folder.path().join("data"), Preserve, &on());
            raised.unwrap();
            let rows = captured(&keeper, number);
            if let Some(row) = rows.get(&b"file"[..]) {
                let is_whole = row.sha256.is_some_and(|hash| whole.contains(&hash));
                let says_so = row.reason.is_some() && row.status != Status::Read;
                assert!(is_whole || says_so || row.size == 4096, "{row:?}");
            }
            keeper.lower(target(number), &on()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

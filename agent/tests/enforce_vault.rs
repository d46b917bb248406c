//! Preserving: the copy is what was, sealed; the living files go on and show nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use agent::enforce::{Found, HoldTrouble, Phase, Progress};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{
        Seeded, as_nobody, assert_free, captured, flags, is_flagged, keeper, odd_name, on, plant,
        target,
    },
};
use custody::{
    digest::Digest,
    house::{
        finding::FindingKind,
        regime::Holding::{Freeze, Preserve},
    },
    manifest::row::{Kind, Status},
};

fn times(path: &Path) -> (i64, i64, i64, i64) {
    let m = fs::symlink_metadata(path).unwrap();
    (m.atime(), m.atime_nsec(), m.ctime(), m.ctime_nsec())
}

#[test]
fn the_vault_keeps_what_was_and_the_living_files_go_on() {
    if !can_mount("the_vault_keeps_what_was_and_the_living_files_go_on") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        // No subvolume of its own: on btrfs too it is a vault that keeps it.
        let root = mounted.path().join("root");
        fs::create_dir(&root).unwrap();
        let state = tempfile::tempdir().unwrap();
        let data = plant(&root);
        fs::write(data.join(odd_name()), "odd").unwrap();
        tool("mkfifo", &[data.join("pipe").to_str().unwrap()]);
        let mut sparse = File::create(data.join("sparse")).unwrap();
        sparse.set_len(200 << 20).unwrap();
        sparse.write_all(b"head").unwrap();
        drop(sparse);
        let were = flags(&data);
        // Access times before the content's, so that any reading would move them.
        tool(
            "find",
            &[
                data.to_str().unwrap(),
                "-exec",
                "touch",
                "-ah",
                "-d",
                "2001-01-01",
                "{}",
                "+",
            ],
        );
        let names = ["", "a", "sub", "sub/c", "other/d", "sparse", "pipe"];
        let before: Vec<_> = names.iter().map(|name| times(&data.join(name))).collect();
        let inode = fs::metadata(data.join("a")).unwrap().ino();

        let keeper = keeper(state.path(), &root);
        let raised = keeper.raise(target(1), &data, Preserve, &on()).unwrap();
        let mechanism = if kind == "ext4" {
            "sealed-copy"
        } else {
            "reflink-vault"
        };
        assert_eq!(
            (raised.mechanism.word(), raised.files, raised.folders),
            (mechanism, 6, 4)
        );
        let after: Vec<_> = names.iter().map(|name| times(&data.join(name))).collect();
        assert_eq!(after, before, "{kind}: nothing shows");
        assert_eq!(flags(&data), were, "{kind}: nothing shows");
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert!(proof.holds(), "{kind}: {proof:?}");

        assert_free(&data);
        fs::write(data.join("sub/c"), "new").unwrap();
        let rows = captured(&keeper, 1);
        let row = |path: &str| &rows[path.as_bytes()];
        assert_eq!(row("a").sha256, Some(Digest::of(b"alpha")), "{kind}");
        assert_eq!(row("a").inode, inode, "{kind}: the original's");
        assert_eq!(row("other/d").sha256, Some(Digest::of(b"delta")));
        assert_eq!(row("sub/c").sha256, Some(Digest::of(b"gamma")));
        assert_eq!(row("link").target.as_deref(), Some(&b"a"[..]));
        assert_eq!(
            (row("pipe").kind, row("pipe").status),
            (Kind::Fifo, Status::NotOpened)
        );
        assert_eq!(
            rows[std::os::unix::ffi::OsStrExt::as_bytes(odd_name())].sha256,
            Some(Digest::of(b"odd"))
        );
        assert!(row("sparse").holes > 100 << 20, "{kind}: holes stay holes");
        assert!(
            rows.values().all(|row| row.status != Status::Unreadable),
            "{kind}"
        );
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);

        // The vault is sealed, its own name too.
        let vault = root.join(".holdfast-vault");
        let tree = vault.join(target(1).to_string()).join("tree");
        assert!(is_flagged(&tree.join("a")) && is_flagged(&tree) && is_flagged(&vault));
        for change in [
            fs::write(tree.join("a"), "x"),
            fs::remove_file(tree.join("a")),
            fs::rename(&tree, vault.join("moved")),
            fs::rename(&vault, root.join("moved")),
            fs::write(tree.join("sub/new"), "x"),
        ] {
            assert_eq!(change.unwrap_err().raw_os_error(), Some(1), "{kind}");
        }
        assert!(as_nobody(|| fs::read_dir(&vault).is_err()), "{kind}");
        // What root does to it is found.
        tool("chattr", &["-i", tree.join("a").to_str().unwrap()]);
        let found = keeper.check(target(1), &on()).unwrap();
        assert_eq!(
            found,
            [Found::at(FindingKind::ProtectionGone, &tree.join("a"))]
        );

        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (6, 0));
        assert_eq!(fs::read_dir(&vault).unwrap().count(), 0, "{kind}");
    }
}

#[test]
fn a_file_of_3_tebibytes_that_is_one_hole_is_copied_in_a_moment() {
    if !can_mount("a_file_of_3_tebibytes_that_is_one_hole_is_copied_in_a_moment") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let mut file = File::create(data.join("hole")).unwrap();
    file.write_all(b"head").unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"tail", 3 << 40).unwrap();
    let keeper = keeper(state.path(), mounted.path());
    let raised = keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    assert_eq!((raised.mechanism.word(), raised.files), ("sealed-copy", 5));
    let copy = mounted
        .path()
        .join(format!(".holdfast-vault/{}/tree/hole", target(1)));
    let copy = File::open(copy).unwrap();
    assert_eq!(copy.metadata().unwrap().len(), (3 << 40) + 4);
    let mut tail = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&copy, &mut tail, 3 << 40).unwrap();
    assert_eq!(&tail, b"tail");
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
}

#[test]
fn one_file_is_preserved_and_read_back() {
    if !can_mount("one_file_is_preserved_and_read_back") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper
        .raise(target(1), &data.join("sub/c"), Preserve, &on())
        .unwrap();
    fs::write(data.join("sub/c"), "later").unwrap();
    let rows = captured(&keeper, 1);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[&b"c"[..]].sha256, Some(Digest::of(b"gamma")));
}

#[test]
fn a_crash_anywhere_in_preserving_is_gone_on_from() {
    if !can_mount("a_crash_anywhere_in_preserving_is_gone_on_from") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let data = plant(mounted.path());
        let mut crashes = 0;
        for seed in 0..25 {
            let state = tempfile::tempdir().unwrap();
            let mut random = Seeded(seed);
            let mut crash = || Progress::stop_after(random.below(45));
            for number in [1, 2] {
                loop {
                    let keeper = keeper(state.path(), mounted.path());
                    match keeper.raise(target(number), &data, Preserve, &crash()) {
                        Err(HoldTrouble::Stopped) => crashes += 1,
                        raised => {
                            raised.unwrap();
                            break;
                        }
                    }
                    let all = keeper.all();
                    let record = all.iter().find(|record| record.target == target(number));
                    assert!(record.is_none_or(|record| record.phase != Phase::Raised));
                }
            }
            let keeper_now = keeper(state.path(), mounted.path());
            for number in [1, 2] {
                assert!(keeper_now.prove(target(number), &on()).unwrap().holds());
                assert_eq!(keeper_now.check(target(number), &on()).unwrap(), []);
            }
            assert_eq!(
                captured(&keeper_now, 1)[&b"a"[..]].sha256,
                Some(Digest::of(b"alpha"))
            );
            for number in [1, 2] {
                loop {
                    let keeper = keeper(state.path(), mounted.path());
                    match keeper.lower(target(number), &crash()) {
                        Err(HoldTrouble::Stopped) => crashes += 1,
                        lowered => {
                            lowered.unwrap();
                            break;
                        }
                    }
                }
            }
            let vault = mounted.path().join(".holdfast-vault");
            assert_eq!(
                fs::read_dir(vault).unwrap().count(),
                0,
                "{kind}, seed {seed}"
            );
        }
        assert!(crashes > 25, "{crashes} crashes");
    }
}

#[test]
fn a_full_vault_holds_nothing_and_leaves_nothing() {
    if !can_mount("a_full_vault_holds_nothing_and_leaves_nothing") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    fs::write(data.join("large"), vec![7; 16 << 20]).unwrap();
    let ballast = mounted.path().join("ballast");
    fs::write(&ballast, vec![7; 24 << 20]).unwrap();
    let keeper = keeper(state.path(), mounted.path());
    let trouble = keeper.raise(target(1), &data, Preserve, &on()).unwrap_err();
    assert_eq!(trouble.word(), "no-space");
    assert!(matches!(trouble, HoldTrouble::NoSpace { needed, free } if needed > free));
    let vault = mounted.path().join(".holdfast-vault");
    assert_eq!(fs::read_dir(&vault).unwrap().count(), 0);
    assert!(keeper.prove(target(1), &on()).is_err());
    assert!(keeper.source(target(1)).is_err());
    fs::remove_file(ballast).unwrap();
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
}

#[test]
fn where_no_flag_can_be_set_a_freeze_is_a_copy_and_says_what_it_does_not_prevent() {
    if !can_mount("where_no_flag_can_be_set_a_freeze_is_a_copy") {
        return;
    }
    let mounted = Mounted::new("ramfs", 0);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert_eq!(
        (raised.mechanism.word(), raised.file_system.as_str()),
        ("plain-copy", "ramfs")
    );
    for what in [
        "the original can be changed",
        "root can change the copy",
        "a restart",
    ] {
        assert!(
            raised.does_not_prevent.iter().any(|l| l.contains(what)),
            "{what}: {raised:?}"
        );
    }
    // What modes can keep out is kept out.
    let proof = keeper.prove(target(1), &on()).unwrap();
    assert!(proof.holds() && proof.attempts > 10, "{proof:?}");
    fs::write(data.join("a"), "changed").unwrap();
    assert_eq!(
        captured(&keeper, 1)[&b"a"[..]].sha256,
        Some(Digest::of(b"alpha"))
    );
    // What they cannot is found.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let copy = mounted
        .path()
        .join(".holdfast-vault")
        .join(target(1).to_string())
        .join("tree/a");
    fs::write(&copy, "forged").unwrap();
    let found = keeper.check(target(1), &on()).unwrap();
    assert_eq!(found, [Found::at(FindingKind::HeldChanged, &copy)]);
    assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 4);
}

#[test]
fn a_file_that_never_holds_still_is_kept_and_said_to_have_changed() {
    if !can_mount("a_file_that_never_holds_still_is_kept_and_said_to_have_changed") {
        return;
    }
    let mounted = Mounted::new("ext4", 200);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let path = data.join("growing");
    fs::write(&path, vec![1; 16 << 20]).unwrap();
    let keeper = keeper(state.path(), mounted.path());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&[2; 64]).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        keeper.raise(target(1), &data, Preserve, &on()).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    let rows = captured(&keeper, 1);
    let row = &rows[&b"growing"[..]];
    assert_eq!(row.status, Status::Changed);
    assert!(row.sha256.is_some() && row.size >= 16 << 20);
    assert_eq!(rows[&b"a"[..]].status, Status::Read);
}

#[test]
fn a_vault_whose_own_flag_is_gone_is_found_and_closed_again() {
    if !can_mount("a_vault_whose_own_flag_is_gone_is_found_and_closed_again") {
        return;
    }
    let mounted = Mounted::new("xfs", 320);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    let vault = mounted.path().join(".holdfast-vault");
    tool("chattr", &["-i", vault.to_str().unwrap()]);
    let found = keeper.check(target(1), &on()).unwrap();
    assert_eq!(found, [Found::at(FindingKind::ProtectionGone, &vault)]);
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    assert!(is_flagged(&vault));
}

#[test]
fn a_vault_that_others_can_enter_is_not_used() {
    if !can_mount("a_vault_that_others_can_enter_is_not_used") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let outside = tempfile::tempdir().unwrap();
    let vault = mounted.path().join(".holdfast-vault");
    std::os::unix::fs::symlink(outside.path(), &vault).unwrap();
    let trouble = keeper(state.path(), mounted.path())
        .raise(target(1), &data, Preserve, &on())
        .unwrap_err();
    assert_eq!(trouble.word(), "not-supported");
    fs::remove_file(&vault).unwrap();
    fs::create_dir(&vault).unwrap();
    tool("chmod", &["777", vault.to_str().unwrap()]);
    let trouble = keeper(state.path(), mounted.path())
        .raise(target(1), &data, Preserve, &on())
        .unwrap_err();
    assert_eq!(trouble.word(), "not-supported");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn without_the_privilege_a_freeze_is_a_copy_that_says_so() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    if !can_mount("without_the_privilege_a_freeze_is_a_copy_that_says_so") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        // No subvolume of its own: a snapshot would need no privilege but root's.
        let root = mounted.path().join("root");
        fs::create_dir(&root).unwrap();
        let data = plant(&root);
        std::thread::scope(|scope| {
            let unprivileged = scope.spawn(|| {
                let mut sets = capabilities(None).unwrap();
                for set in [
                    &mut sets.effective,
                    &mut sets.permitted,
                    &mut sets.inheritable,
                ] {
                    set.remove(CapabilitySet::LINUX_IMMUTABLE);
                }
                set_capabilities(None, sets).unwrap();
                let keeper = keeper(state.path(), &root);
                let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
                assert_eq!(raised.mechanism.word(), "plain-copy", "{kind}");
                for what in ["the original can be changed", "root can change the copy"] {
                    let said = raised.does_not_prevent.iter().any(|l| l.contains(what));
                    assert!(said, "{kind}, {what}: {raised:?}");
                }
                assert!(!raised.does_not_prevent.iter().any(|l| l.contains("flag")));
                assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
                assert_free(&data);
                assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
                assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 4);
            });
            unprivileged.join().unwrap();
        });
    }
}

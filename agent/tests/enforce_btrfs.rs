//! Snapshots on btrfs: the moment is kept whole, nested subvolumes too, and force is found.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use agent::enforce::{Found, HoldTrouble, Phase, Progress};
use common::{
    mounted::{Mounted, can_mount},
    tool,
    trees::{
        Seeded, assert_free, captured, counts, flags, is_flagged, keeper, on, open_to_all, plant,
        target,
    },
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

fn btrfs(arguments: &[&str]) {
    let done = Command::new("btrfs").arg("-q").args(arguments).output();
    let done = done.unwrap();
    assert!(done.status.success(), "btrfs {arguments:?}: {done:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How many subvolumes there are.
fn subvolumes(at: &Path) -> usize {
    let listed = Command::new("btrfs")
        .args(["subvolume", "list", text(at)])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().count()
}

/// The planted tree with a subvolume in it, one in that, and one beside the tree.
fn plant_nested(root: &Path) -> PathBuf {
    let data = plant(root);
    for (place, content) in [
        ("data/sub/nested", "nested"),
        ("data/sub/nested/inner folder", "inner"),
        ("beside", "beside"),
    ] {
        btrfs(&["subvolume", "create", text(&root.join(place))]);
        fs::write(root.join(place).join("file"), content).unwrap();
    }
    open_to_all(&data);
    data
}

fn tree(root: &Path) -> PathBuf {
    root.join(format!(".holdfast-vault/{}/tree", target(1)))
}

#[test]
fn a_snapshot_keeps_the_moment_with_nested_subvolumes_while_all_goes_on() {
    if !can_mount("a_snapshot_keeps_the_moment_with_nested_subvolumes_while_all_goes_on") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let state = tempfile::tempdir().unwrap();
    let data = plant_nested(mounted.path());
    let were = flags(&data);
    let before = fs::metadata(data.join("a")).unwrap();
    let sub = fs::metadata(data.join("sub")).unwrap();
    let living = subvolumes(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    let plan = keeper.plan(&data, Preserve).unwrap();
    assert_eq!(plan.mechanism, Mechanism::BtrfsSnapshot);
    assert!(plan.because.contains("not zfs-snapshot"), "{plan:?}");
    assert!(
        plan.does_not_prevent
            .iter()
            .any(|l| l.starts_with("2 nested"))
    );
    assert_eq!((plan.files, plan.needs), (None, 0));
    assert_eq!(subvolumes(mounted.path()), living, "a plan makes nothing");

    let raised = keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    assert_eq!(raised.mechanism, Mechanism::BtrfsSnapshot);
    assert_eq!((raised.files, raised.folders, raised.bytes), (6, 6, 30));
    assert_eq!(flags(&data), were, "nothing shows");
    let proof = keeper.prove(target(1), &on()).unwrap();
    assert!(proof.holds() && proof.attempts > 30, "{proof:?}");
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    assert_eq!(
        keeper.raise(target(1), &data, Preserve, &on()).unwrap(),
        raised,
        "a second call says the same"
    );

    fs::write(data.join("sub/nested/file"), "later").unwrap();
    fs::write(data.join("sub/nested/inner folder/file"), "later").unwrap();
    fs::write(data.join("sub/new"), "later").unwrap();
    btrfs(&[
        "subvolume",
        "delete",
        text(&data.join("sub/nested/inner folder")),
    ]);
    btrfs(&["subvolume", "delete", text(&data.join("sub/nested"))]);
    fs::remove_file(data.join("sub/new")).unwrap();
    assert_free(&data);
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);

    let rows = captured(&keeper, 1);
    let content = |path: &str| rows[path.as_bytes()].sha256;
    assert_eq!(content("a"), Some(Digest::of(b"alpha")));
    assert_eq!(content("sub/nested/file"), Some(Digest::of(b"nested")));
    let inner = "sub/nested/inner folder/file";
    assert_eq!(content(inner), Some(Digest::of(b"inner")));
    assert_eq!(content("other/d"), Some(Digest::of(b"delta")));
    assert_eq!(rows[&b"a"[..]].inode, before.ino(), "the original's");
    assert!(rows.values().all(|row| row.status != Status::Unreadable));
    assert_eq!(rows.len(), 13, "nothing that came later");
    let held = fs::metadata(tree(mounted.path()).join("data/sub")).unwrap();
    assert_eq!(
        (held.mtime(), held.mtime_nsec()),
        (sub.mtime(), sub.mtime_nsec())
    );
    assert!(!tree(mounted.path()).join("beside/file").exists());

    let lowered = keeper.lower(target(1), &on()).unwrap();
    assert_eq!((lowered.freed, lowered.kept), (6, 0));
    assert_eq!(subvolumes(mounted.path()), living - 2);
    let vault = mounted.path().join(".holdfast-vault");
    assert_eq!(fs::read_dir(vault).unwrap().count(), 0);
}

#[test]
fn a_subvolume_a_file_and_a_root_are_held_by_the_snapshot_around_them() {
    if !can_mount("a_subvolume_a_file_and_a_root_are_held_by_the_snapshot_around_them") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let state = mounted.path().join("state");
    let data = plant_nested(mounted.path());
    let mut keeper = keeper(&state, mounted.path());
    keeper.leave_out(&state);
    let raise = |n, path: &Path| keeper.raise(target(n), path, Preserve, &on()).unwrap();
    assert_eq!(raise(1, &data.join("sub/nested")).files, 2);
    assert_eq!(raise(2, &data.join("sub/c")).files, 1);
    raise(3, mounted.path());
    for n in 1..=3 {
        assert!(keeper.prove(target(n), &on()).unwrap().holds(), "{n}");
        assert_eq!(keeper.check(target(n), &on()).unwrap(), [], "{n}");
    }
    fs::write(data.join("sub/nested/file"), "later").unwrap();
    fs::write(data.join("sub/c"), "later").unwrap();
    let nested = captured(&keeper, 1);
    assert_eq!(nested[&b"file"[..]].sha256, Some(Digest::of(b"nested")));
    let single = captured(&keeper, 2);
    assert_eq!(single.len(), 1);
    assert_eq!(single[&b"c"[..]].sha256, Some(Digest::of(b"gamma")));
    let root = captured(&keeper, 3);
    assert_eq!(root[&b"data/sub/c"[..]].sha256, Some(Digest::of(b"gamma")));
    assert_eq!(
        root[&b"beside/file"[..]].sha256,
        Some(Digest::of(b"beside"))
    );
    for apart in [&b".holdfast-vault/"[..], b"state/"] {
        let inside = |path: &&Vec<u8>| path.starts_with(apart) && path.as_slice() != apart;
        assert_eq!(root.keys().filter(inside).count(), 0);
    }
    assert!(root.values().all(|row| row.kind != Kind::Mount));
    // Each is a reason of its own.
    keeper.lower(target(3), &on()).unwrap();
    keeper.lower(target(1), &on()).unwrap();
    assert_eq!(keeper.check(target(2), &on()).unwrap(), []);
    keeper.lower(target(2), &on()).unwrap();
}

#[test]
fn what_root_does_to_a_snapshot_is_found_and_made_good() {
    if !can_mount("what_root_does_to_a_snapshot_is_found_and_made_good") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let state = tempfile::tempdir().unwrap();
    let data = plant_nested(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    let tree = tree(mounted.path());
    let folder = tree.parent().unwrap();
    let found = || keeper.check(target(1), &on()).unwrap();
    let again = || keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    let proved = || keeper.prove(target(1), &on()).unwrap().holds();
    let read_only = |on: &str, path: &Path| {
        btrfs(&[
            "property",
            "set",
            "-f",
            "-t",
            "subvol",
            text(path),
            "ro",
            on,
        ]);
    };
    // The flag in the way, nothing can be done to the name.
    let delete = Command::new("btrfs")
        .args(["-q", "subvolume", "delete", text(&tree)])
        .output();
    assert!(!delete.unwrap().status.success());
    assert!(fs::rename(&tree, folder.join("aside")).is_err());
    assert!(is_flagged(folder));

    read_only("false", &tree);
    assert_eq!(found(), [Found::at(FindingKind::ProtectionGone, &tree)]);
    assert!(!proved());
    again();
    assert_eq!(found(), []);
    assert!(proved());

    // Written to and made read-only again, to hide it.
    let inner = tree.join("data/sub/nested");
    read_only("false", &inner);
    fs::write(inner.join("file"), "forged").unwrap();
    read_only("true", &inner);
    assert_eq!(found(), [Found::at(FindingKind::HeldChanged, &inner)]);
    again();
    assert_eq!(found(), []);

    tool("chattr", &["-i", text(folder)]);
    assert_eq!(found(), [Found::at(FindingKind::ProtectionGone, folder)]);
    again();
    assert_eq!(found(), []);

    // Deleted: what is there now is held, as of now, and said to be.
    let since = keeper.all()[0].since_ns;
    tool("chattr", &["-i", text(folder)]);
    for path in [&tree, &inner, &inner.join("inner folder")] {
        read_only("false", path);
    }
    btrfs(&["subvolume", "delete", text(&inner.join("inner folder"))]);
    btrfs(&["subvolume", "delete", text(&inner)]);
    btrfs(&["subvolume", "delete", text(&tree)]);
    let kinds = counts(found());
    assert!(kinds.contains(&(FindingKind::SnapshotGone, 3)), "{kinds:?}");
    again();
    assert_eq!(found(), []);
    assert!(keeper.all()[0].since_ns > since);
    // Another snapshot in its place is not taken for it.
    tool("chattr", &["-i", text(folder)]);
    for path in [&tree, &inner, &inner.join("inner folder")] {
        read_only("false", path);
    }
    btrfs(&["subvolume", "delete", text(&inner.join("inner folder"))]);
    btrfs(&["subvolume", "delete", text(&inner)]);
    btrfs(&["subvolume", "delete", text(&tree)]);
    btrfs(&[
        "subvolume",
        "snapshot",
        "-r",
        text(mounted.path()),
        text(&tree),
    ]);
    let kinds = counts(found());
    assert!(kinds.contains(&(FindingKind::SnapshotGone, 3)), "{kinds:?}");
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn a_crash_anywhere_in_taking_a_snapshot_is_gone_on_from() {
    if !can_mount("a_crash_anywhere_in_taking_a_snapshot_is_gone_on_from") {
        return;
    }
    let mounted = Mounted::new("btrfs", 192);
    let data = plant_nested(mounted.path());
    let living = subvolumes(mounted.path());
    let mut crashes = 0;
    for seed in 0..12 {
        let state = tempfile::tempdir().unwrap();
        let mut random = Seeded(seed);
        let mut crash = || Progress::stop_after(random.below(22));
        for (number, path) in [(1, data.clone()), (2, data.join("other"))] {
            loop {
                let keeper = keeper(state.path(), mounted.path());
                match keeper.raise(target(number), &path, Preserve, &crash()) {
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
        let rows = captured(&keeper_now, 1);
        let inner = &rows[&b"sub/nested/inner folder/file"[..]];
        assert_eq!(inner.sha256, Some(Digest::of(b"inner")), "seed {seed}");
        assert_eq!(subvolumes(mounted.path()), living + 4);
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
        assert_eq!(subvolumes(mounted.path()), living, "seed {seed}");
    }
    assert!(crashes > 20, "{crashes} crashes");
}

#[test]
fn below_the_minimum_nothing_is_touched_and_the_refusal_says_what_there_is() {
    if !can_mount("below_the_minimum_nothing_is_touched_and_the_refusal_says_what_there_is") {
        return;
    }
    for (kind, size, holding, wanted, best) in [
        (
            "ext4",
            64,
            Preserve,
            Mechanism::ImmutableFlag,
            "sealed-copy",
        ),
        (
            "xfs",
            320,
            Preserve,
            Mechanism::BtrfsSnapshot,
            "reflink-vault",
        ),
        (
            "ext4",
            64,
            Freeze,
            Mechanism::ReflinkVault,
            "immutable-flag",
        ),
        ("ramfs", 0, Freeze, Mechanism::SealedCopy, "plain-copy"),
    ] {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        let refused = keeper
            .raise_at_least(target(1), &data, holding, Some(wanted), &on())
            .unwrap_err();
        assert_eq!(refused.word(), "too-weak", "{kind}");
        assert!(refused.to_string().contains(best), "{kind}: {refused}");
        assert!(keeper.all().is_empty(), "{kind}: nothing was recorded");
        // ramfs knows no attributes.
        if kind != "ramfs" {
            assert_free(&data);
        }
    }
    // A freeze that must be stronger than the flag is a snapshot.
    let mounted = Mounted::new("btrfs", 192);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    let wanted = Some(Mechanism::BtrfsSnapshot);
    let raised = keeper.raise_at_least(target(1), &data, Freeze, wanted, &on());
    assert_eq!(raised.unwrap().mechanism, Mechanism::BtrfsSnapshot);
    keeper.lower(target(1), &on()).unwrap();
}

//! Freezing in place: what is held cannot be changed by anybody, and is as before once it is free.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

use agent::enforce::{HoldTrouble, Phase, Progress};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{
        Seeded, as_nobody, assert_free, assert_held, flags, is_flagged, keeper, odd_name, on,
        plant, target,
    },
};
use custody::house::regime::Holding::Freeze;

#[test]
fn what_is_held_cannot_be_changed_by_anybody_and_can_again_once_lowered() {
    if !can_mount("what_is_held_cannot_be_changed_by_anybody_and_can_again_once_lowered") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let before = flags(&data);
        let keeper = keeper(state.path(), mounted.path());
        let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert_eq!(raised.mechanism.word(), "immutable-flag");
        assert_eq!(raised.file_system, kind);
        assert_eq!((raised.files, raised.folders, raised.bytes), (4, 4, 19));
        assert!(raised.does_not_prevent.iter().any(|l| l.contains("root")));
        assert_held(&data, "root");
        as_nobody(|| assert_held(&data, "nobody"));
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert!(proof.holds(), "{kind}: {proof:?}");
        assert!(proof.attempts > 20, "{kind}: {proof:?}");
        assert_held(&data, "root after the proof");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
        let again = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert_eq!(again, raised, "a second call says the same");
        assert!(keeper.lower(target(2), &on()).unwrap().freed == 0);
        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (4, 0));
        assert_eq!(keeper.lower(target(1), &on()).unwrap(), lowered);
        assert_eq!(flags(&data), before);
        assert_free(&data);
    }
}

#[test]
fn one_file_is_held_with_its_own_name() {
    if !can_mount("one_file_is_held_with_its_own_name") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let file = data.join("a");
        let keeper = keeper(state.path(), mounted.path());
        let raised = keeper.raise(target(1), &file, Freeze, &on()).unwrap();
        assert_eq!((raised.files, raised.folders), (1, 0));
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        assert!(fs::remove_file(&file).is_err());
        assert!(fs::rename(&file, data.join("z")).is_err());
        assert!(fs::rename(data.join("b"), &file).is_err());
        assert!(fs::write(&file, "x").is_err());
        fs::write(data.join("b"), "beside it all goes on").unwrap();
        assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 1);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn flags_that_were_set_before_are_as_they_were() {
    if !can_mount("flags_that_were_set_before_are_as_they_were") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let at = |name: &str| data.join(name).to_str().unwrap().to_owned();
        tool("chattr", &["+i", &at("a"), &at("other")]);
        tool("chattr", &["+a", &at("b"), &at("sub")]);
        tool("chattr", &["+d", &at("sub/c")]);
        let before = flags(&data);
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{kind}");
        // A second, narrower reason learns of them from the first.
        keeper
            .raise(target(2), &data.join("other"), Freeze, &on())
            .unwrap();
        keeper
            .raise(target(3), &data.join("a"), Freeze, &on())
            .unwrap();
        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (2, 2), "{kind}");
        assert_eq!(keeper.lower(target(3), &on()).unwrap().kept, 1);
        keeper.lower(target(2), &on()).unwrap();
        assert_eq!(flags(&data), before, "{kind}");
    }
}

#[test]
fn lowering_one_reason_frees_only_what_no_other_holds() {
    if !can_mount("lowering_one_reason_frees_only_what_no_other_holds") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        // One content with a name below each of two targets that do not overlap by path.
        fs::hard_link(data.join("sub/c"), data.join("other/c")).unwrap();
        let before = flags(&data);
        let keeper = keeper(state.path(), mounted.path());
        let raise = |n, path: &Path| keeper.raise(target(n), path, Freeze, &on()).unwrap();
        raise(1, &data);
        raise(2, &data.join("sub"));
        raise(3, &data.join("other"));
        let lowered = keeper.lower(target(1), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (2, 3), "{kind}");
        assert!(is_flagged(&data.join("sub/c")) && is_flagged(&data.join("sub")));
        assert!(!is_flagged(&data.join("a")) && !is_flagged(&data));
        let lowered = keeper.lower(target(2), &on()).unwrap();
        assert_eq!((lowered.freed, lowered.kept), (0, 1), "{kind}");
        assert!(is_flagged(&data.join("sub/c")), "its other name is held");
        assert!(fs::remove_file(data.join("sub/c")).is_err());
        assert!(!is_flagged(&data.join("sub")));
        assert!(keeper.prove(target(3), &on()).unwrap().holds());
        keeper.lower(target(3), &on()).unwrap();
        assert_eq!(flags(&data), before, "{kind}");
        // The wide one last: it keeps all of the narrow one.
        raise(4, &data.join("sub"));
        raise(5, &data);
        assert_eq!(keeper.lower(target(4), &on()).unwrap().kept, 1);
        assert_held(&data, "root");
        keeper.lower(target(5), &on()).unwrap();
        assert_eq!(flags(&data), before, "{kind}");
    }
}

/// A crash is an agent that stops before some operation and is started again from its disk.
#[test]
fn a_crash_anywhere_in_raising_or_lowering_is_gone_on_from() {
    if !can_mount("a_crash_anywhere_in_raising_or_lowering_is_gone_on_from") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let data = plant(mounted.path());
        let at = |name: &str| data.join(name).to_str().unwrap().to_owned();
        fs::hard_link(data.join("sub/c"), data.join("other/c")).unwrap();
        tool("chattr", &["+i", &at("b"), &at("sub/empty")]);
        let before = flags(&data);
        let mut crashes = 0;
        for seed in 0..15 {
            let state = tempfile::tempdir().unwrap();
            let mut random = Seeded(seed);
            let targets = [
                (1, data.clone()),
                (2, data.join("sub")),
                (3, data.join("other")),
            ];
            let mut crash = || Progress::stop_after(random.below(30));
            for (number, path) in &targets {
                loop {
                    let keeper = keeper(state.path(), mounted.path());
                    match keeper.raise(target(*number), path, Freeze, &crash()) {
                        Err(HoldTrouble::Stopped) => crashes += 1,
                        raised => {
                            raised.unwrap();
                            break;
                        }
                    }
                    let raised = keeper
                        .all()
                        .iter()
                        .any(|r| r.target == target(*number) && r.phase == Phase::Raised);
                    assert!(!raised, "stopped and yet called raised");
                }
            }
            assert_held(&data, "root");
            for (number, path) in [&targets[1], &targets[0], &targets[2]] {
                assert!(is_flagged(path));
                loop {
                    let keeper = keeper(state.path(), mounted.path());
                    match keeper.lower(target(*number), &crash()) {
                        Err(HoldTrouble::Stopped) => crashes += 1,
                        lowered => {
                            lowered.unwrap();
                            break;
                        }
                    }
                }
            }
            assert_eq!(flags(&data), before, "{kind}, seed {seed}");
        }
        assert!(crashes > 15, "{crashes} crashes");
    }
}

#[test]
fn a_target_that_is_elsewhere_is_refused_with_its_word() {
    if !can_mount("a_target_that_is_elsewhere_is_refused_with_its_word") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("x")).unwrap();
    symlink(outside.path(), data.join("out")).unwrap();
    tool("mkfifo", &[data.join("pipe").to_str().unwrap()]);
    let below = data.join("mount");
    fs::create_dir(&below).unwrap();
    tool("mount", &["-t", "tmpfs", "none", below.to_str().unwrap()]);
    fs::create_dir(below.join("x")).unwrap();
    let keeper = keeper(state.path(), mounted.path());
    let word = |path: &Path| {
        let raised = keeper.raise(target(1), path, Freeze, &on());
        raised
            .map(|_| "raised")
            .unwrap_or_else(|trouble| trouble.word())
    };
    assert_eq!(word(&outside.path().join("x")), "outside-roots");
    assert_eq!(word(Path::new("data")), "outside-roots");
    assert_eq!(word(&data.join("../../etc")), "outside-roots");
    assert_eq!(
        word(&mounted.path().join(".holdfast-vault/x")),
        "outside-roots"
    );
    assert_eq!(word(&data.join("out")), "symlink");
    assert_eq!(word(&data.join("out/x")), "symlink");
    assert_eq!(word(&below.join("x")), "other-file-system");
    assert_eq!(word(&data.join("nothing")), "not-found");
    assert_eq!(word(&data.join("pipe")), "not-supported");
    assert!(keeper.all().is_empty(), "nothing was recorded of them");
    // The mount in a held folder is left alone, and the record says so.
    let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
    assert!(
        raised
            .does_not_prevent
            .iter()
            .any(|l| l.contains("mounted"))
    );
    fs::write(below.join("x/free"), "y").unwrap();
    tool("umount", &[below.to_str().unwrap()]);
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn hostile_trees_are_held_and_nothing_outside_is_touched() {
    if !can_mount("hostile_trees_are_held_and_nothing_outside_is_touched") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let secret = mounted.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("file"), "not in scope").unwrap();
        symlink(&secret, data.join("out")).unwrap();
        symlink(secret.join("file"), data.join("out file")).unwrap();
        fs::write(data.join(odd_name()), "odd").unwrap();
        fs::write(data.join("n".repeat(255)), "long").unwrap();
        fs::hard_link(data.join("a"), secret.join("a")).unwrap();
        tool("mkfifo", &[data.join("pipe").to_str().unwrap()]);
        tool(
            "mknod",
            &[data.join("tape").to_str().unwrap(), "c", "9", "0"],
        );
        let mut deep = data.join("deep");
        for _ in 0..300 {
            fs::create_dir(&deep).unwrap();
            fs::write(deep.join("z"), "deep").unwrap();
            deep.push("d");
        }
        let before = flags(&data);
        let keeper = keeper(state.path(), mounted.path());
        let raised = keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        assert_eq!((raised.files, raised.folders), (306, 304), "{kind}");
        for what in ["symbolic links", "devices", "names outside"] {
            let said = raised.does_not_prevent.iter().any(|l| l.contains(what));
            assert!(said, "{what}: {raised:?}");
        }
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert!(proof.holds(), "{kind}: {proof:?}");
        assert!(!is_flagged(&secret) && !is_flagged(&secret.join("file")));
        assert!(
            fs::remove_file(secret.join("a")).is_err(),
            "its inode is held"
        );
        assert!(fs::remove_file(data.join("pipe")).is_err());
        assert!(fs::remove_file(data.join("tape")).is_err());
        assert!(fs::remove_file(data.join("out")).is_err());
        assert!(fs::remove_file(data.join(odd_name())).is_err());
        assert!(fs::remove_file(deep.with_file_name("z")).is_err());
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
        keeper.lower(target(1), &on()).unwrap();
        assert_eq!(flags(&data), before, "{kind}");
        fs::remove_dir_all(&data).unwrap();
        assert_eq!(fs::metadata(secret.join("a")).unwrap().nlink(), 1);
    }
}

#[test]
fn a_root_is_held_with_its_vault_left_out() {
    if !can_mount("a_root_is_held_with_its_vault_left_out") {
        return;
    }
    let mounted = Mounted::new("xfs", 320);
    let state = tempfile::tempdir().unwrap();
    let data = plant(mounted.path());
    let keeper = keeper(state.path(), mounted.path());
    keeper
        .raise(target(1), mounted.path(), Freeze, &on())
        .unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert!(File::create(mounted.path().join("new")).is_err());
    assert_held(&data, "root");
    // A preservation inside it still finds its vault.
    let preserve = custody::house::regime::Holding::Preserve;
    let kept = keeper.raise(target(2), &data, preserve, &on()).unwrap();
    assert_eq!(kept.mechanism.word(), "reflink-vault");
    assert!(keeper.prove(target(2), &on()).unwrap().holds());
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    keeper.lower(target(1), &on()).unwrap();
    assert_free(&data);
    assert_eq!(keeper.check(target(2), &on()).unwrap(), []);
    keeper.lower(target(2), &on()).unwrap();
}

#[test]
fn a_target_whose_folder_above_was_renamed_is_found_and_freed() {
    if !can_mount("a_target_whose_folder_above_was_renamed_is_found_and_freed") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper
            .raise(target(1), &data.join("sub"), Freeze, &on())
            .unwrap();
        keeper
            .raise(target(2), &data.join("a"), Freeze, &on())
            .unwrap();
        let aside = mounted.path().join("aside");
        fs::rename(&data, &aside).unwrap();
        assert!(
            !keeper.check(target(1), &on()).unwrap().is_empty(),
            "{kind}"
        );
        // Another thing in its place is not mistaken for it.
        fs::create_dir_all(data.join("sub")).unwrap();
        assert!(
            !keeper.check(target(1), &on()).unwrap().is_empty(),
            "{kind}"
        );
        assert_eq!(keeper.lower(target(1), &on()).unwrap().freed, 1, "{kind}");
        assert_eq!(keeper.lower(target(2), &on()).unwrap().freed, 1, "{kind}");
        fs::remove_dir_all(&aside).unwrap();
    }
}

#[test]
fn an_agent_does_not_freeze_its_own_records() {
    if !can_mount("an_agent_does_not_freeze_its_own_records") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    plant(mounted.path());
    let state = mounted.path().join("state");
    let keeper = keeper(&state, mounted.path());
    keeper
        .raise(target(1), mounted.path(), Freeze, &on())
        .unwrap();
    assert!(keeper.prove(target(1), &on()).unwrap().holds());
    assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
    keeper.lower(target(1), &on()).unwrap();
    fs::remove_dir_all(mounted.path().join("data")).unwrap();
}

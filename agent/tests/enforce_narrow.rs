//! Parts that leave a hold are free at once, the rest stands, and neither a crash nor a second
//! call makes a difference.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use agent::enforce::{Amount, HoldTrouble, Keeper, Later, Lowered, Phase, Progress};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{Seeded, captured, flags, is_flagged, keeper, on, plant, target},
};
use custody::house::{
    mechanism::Mechanism,
    regime::Holding::{self, Freeze, Preserve},
};

/// Each mechanism with a file system that has it, and whether the root is a folder below.
const ALL: [(&str, u64, Holding, Mechanism, bool); 5] = [
    ("ext4", 64, Freeze, Mechanism::ImmutableFlag, false),
    ("btrfs", 192, Freeze, Mechanism::ImmutableFlag, false),
    ("ext4", 64, Preserve, Mechanism::SealedCopy, false),
    ("xfs", 320, Preserve, Mechanism::ReflinkVault, false),
    ("btrfs", 192, Preserve, Mechanism::BtrfsSnapshot, false),
];

fn names(keeper: &Keeper) -> Vec<String> {
    let rows = captured(keeper, 1).into_keys();
    rows.map(|path| String::from_utf8(path).unwrap()).collect()
}

#[test]
fn what_leaves_is_free_and_the_rest_stands() {
    if !can_mount("what_leaves_is_free_and_the_rest_stands") {
        return;
    }
    for (kind, size, holding, mechanism, _) in ALL {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let said = format!("{mechanism} on {kind}");
        let keeper = keeper(state.path(), mounted.path());
        let raised = keeper.raise(target(1), &data, holding, &on()).unwrap();
        assert_eq!(raised.mechanism, mechanism);
        let leave = [data.join("sub"), data.join("b"), data.join("never was")];
        let whole = mechanism == Mechanism::BtrfsSnapshot;
        let weighed = keeper.weigh(target(1), &leave, &on()).unwrap();
        let two = Amount { files: 2, bytes: 9 };
        let none = Amount::default();
        let (leaving, kept) = if whole { (none, two) } else { (two, none) };
        assert_eq!((weighed.leaving, weighed.kept), (leaving, kept), "{said}");
        assert_eq!(
            weighed.staying,
            Amount {
                files: 2,
                bytes: 10
            },
            "{said}"
        );
        assert_eq!(names(&keeper).len(), 9, "{said}: weighing changes nothing");

        let narrowed = keeper.narrow(target(1), &leave, &on()).unwrap();
        let (freed, kept) = (leaving.files, kept.files);
        assert_eq!(narrowed, Lowered { freed, kept }, "{said}");
        let again = keeper.narrow(target(1), &leave, &on()).unwrap();
        assert_eq!(again, narrowed, "{said}");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{said}");
        assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{said}");
        assert_eq!(
            names(&keeper),
            [".", "a", "link", "other", "other/d"],
            "{said}"
        );
        if holding == Freeze {
            fs::write(data.join("b"), "free").unwrap();
            fs::remove_file(data.join("sub/c")).unwrap();
            assert!(fs::write(data.join("a"), "x").is_err());
            assert!(
                fs::remove_dir_all(data.join("sub")).is_err(),
                "its name is the folder's"
            );
        }
        if matches!(mechanism, Mechanism::SealedCopy | Mechanism::ReflinkVault) {
            let tree = mounted
                .path()
                .join(".holdfast-vault")
                .join(target(1).to_string());
            assert!(!tree.join("tree/sub").exists() && !tree.join("tree/b").exists());
            assert!(is_flagged(&tree.join("tree")));
        }
        // Raising again, also by another agent process, takes nothing back.
        let keeper = common::trees::keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, holding, &on()).unwrap();
        assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{said}");
        assert_eq!(names(&keeper).len(), 5, "{said}");
        if holding == Freeze {
            assert!(!is_flagged(&data.join("b")));
        }
        keeper.lower(target(1), &on()).unwrap();
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn what_another_reason_holds_stays_held_when_it_leaves_one() {
    if !can_mount("what_another_reason_holds_stays_held_when_it_leaves_one") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        // One content with a name that leaves and one that stays.
        fs::hard_link(data.join("sub/c"), data.join("other/c")).unwrap();
        tool("chattr", &["+i", data.join("b").to_str().unwrap()]);
        let before = flags(&data);
        let keeper = keeper(state.path(), mounted.path());
        let raise = |n, path: &Path| keeper.raise(target(n), path, Freeze, &on()).unwrap();
        raise(1, &data);
        raise(2, &data.join("other"));
        let leave: Vec<PathBuf> = ["sub", "b", "other"].map(|name| data.join(name)).into();
        let narrowed = keeper.narrow(target(1), &leave, &on()).unwrap();
        assert_eq!((narrowed.freed, narrowed.kept), (0, 4), "{kind}");
        assert!(!is_flagged(&data.join("sub")) && is_flagged(&data.join("sub/c")));
        assert!(is_flagged(&data.join("other/d")) && is_flagged(&data.join("a")));
        // What left the wide one is not covered by it when the narrow one goes.
        keeper.lower(target(2), &on()).unwrap();
        assert!(!is_flagged(&data.join("other/d")), "{kind}");
        assert!(!is_flagged(&data.join("other")), "{kind}");
        assert!(is_flagged(&data.join("a")), "{kind}");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{kind}");
        keeper.lower(target(1), &on()).unwrap();
        assert_eq!(flags(&data), before, "{kind}");
    }
}

#[test]
fn only_what_lies_below_a_target_can_leave_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = plant(folder.path());
    let keeper = keeper(&folder.path().join("state"), folder.path());
    keeper.raise(target(1), &data, Preserve, &on()).unwrap();
    for wrong in ["", "../other", "sub/../b", "/etc"] {
        let asked = keeper.narrow(target(1), &[data.join(wrong)], &on());
        assert_eq!(asked.unwrap_err().word(), "not-supported", "{wrong}");
    }
    assert!(keeper.narrow(target(2), &[data.join("a")], &on()).is_err());
    assert_eq!(names(&keeper).len(), 9);
    keeper.lower(target(1), &on()).unwrap();
}

#[test]
fn a_crash_anywhere_in_narrowing_is_gone_on_from() {
    if !can_mount("a_crash_anywhere_in_narrowing_is_gone_on_from") {
        return;
    }
    for (kind, size, holding, mechanism, _) in ALL {
        let mounted = Mounted::new(kind, size);
        let data = plant(mounted.path());
        let before = flags(&data);
        let mut crashes = 0;
        for seed in 0..8 {
            let state = tempfile::tempdir().unwrap();
            let mut random = Seeded(seed);
            let said = format!("{mechanism} on {kind}, seed {seed}");
            let open = || keeper(state.path(), mounted.path());
            open().raise(target(1), &data, holding, &on()).unwrap();
            let leave = [data.join("sub"), data.join("b")];
            let narrowed = loop {
                let crash = Progress::stop_after(random.below(30));
                match open().narrow(target(1), &leave, &crash) {
                    Err(HoldTrouble::Stopped) => crashes += 1,
                    narrowed => break narrowed.unwrap(),
                }
                // Raising goes on with it, as the agent does when it starts again.
                if random.below(3) == 0 {
                    open().raise(target(1), &data, holding, &on()).unwrap();
                }
            };
            assert_eq!(narrowed.freed + narrowed.kept, 2, "{said}");
            let keeper = open();
            assert_eq!(keeper.all()[0].phase, Phase::Raised, "{said}");
            assert_eq!(keeper.check(target(1), &on()).unwrap(), [], "{said}");
            assert!(keeper.prove(target(1), &on()).unwrap().holds(), "{said}");
            assert_eq!(names(&keeper).len(), 5, "{said}");
            keeper.lower(target(1), &on()).unwrap();
            assert_eq!(flags(&data), before, "{said}");
        }
        assert!(crashes > 3, "{mechanism}: {crashes} crashes");
    }
}

#[test]
fn what_came_later_is_told_from_what_is_held() {
    if !can_mount("what_came_later_is_told_from_what_is_held") {
        return;
    }
    for (kind, size, holding, mechanism, _) in ALL {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        // A subvolume of its own, so that nothing else changes what btrfs says of it.
        let root = mounted.path().join("root");
        if kind == "btrfs" {
            tool(
                "btrfs",
                &["-q", "subvolume", "create", root.to_str().unwrap()],
            );
        } else {
            fs::create_dir(&root).unwrap();
        }
        let data = plant(&root);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, holding, &on()).unwrap();
        let later = || keeper.after(target(1), &on()).unwrap().later;
        let changed = |things| Later::Changed { things, all: true };
        assert!(keeper.after(target(1), &on()).unwrap().as_of_ns > 0);
        match mechanism {
            Mechanism::ImmutableFlag => assert_eq!(later(), Later::Nothing),
            Mechanism::BtrfsSnapshot => assert_eq!(later(), Later::Unchanged),
            _ => assert_eq!(later(), changed(0), "{kind}"),
        }
        if holding == Preserve {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(data.join("sub/c"), "later").unwrap();
            fs::write(data.join("other/new"), "later").unwrap();
            assert_eq!(later(), changed(3), "{kind}");
            fs::remove_dir_all(&data).unwrap();
            assert_eq!(later(), Later::Gone, "{kind}");
        }
        keeper.lower(target(1), &on()).unwrap();
    }
}

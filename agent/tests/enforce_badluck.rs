//! Bad luck: a disk that is not mounted, something mounted over what is held, a second agent. Each
//! has its word, nothing is called held that is not, and nothing is lost.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{fs, path::Path, process::Command};

use agent::enforce::Found;
use common::{
    mounted::{KINDS, Mounted, can_mount},
    tool,
    trees::{assert_held, counts, is_flagged, keeper, on, plant, target},
};
use custody::house::{
    finding::FindingKind,
    regime::Holding::{Freeze, Preserve},
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The device that is mounted somewhere.
fn device(at: &Path) -> String {
    let found = Command::new("findmnt")
        .args(["-n", "-o", "SOURCE", "--target", text(at)])
        .output();
    let source = String::from_utf8(found.unwrap().stdout).unwrap();
    source.trim().split('[').next().unwrap().to_owned()
}

#[test]
fn a_root_that_is_not_mounted_is_missed_and_nothing_is_freed_or_raised_in_its_place() {
    let name = "a_root_that_is_not_mounted_is_missed_and_nothing_is_freed_or_raised_in_its_place";
    if !can_mount(name) {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        keeper.raise(target(2), &data, Preserve, &on()).unwrap();
        // A second mount keeps the loop device, as a disk would be kept.
        let beside = tempfile::tempdir().unwrap();
        let source = device(mounted.path());
        tool("mount", &[&source, text(beside.path())]);
        tool("umount", &[text(mounted.path())]);
        let missed = [Found::at(FindingKind::Unmounted, mounted.path())];
        for number in [1, 2] {
            assert_eq!(
                keeper.check(target(number), &on()).unwrap(),
                missed,
                "{kind}"
            );
            let word = |trouble: agent::enforce::HoldTrouble| trouble.word();
            assert_eq!(
                word(keeper.lower(target(number), &on()).unwrap_err()),
                "not-mounted"
            );
            assert_eq!(
                word(keeper.prove(target(number), &on()).unwrap_err()),
                "not-mounted"
            );
            assert_eq!(
                word(keeper.source(target(number)).unwrap_err()),
                "not-mounted"
            );
        }
        // An agent that starts now knows too, and holds nothing in the empty folder.
        let started = common::trees::keeper(state.path(), mounted.path());
        fs::create_dir(mounted.path().join("data")).unwrap();
        let raised = started.raise(target(3), &data, Freeze, &on());
        assert_eq!(raised.unwrap_err().word(), "not-mounted", "{kind}");
        assert!(!is_flagged(&data));
        assert_eq!(
            fs::read_dir(mounted.path()).unwrap().count(),
            1,
            "no vault either"
        );
        fs::remove_dir(&data).unwrap();

        tool("mount", &[&source, text(mounted.path())]);
        tool("umount", &[text(beside.path())]);
        for number in [1, 2] {
            assert_eq!(keeper.check(target(number), &on()).unwrap(), [], "{kind}");
            assert!(
                keeper.prove(target(number), &on()).unwrap().holds(),
                "{kind}"
            );
            keeper.lower(target(number), &on()).unwrap();
        }
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn a_mount_over_what_is_held_is_found_where_it_is_and_hides_nothing_for_ever() {
    if !can_mount("a_mount_over_what_is_held_is_found_where_it_is_and_hides_nothing_for_ever") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let state = tempfile::tempdir().unwrap();
        let data = plant(mounted.path());
        let keeper = keeper(state.path(), mounted.path());
        keeper.raise(target(1), &data, Freeze, &on()).unwrap();
        keeper.raise(target(2), &data, Preserve, &on()).unwrap();
        let vault = mounted.path().join(".holdfast-vault");
        let found = |number| keeper.check(target(number), &on()).unwrap();
        let over = |place: &Path| vec![Found::at(FindingKind::MountedOver, place)];
        for (place, whose) in [
            (mounted.path().to_owned(), &[1, 2][..]),
            (data.clone(), &[1, 2]),
            (data.join("sub"), &[1, 2]),
            (vault.clone(), &[2]),
            (vault.join(target(2).to_string()), &[2]),
        ] {
            tool("mount", &["-t", "tmpfs", "over", text(&place)]);
            for number in [1, 2] {
                let expected = match whose.contains(&number) {
                    true => over(&place),
                    false => Vec::new(),
                };
                let seen = found(number);
                let said: Vec<_> = seen
                    .iter()
                    .filter(|one| one.what == FindingKind::MountedOver)
                    .cloned()
                    .collect();
                assert_eq!(said, expected, "{kind}, {place:?}, {number}");
                let harm = seen.iter().any(|one| one.what == FindingKind::HeldChanged);
                assert!(
                    !harm,
                    "{kind}, {place:?}: what is hidden is not gone: {seen:?}"
                );
                if !expected.is_empty() {
                    let holding = [Freeze, Preserve][usize::from(number) - 1];
                    let again = keeper.raise(target(number), &data, holding, &on());
                    assert!(again.is_err(), "{kind}, {place:?}: not called held");
                }
            }
            tool("umount", &[text(&place)]);
            assert_eq!((found(1), found(2)), (vec![], vec![]), "{kind}, {place:?}");
        }
        // The same file system bound over a part of it hides it too.
        tool(
            "mount",
            &["--bind", text(&data.join("other")), text(&data.join("sub"))],
        );
        let kinds = counts(found(1));
        assert!(
            kinds.contains(&(FindingKind::MountedOver, 1)),
            "{kind}: {kinds:?}"
        );
        tool("umount", &[text(&data.join("sub"))]);
        assert_eq!(found(1), [], "{kind}");
        assert_held(&data, "root");
        keeper.lower(target(1), &on()).unwrap();
        keeper.lower(target(2), &on()).unwrap();
    }
}

#[test]
fn a_second_agent_on_the_same_root_is_refused_until_the_first_holds_nothing() {
    if !can_mount("a_second_agent_on_the_same_root_is_refused_until_the_first_holds_nothing") {
        return;
    }
    for (kind, size) in KINDS {
        let mounted = Mounted::new(kind, size);
        let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let data = plant(mounted.path());
        let [first, second] = states.each_ref().map(|s| keeper(s.path(), mounted.path()));
        first.raise(target(1), &data, Freeze, &on()).unwrap();
        for holding in [Freeze, Preserve] {
            let refused = second.raise(target(2), &data, holding, &on()).unwrap_err();
            assert_eq!(refused.word(), "other-agent", "{kind}");
        }
        assert_eq!(second.lower(target(2), &on()).unwrap().freed, 0);
        assert_eq!(first.check(target(1), &on()).unwrap(), [], "{kind}");
        // The same agent, started again, is no second one.
        let first = keeper(states[0].path(), mounted.path());
        first.raise(target(3), &data, Preserve, &on()).unwrap();
        first.lower(target(1), &on()).unwrap();
        assert!(second.raise(target(2), &data, Freeze, &on()).is_err());
        first.lower(target(3), &on()).unwrap();
        second.raise(target(2), &data, Freeze, &on()).unwrap();
        assert!(second.prove(target(2), &on()).unwrap().holds(), "{kind}");
        second.lower(target(2), &on()).unwrap();
    }
}

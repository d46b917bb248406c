//! Every way to change or destroy what is held, tried by root against every mechanism on every file
//! system that has it: one table, an outcome a cell. What is refused changed nothing; what root
//! forces is found; what hits the living tree beside a copy or snapshot leaves that as it was.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod programs;
mod stage;

use std::{fs, io};

use common::{
    mounted::{Mounted, can_mount},
    tool,
    trees::{assert_free, counts, on, target},
};
use custody::house::{finding::FindingKind::MountedOver, regime::Holding::Freeze};

use crate::{
    calls::CALLS,
    programs::{AGENT, FORCE, MAP, PROGRAMS},
    stage::{
        Attempt, HOLDS,
        Outcome::{self, Absent, Found, Refused},
        Stage, column, looks, run, stage, text,
    },
};

/// Goes through attempts on every mechanism: `after` gets each with its answer.
fn on_every_mechanism(
    name: &str,
    attempts: &[Attempt],
    after: impl Fn(&str, &Stage, Outcome, io::Result<()>),
) {
    if !can_mount(name) {
        return;
    }
    for (kind, size, holding, mechanism, below) in HOLDS {
        let mounted = Mounted::new(kind, size);
        let root = match below {
            true => mounted.path().join("root"),
            false => mounted.path().to_owned(),
        };
        fs::create_dir_all(&root).unwrap();
        let state = tempfile::tempdir().unwrap();
        for (at, (what, act, outcomes)) in attempts.iter().enumerate() {
            let outcome = outcomes[column(mechanism)];
            if matches!(outcome, Absent) {
                continue;
            }
            let stage = stage(&root, state.path(), holding, mechanism, at);
            std::thread::sleep(std::time::Duration::from_millis(6));
            let said = format!("{what}, {mechanism} on {kind}");
            after(&said, &stage, outcome, act(&stage));
            stage.keeper.lower(target(1), &on()).unwrap();
        }
    }
}

#[test]
fn what_is_held_refuses_every_call_and_every_program_and_stays_as_it_was() {
    let name = "what_is_held_refuses_every_call_and_every_program_and_stays_as_it_was";
    if !can_mount(name) {
        return;
    }
    for (kind, size, holding, mechanism, below) in HOLDS {
        let mounted = Mounted::new(kind, size);
        let root = match below {
            true => mounted.path().join("root"),
            false => mounted.path().to_owned(),
        };
        fs::create_dir_all(&root).unwrap();
        let state = tempfile::tempdir().unwrap();
        let stage = stage(&root, state.path(), holding, mechanism, 0);
        let before = looks(&stage.held);
        for (what, act, outcomes) in CALLS.iter().chain(&PROGRAMS) {
            let said = format!("{what}, {mechanism} on {kind}");
            let outcome = outcomes[column(mechanism)];
            if matches!(outcome, Absent) {
                continue;
            }
            let refused = act(&stage).expect_err(&said);
            if let Refused(errno) = outcome {
                assert_eq!(refused.raw_os_error(), Some(errno), "{said}: {refused}");
            }
            assert_eq!(looks(&stage.held), before, "{said}");
            assert_eq!(stage.keeper.check(target(1), &on()).unwrap(), [], "{said}");
        }
        assert!(stage.keeper.prove(target(1), &on()).unwrap().holds());
        stage.keeper.lower(target(1), &on()).unwrap();
    }
}

#[test]
fn what_root_forces_is_found_and_what_a_mount_hides_is_intact_under_it() {
    let name = "what_root_forces_is_found_and_what_a_mount_hides_is_intact_under_it";
    on_every_mechanism(name, &FORCE, |said, stage, outcome, done| {
        done.unwrap_or_else(|error| panic!("{said}: {error}"));
        let found = counts(stage.keeper.check(target(1), &on()).unwrap());
        let Found(kind) = outcome else {
            panic!("{said}: force is found")
        };
        assert!(found.iter().any(|one| one.0 == kind), "{said}: {found:?}");
        let verified = || {
            stage
                .keeper
                .prove(target(1), &on())
                .is_ok_and(|p| p.holds())
        };
        if kind == MountedOver {
            tool("umount", &[text(&stage.folder)]);
            assert_eq!(stage.keeper.check(target(1), &on()).unwrap(), [], "{said}");
            assert!(verified(), "{said}: intact under it");
        }
    });
}

#[test]
fn what_the_agent_does_for_other_targets_leaves_a_hold_as_it_was() {
    let name = "what_the_agent_does_for_other_targets_leaves_a_hold_as_it_was";
    on_every_mechanism(name, &AGENT, |said, stage, _, done| {
        let is_refused = said.starts_with("another agent");
        assert_eq!(done.is_err(), is_refused, "{said}: {done:?}");
        assert_eq!(stage.keeper.check(target(1), &on()).unwrap(), [], "{said}");
        assert!(
            stage.keeper.prove(target(1), &on()).unwrap().holds(),
            "{said}"
        );
        for name in ["a", "b", "sub/c", "other/d"] {
            assert!(fs::write(stage.held.join(name), "x").is_err(), "{said}");
        }
    });
}

#[test]
fn whatever_is_done_to_the_living_tree_leaves_its_copy_or_snapshot_as_it_was() {
    let name = "whatever_is_done_to_the_living_tree_leaves_its_copy_or_snapshot_as_it_was";
    if !can_mount(name) {
        return;
    }
    for (kind, size, holding, mechanism, below) in HOLDS {
        if holding == Freeze {
            continue;
        }
        let mounted = Mounted::new(kind, size);
        let root = match below {
            true => mounted.path().join("root"),
            false => mounted.path().to_owned(),
        };
        fs::create_dir_all(&root).unwrap();
        let state = tempfile::tempdir().unwrap();
        let stage = stage(&root, state.path(), holding, mechanism, 0);
        let before = looks(&stage.held);
        assert_free(&stage.living);
        for (program, arguments) in [
            (
                "python3",
                vec!["-c", MAP, text(&stage.living.join("sub/new"))],
            ),
            (
                "fallocate",
                vec!["-z", "-o", "0", "-l", "9", text(&stage.living.join("a"))],
            ),
            ("rm", vec!["-rf", text(&stage.living)]),
        ] {
            // The mapping is of a file that is long enough only for some.
            let _ = run(program, &arguments);
            assert_eq!(
                looks(&stage.held),
                before,
                "{program}, {mechanism} on {kind}"
            );
        }
        assert!(!stage.living.exists());
        assert_eq!(
            stage.keeper.check(target(1), &on()).unwrap(),
            [],
            "{mechanism} on {kind}"
        );
        assert!(stage.keeper.prove(target(1), &on()).unwrap().holds());
        stage.keeper.lower(target(1), &on()).unwrap();
    }
}

//! The invariants I1 to I10, as far as a crate without a disk can keep or break them.
//!
//! Random sequences of statements, right and wrong, run through the desk; beside it runs a
//! second, plain telling of the law (`house/model.rs`), and the two must agree at each step.
//! I5 (the verifier finds every edit of a log) is `oracles.rs`, `laws_parsers.rs` and the
//! verifier's own tests; the bytes on a disk in I1 and I9 are the agent's tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::collections::BTreeMap;

use custody::{
    house::{House, release, tasks::Task},
    statement::{Author, Body},
};
use house::{
    Desk, Said,
    model::Model,
    ops::{Op, PATHS, op},
    rule, world,
};
use proptest::{prelude::*, test_runner::TestRunner};

/// What a run of sequences reached, so that no invariant holds for want of trying.
#[derive(Default)]
struct Reached(BTreeMap<String, u64>);

impl Reached {
    fn note(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }
}

fn take_all(model: &mut Model, desk: &Desk, from: usize) {
    for (index, recorded) in desk
        .log
        .iter()
        .enumerate()
        .skip(from)
        .filter(|(_, r)| !r.void)
    {
        let statement = recorded.entry.statement().unwrap();
        let leaf = recorded.entry.leaf_hash();
        model.take(
            &statement,
            leaf,
            recorded.received,
            index as u64,
            &desk.openings,
        );
    }
}

fn agree(model: &Model, desk: &Desk) {
    let house = &desk.house;
    assert_eq!(house.targets.len(), model.places.len());
    let tasks = [world::ONE, world::TWO]
        .map(|agent| house.tasks(&agent))
        .concat();
    for (id, place) in &model.places {
        // I1, I2, I3: what approvals did not lift is held, whatever else was said or ran out.
        assert_eq!(house.targets[id].state.holds(), !place.lifted, "{id}");
        let narrow = !place.lifted && place.out.len() > place.free;
        assert_eq!(tasks.contains(&Task::Narrow(*id)), narrow, "{id}");
        let lower = place.lifted && !place.lowered;
        assert_eq!(tasks.contains(&Task::Lower(*id)), lower, "{id}");
        assert!(!(place.lifted && tasks.contains(&Task::Raise(*id))), "{id}");
    }
    for agent in [world::ONE, world::TWO] {
        for path in PATHS.into_iter().chain(["/srv/a/b/c/d", "/srvx", "/"]) {
            let listed = house.reasons(&desk.openings, &agent, path.as_bytes());
            assert_eq!(listed, model.reasons(&agent, path), "{path}");
        }
    }
}

/// I4: an answer and what the house and its ledger did.
fn one_entry_or_none(before: &House, entries: usize, desk: &Desk, said: &Said) {
    assert!(desk.log.len() > entries);
    assert_eq!(said.index + 1, desk.log.len() as u64);
    if said.void.is_some() {
        let Author::Agent(id) = said.entry.statement().unwrap().author else {
            panic!("only agents' reports are recorded without effect");
        };
        let mut expected = before.clone();
        let enrolment = expected
            .agents
            .get_mut(&id)
            .unwrap()
            .enrolment
            .as_mut()
            .unwrap();
        enrolment.head.seq += 1;
        enrolment.head.prev = said.entry.digest();
        assert_eq!(
            expected, desk.house,
            "a void report changes its chain's head alone"
        );
    }
}

fn play(ops: &[Op], reached: &mut Reached) -> Desk {
    let mut desk = world::open();
    // Something to begin with, so that most acts are about something.
    let mut snapshots = Vec::new();
    for (copies, agent, paths) in [
        (
            custody::house::order::Copies::Permitted,
            world::ONE,
            &["/srv", "/srv/a"][..],
        ),
        (
            custody::house::order::Copies::Permitted,
            world::TWO,
            &["/srv/a/b"][..],
        ),
        (
            custody::house::order::Copies::Permitted,
            world::ONE,
            &["/srv/a/b", "/data"][..],
        ),
    ] {
        let (_, _, targets) = world::held(&mut desk, "us-2703f", copies, agent, paths);
        let snapshot = world::snapshot(&mut desk, agent, targets[0]);
        snapshots.push(snapshot);
    }
    for first in [0, 15, 40] {
        let claim = world::claim(&mut desk);
        for snapshot in &snapshots {
            world::matched(&mut desk, claim, *snapshot, &[(first, first + 20)]).unwrap();
        }
    }
    // One release is on its way, so that much of what follows can stop it.
    let filed = desk.house.claims.values().next().unwrap();
    let (claim, snapshot) = (filed.filed.claim, *filed.matches.keys().next().unwrap());
    let act = world::release_act(&mut desk, claim, snapshot, (0, 10));
    let request = world::request(&mut desk, world::CLAIMS, act).unwrap();
    world::vote(&mut desk, world::ANNA, request).unwrap();
    world::vote(&mut desk, world::LEGAL, request).unwrap();
    world::execute(&mut desk, request).unwrap();
    let mut model = Model::default();
    take_all(&mut model, &desk, 0);
    agree(&model, &desk);
    for op in ops {
        let (before, entries) = (desk.house.clone(), desk.log.len());
        let ready: Vec<_> = before
            .releases
            .values()
            .filter(|r| matches!(r.state, release::State::Spooled | release::State::Delivered))
            .map(|r| r.id)
            .collect();
        let said = op.run(&mut desk);
        match &said {
            Some(Ok(said)) => {
                one_entry_or_none(&before, entries, &desk, said);
                let kind = said.entry.statement().unwrap().body.kind();
                let void = if said.void.is_some() { " void" } else { "" };
                reached.note(format!("{kind}{void}"));
            }
            Some(Err(refusal)) => {
                reached.note(format!("refused {}", refusal.rule));
                if desk.log.len() == entries {
                    assert_eq!(before, desk.house, "I4: refused, and nothing else happened");
                }
            }
            None => {}
        }
        take_all(&mut model, &desk, entries);
        agree(&model, &desk);
        // I7, both ways: what the law lets out is exactly what the promises let out.
        for release in ready {
            let expected = model.blocked(&release, desk.now);
            let mut trial = desk.fork();
            if trial.house.persons[&world::CLAIMS].retired {
                continue;
            }
            let answer = world::deliver(&mut trial, release);
            assert_eq!(
                answer.is_ok(),
                expected.is_none(),
                "{} {expected:?}",
                rule(&answer)
            );
            reached.note(format!("delivery: {}", expected.unwrap_or("goes through")));
        }
    }
    desk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// I1 to I4, I6 to I8 hold after each statement of any sequence, and I10: the fold needs
    /// no opening, so it is the same once they are erased.
    #[test]
    fn the_invariants_hold_whatever_is_said(ops in prop::collection::vec(op(), 20..120)) {
        let desk = play(&ops, &mut Reached::default());
        prop_assert!(desk.replayed() == desk.house, "the fold of the ledger is the house");
        prop_assert!(desk.restored() == desk.house, "its records are the house");
    }
}

/// The sequences do reach what the invariants speak of: a law that is never tried is not kept.
#[test]
fn the_sequences_reach_lifts_deliveries_and_every_kind_of_no() {
    let mut runner = TestRunner::deterministic();
    let mut reached = Reached::default();
    for _ in 0..24 {
        let tree = prop::collection::vec(op(), 120)
            .new_tree(&mut runner)
            .unwrap();
        play(&proptest::strategy::ValueTree::current(&tree), &mut reached);
    }
    for needed in [
        "hold.lowered",
        "hold.lowered void",
        "hold.narrowed",
        "hold.narrowed void",
        "refused hold.not-below",
        "refused hold.leave",
        "request.executed",
        "request.executed void",
        "snapshot.sealed",
        "release.packed",
        "release.spooled",
        "release.delivered",
        "order.expired",
        "order.extend",
        "order.withdraw",
        "order.narrow",
        "claim.withdraw",
        "list.import",
        "request.reject",
        "sealed void",
        "delivery: goes through",
        "delivery: contested",
        "delivery: approvals are over",
        "delivery: not matched under today's lists",
        "refused approval.own-request",
        "refused approval.role",
        "refused approval.twice",
        "refused approval.expired",
        "refused approval.too-long",
        "refused approval.other-request",
        "refused approval.too-few",
        "refused approval.notice",
        "refused approval.no-checkpoint",
        "refused role",
        "refused agent.chain",
        "refused agent.duplicate",
        "refused release.contested",
        "refused release.not-claimed",
        "refused hold.out-of-scope",
        "refused id.in-use",
        "refused order.not-run-out",
    ] {
        assert!(
            reached.0.contains_key(needed),
            "never reached {needed}: {:#?}",
            reached.0
        );
    }
}

/// I8: the sealed form is kept free: it is read and written, and nobody may say it yet.
#[test]
fn i8_a_sealed_statement_is_read_as_a_form_and_refused_as_an_act() {
    let mut desk = world::open();
    let body = || {
        Body::Sealed(custody::statement::Sealed {
            class: "matter-7".to_owned(),
            ciphertext: "AAAA".repeat(342),
        })
    };
    let statement = desk.statement(Author::Coordinator, body());
    let text = statement.to_text().unwrap();
    assert_eq!(
        custody::statement::Statement::from_text(&text).unwrap(),
        statement
    );
    assert_eq!(rule(&desk.coordinator(body())), "role");
    for person in world::PEOPLE {
        assert_eq!(rule(&desk.person(person, body())), "role");
    }
    // An agent's chain has no gaps: it is recorded, and says nothing.
    let said = desk.agent(world::ONE, body()).unwrap();
    assert_eq!(said.void.unwrap().rule, "role");
}

/// What is personal enters a statement as a commitment alone, and each is listed, so that the
/// door can demand what opens it.
#[test]
fn no_entry_holds_a_name_or_path_and_every_commitment_is_listed() {
    let mut runner = TestRunner::deterministic();
    let mut listed = 0;
    for _ in 0..6 {
        let tree = prop::collection::vec(op(), 120)
            .new_tree(&mut runner)
            .unwrap();
        let ops = proptest::strategy::ValueTree::current(&tree);
        let desk = play(&ops, &mut Reached::default());
        for recorded in &desk.log {
            let text = recorded.entry.text();
            for personal in [
                "/srv", "/data", "alice", "a court", "1:12", "age1", "somebody",
            ] {
                assert!(!text.contains(personal), "{personal} in {text}");
            }
            let body = recorded.entry.statement().unwrap().body;
            let commitments = custody::house::decide::commitments(&body);
            for commitment in desk.openings.keys() {
                let there = text.contains(&commitment.to_string());
                // An approval repeats what its request has listed.
                let repeats = matches!(body, Body::Approve(_));
                assert_eq!(
                    there && !repeats,
                    commitments.contains(commitment),
                    "{text}"
                );
                listed += u64::from(there);
            }
        }
    }
    assert!(listed > 100);
}

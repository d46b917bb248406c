//! The law on parts: what leaves a hold, what stays and by which reason, until when it can be
//! taken back, and that no verifier takes it for something else.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::collections::BTreeSet;

use custody::{
    house::{
        act::{Act, MOST_LEAVE, Narrowing},
        approval::Status,
        clearance::{State, What},
        order::Copies,
        scope::Rule,
        tasks::{Due, Task},
    },
    id::{HoldId, TargetId},
    statement::{Body, HoldLowered, OrderNarrow, Reject},
    time::Span,
    verify::{
        entries::{EntryAudit, prepare},
        report::{Findings, Level},
    },
};
use house::{
    Desk,
    clearances::{answer, ask},
    narrow::{self, narrowed},
    rule,
    world::{self, ANNA, CLAIMS, CUSTODIAN, DAN, LEGAL, ONE, OPERATOR},
};
use proptest::prelude::*;

const FREE: Copies = Copies::Permitted;

fn reasons(desk: &Desk, path: &str) -> BTreeSet<HoldId> {
    desk.house.reasons(&desk.openings, &ONE, path.as_bytes())
}

fn asked(desk: &mut Desk, target: TargetId, paths: &[&str]) -> &'static str {
    let act = narrow::act(desk, target, paths);
    rule(&world::request(desk, LEGAL, act))
}

/// Narrows the whole way: approved, carried out, freed by the agent.
fn out(desk: &mut Desk, target: TargetId, paths: &[&str]) {
    let act = narrow::act(desk, target, paths);
    world::carried_out(desk, act);
    let known = &desk.house.targets[&target];
    let all = known.left.len() + known.leaving.len();
    let said = desk.agent(ONE, narrowed(target, all as u64)).unwrap();
    assert_eq!(said.void, None);
}

/// Scenario 7: what the court took out leaves, after two people and the notice; the rest stays.
#[test]
fn a_part_leaves_only_by_two_people_after_the_notice_and_the_rest_stays_held() {
    let mut desk = world::open();
    let (order, hold, targets) = world::held(&mut desk, "court-order", FREE, ONE, &["/srv"]);
    let target = targets[0];
    world::prove(&mut desk, ONE, target);
    let exclude = vec![world::item(&mut desk, Rule::Exclude, None, "/srv/bob")];
    let received = desk.now;
    let narrow = OrderNarrow {
        order,
        received,
        exclude,
    };
    desk.person(LEGAL, Body::OrderNarrow(narrow)).unwrap();
    assert_eq!(
        reasons(&desk, "/srv/bob/mail"),
        [hold].into(),
        "frees nothing by itself"
    );

    let act = narrow::act(&mut desk, target, &["/srv/bob"]);
    let request = world::request(&mut desk, LEGAL, act).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    desk.wait(Span::days(2));
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.too-few"
    );
    world::vote(&mut desk, DAN, request).unwrap();
    assert_eq!(desk.house.due(desk.now), [Due::Execute(request)]);
    assert_eq!(reasons(&desk, "/srv/bob"), [hold].into());
    world::execute(&mut desk, request).unwrap();

    assert_eq!(reasons(&desk, "/srv/bob"), [].into());
    assert_eq!(reasons(&desk, "/srv/bob/mail"), [].into());
    for path in ["/srv", "/srv/bobby", "/srv/alice/mail"] {
        assert_eq!(reasons(&desk, path), [hold].into(), "{path}");
    }
    assert!(desk.house.targets[&target].state.holds());
    assert_eq!(desk.house.holds[&hold].lifted_by, None);
    assert_eq!(desk.house.tasks(&ONE), [Task::Narrow(target)]);
    assert_eq!(desk.agent(ONE, narrowed(target, 1)).unwrap().void, None);
    assert_eq!(desk.house.tasks(&ONE), []);
    assert_eq!(desk.house.targets[&target].left.len(), 1);
}

/// Scenario 2, with a part of the largest hold leaving before it is lifted.
#[test]
fn what_leaves_one_hold_stays_under_each_of_the_others() {
    let mut desk = world::open();
    let (_, one, first) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/a"]);
    let (_, two, second) = world::held(&mut desk, "eu-epoc-pr", FREE, ONE, &["/a/b"]);
    let (_, three, _) = world::held(&mut desk, "court-order", FREE, ONE, &["/a/b/file"]);
    out(&mut desk, first[0], &["/a/b"]);
    assert_eq!(reasons(&desk, "/a"), [one].into());
    assert_eq!(reasons(&desk, "/a/b"), [two].into());
    assert_eq!(reasons(&desk, "/a/b/file"), [two, three].into());
    assert_eq!(reasons(&desk, "/a/c"), [one].into());
    world::lift(&mut desk, &second);
    assert_eq!(reasons(&desk, "/a/b"), [].into());
    assert_eq!(reasons(&desk, "/a/b/file"), [three].into());
    world::lift(&mut desk, &first);
    assert_eq!(reasons(&desk, "/a/c"), [].into());
    assert_eq!(reasons(&desk, "/a/b/file"), [three].into());
}

#[test]
fn a_narrowing_names_places_below_what_is_held_each_once_and_only_counsel_asks() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a", "/srv/b"]);
    let (a, b) = (targets[0], targets[1]);
    for path in [
        "/srv/a",
        "/srv",
        "/srv/ab",
        "/srv/b/x",
        "/srv/a/../b",
        "srv/a/x",
        "/srv/a//x",
    ] {
        assert_eq!(asked(&mut desk, a, &[path]), "hold.not-below", "{path}");
    }
    assert_eq!(asked(&mut desk, a, &[]), "hold.leave");
    let act = narrow::act(&mut desk, a, &["/srv/a/x"]);
    for nobody in [OPERATOR, CLAIMS, CUSTODIAN, ANNA] {
        assert_eq!(
            rule(&world::request(&mut desk, nobody, act.clone())),
            "role"
        );
    }
    let Act::Narrow { targets: mut twice } = act.clone() else {
        unreachable!()
    };
    let again = twice[0].leave[0];
    twice[0].leave.push(again);
    let twice = Act::Narrow { targets: twice };
    assert_eq!(rule(&world::request(&mut desk, LEGAL, twice)), "hold.leave");
    let none = Act::Narrow { targets: vec![] };
    assert_eq!(
        rule(&world::request(&mut desk, LEGAL, none)),
        "hold.targets"
    );

    let many = (0..=MOST_LEAVE)
        .map(|n| format!("/srv/a/{n}"))
        .collect::<Vec<_>>();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(asked(&mut desk, a, &many), "hold.too-many-places");
    // The most that is allowed, and an approval of it, fit into their entries.
    let act = narrow::act(&mut desk, a, &many[..MOST_LEAVE]);
    let request = world::request(&mut desk, LEGAL, act).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    world::vote(&mut desk, DAN, request).unwrap();
    desk.wait(Span::days(2));
    world::execute(&mut desk, request).unwrap();
    let more: Vec<_> = many[1..].iter().map(|path| format!("{path}/y")).collect();
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    out(&mut desk, a, &more);
    let rest = many
        .iter()
        .map(|path| format!("{path}/x"))
        .collect::<Vec<_>>();
    let rest: Vec<_> = rest.iter().map(String::as_str).take(MOST_LEAVE).collect();
    assert_eq!(asked(&mut desk, a, &rest), "hold.too-narrow");

    world::lift(&mut desk, &[b]);
    assert_eq!(asked(&mut desk, b, &["/srv/b/x"]), "hold.lifted");
}

#[test]
fn the_largest_narrowing_of_many_targets_fits_into_its_entry() {
    let mut desk = world::open();
    let paths: Vec<_> = (0..300).map(|n| format!("/srv/{n:03}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut held = Vec::new();
    for some in paths.chunks(150) {
        held.extend(world::held(&mut desk, "us-2703f", FREE, ONE, some).2);
    }
    let targets = held
        .iter()
        .zip(&paths)
        .enumerate()
        .map(|(at, (target, path))| {
            let some = if at < MOST_LEAVE - 300 { 2 } else { 1 };
            let leave = (0..some).map(|n| desk.commit("path", format!("{path}/{n}").as_bytes()));
            let leave = leave.collect();
            let target = *target;
            Narrowing { target, leave }
        });
    let act = Act::Narrow {
        targets: targets.collect(),
    };
    assert_eq!(act.commitments().len(), MOST_LEAVE);
    let request = world::request(&mut desk, LEGAL, act).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
}

#[test]
fn until_it_is_carried_out_who_asked_takes_it_back_and_afterwards_nobody_does() {
    let mut desk = world::open();
    let (_, hold, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv"]);
    let back = |desk: &mut Desk, by, request| {
        let entry = desk.house.requests[&request].leaf;
        rule(&desk.person(by, Body::Reject(Reject { request, entry })))
    };
    let act = narrow::act(&mut desk, targets[0], &["/srv/a"]);
    let request = world::request(&mut desk, LEGAL, act.clone()).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    world::vote(&mut desk, DAN, request).unwrap();
    // A claims officer takes back what he asked for himself, and nothing of others.
    assert_eq!(back(&mut desk, CLAIMS, request), "approval.not-yours");
    assert_eq!(back(&mut desk, OPERATOR, request), "role");
    desk.wait(Span::days(6));
    assert_eq!(back(&mut desk, LEGAL, request), "ok");
    let known = &desk.house.requests[&request];
    assert_eq!(
        (known.status, known.rejected_by),
        (Status::Rejected, Some(LEGAL))
    );
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.rejected"
    );
    assert_eq!(reasons(&desk, "/srv/a"), [hold].into());

    // The same places may be asked for again, and then it is final.
    let request = world::carried_out(&mut desk, act.clone());
    assert_eq!(back(&mut desk, LEGAL, request), "approval.executed");
    assert_eq!(rule(&world::request(&mut desk, LEGAL, act)), "hold.leave");
    assert_eq!(reasons(&desk, "/srv/a"), [].into());
}

#[test]
fn a_claims_officer_takes_his_own_request_for_a_release_back() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv"]);
    let snapshot = world::snapshot(&mut desk, ONE, targets[0]);
    let claim = world::claim(&mut desk);
    world::matched(&mut desk, claim, snapshot, &[(0, 10)]).unwrap();
    let act = world::release_act(&mut desk, claim, snapshot, (0, 10));
    let request = world::request(&mut desk, CLAIMS, act).unwrap();
    let entry = desk.house.requests[&request].leaf;
    let body = Body::Reject(Reject { request, entry });
    assert_eq!(rule(&desk.person(CLAIMS, body)), "ok");
}

#[test]
fn an_agent_frees_no_more_than_was_let_go_and_says_so_once() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv"]);
    let target = targets[0];
    let void = |desk: &mut Desk, places| {
        let said = desk.agent(ONE, narrowed(target, places)).unwrap();
        said.void.map_or("ok", |refusal| refusal.rule)
    };
    assert_eq!(void(&mut desk, 1), "hold.not-leaving");
    let act = narrow::act(&mut desk, target, &["/srv/a", "/srv/b"]);
    world::carried_out(&mut desk, act);
    assert_eq!(void(&mut desk, 3), "hold.not-leaving");
    assert_eq!(void(&mut desk, 0), "hold.not-leaving");
    // What leaves while an agent is at work on an earlier narrowing is not taken for freed.
    let act = narrow::act(&mut desk, target, &["/srv/c"]);
    world::carried_out(&mut desk, act);
    assert_eq!(void(&mut desk, 2), "ok");
    assert_eq!(void(&mut desk, 2), "hold.not-leaving");
    let known = &desk.house.targets[&target];
    assert!(known.has_left(&desk.openings, b"/srv/b/x"));
    assert!(!known.has_left(&desk.openings, b"/srv/c"));
    assert!(known.let_go(&desk.openings, b"/srv/c"));
    assert_eq!(
        desk.house.tasks(&ONE),
        [Task::Raise(target), Task::Narrow(target)]
    );
    // Lifted as a whole, there is no part left to free.
    world::lift(&mut desk, &[target]);
    assert_eq!(desk.house.tasks(&ONE), [Task::Lower(target)]);
}

/// P10: in doubt nothing is freed.
#[test]
fn a_place_whose_path_was_erased_counts_as_held() {
    let mut desk = world::open();
    let (_, hold, targets) = world::held(&mut desk, "us-2703f", Copies::Forbidden, ONE, &["/srv"]);
    out(&mut desk, targets[0], &["/srv/a"]);
    assert_eq!(reasons(&desk, "/srv/a"), [].into());
    let gone = desk.house.targets[&targets[0]].left[0];
    desk.openings.remove(&gone);
    assert_eq!(reasons(&desk, "/srv/a"), [hold].into());
    // And what lies below an erased target cannot be told: it does not leave.
    let act = narrow::act(&mut desk, targets[0], &["/srv/b"]);
    let whole = desk.house.targets[&targets[0]].wish.path;
    desk.openings.remove(&whole);
    assert_eq!(
        rule(&world::request(&mut desk, LEGAL, act)),
        "hold.not-below"
    );
}

#[test]
fn what_left_an_order_that_forbids_copies_may_be_released_and_wiped_once_it_is_free() {
    let mut desk = world::open();
    let (_, strict, targets) =
        world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/srv"]);
    let (_, own, alice) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/alice"]);
    let snapshot = world::snapshot(&mut desk, ONE, alice[0]);
    let claim = world::claim(&mut desk);
    world::matched(&mut desk, claim, snapshot, &[(0, 10)]).unwrap();
    let tried = |desk: &mut Desk| {
        let act = world::release_act(desk, claim, snapshot, (0, 10));
        rule(&world::request(desk, CLAIMS, act))
    };
    assert_eq!(tried(&mut desk), "release.copies-forbidden");
    // A part of what the snapshot took is not enough.
    out(&mut desk, targets[0], &["/srv/alice/mail"]);
    assert_eq!(tried(&mut desk), "release.copies-forbidden");
    let act = narrow::act(&mut desk, targets[0], &["/srv/alice"]);
    world::carried_out(&mut desk, act);
    assert_eq!(tried(&mut desk), "ok");

    let cleared = |desk: &mut Desk, paths: &[&str]| {
        let clearance = ask(desk, What::Path, ONE, paths);
        answer(desk, clearance)
    };
    world::lift(&mut desk, &alice);
    let target = alice[0];
    let body = HoldLowered {
        target,
        freed: 1,
        kept: 0,
    };
    desk.agent(ONE, Body::HoldLowered(body)).unwrap();
    let no = State::Refused {
        holds: vec![strict],
        orders: vec![],
    };
    assert_ne!(strict, own);
    assert_eq!(
        cleared(&mut desk, &["/srv/alice"]),
        no,
        "its server has not freed it yet"
    );
    desk.agent(ONE, narrowed(targets[0], 2)).unwrap();
    let given = cleared(&mut desk, &["/srv/alice"]);
    assert!(matches!(given, State::Given { .. }), "{given:?}");
    assert_eq!(cleared(&mut desk, &["/srv"]), no);
    let server = ask(&mut desk, What::Server, ONE, &[]);
    assert_eq!(answer(&mut desk, server), no);
    // Who verifies the log knows no place, and takes none of it for broken.
    assert_eq!(broken(&desk), Vec::<String>::new());
}

fn broken(desk: &Desk) -> Vec<String> {
    let (mut audit, mut findings) = (EntryAudit::default(), Findings::default());
    for (index, recorded) in desk.log.iter().enumerate() {
        audit.fold(prepare(index as u64, recorded.entry.bytes()), &mut findings);
    }
    let all = findings.all();
    let wrong = all.iter().filter(|finding| finding.level != Level::Note);
    wrong
        .map(|finding| format!("{}: {}", finding.place, finding.what))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of overlapping holds, lifting and narrowing free exactly what no reason covers any more, in
    /// whatever order they are done.
    #[test]
    fn lifting_and_narrowing_free_exactly_what_no_reason_covers(
        holds in prop::collection::vec(0_usize..6, 1..5),
        steps in prop::collection::vec((0_usize..5, 0_usize..6, any::<bool>()), 1..5),
    ) {
        const PLACES: [&str; 6] = ["/s", "/s/a", "/s/a/b", "/s/a/b/c", "/s/ab", "/t"];
        let within = |path: &str, place: &str| path == place || path.starts_with(&format!("{place}/"));
        let mut desk = world::open();
        let mut standing = Vec::new();
        for at in &holds {
            let (_, hold, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &[PLACES[*at]]);
            standing.push((hold, targets[0], PLACES[*at], Vec::<&str>::new(), true));
        }
        for (which, at, whole) in steps {
            let count = standing.len();
            let (_, target, place, gone, holds) = &mut standing[which % count];
            let leaves = PLACES[at];
            if !*holds {
                continue;
            } else if whole {
                world::lift(&mut desk, &[*target]);
                *holds = false;
            } else if within(leaves, place) && leaves != *place && !gone.contains(&leaves) {
                out(&mut desk, *target, &[leaves]);
                gone.push(leaves);
            }
            for path in PLACES.iter().flat_map(|p| [(*p).to_owned(), format!("{p}/x")]) {
                let covering = standing.iter().filter(|(_, _, place, gone, holds)| {
                    *holds && within(&path, place) && !gone.iter().any(|g| within(&path, g))
                });
                let expected: BTreeSet<_> = covering.map(|(hold, ..)| *hold).collect();
                prop_assert_eq!(reasons(&desk, &path), expected, "{}", path);
            }
        }
        prop_assert_eq!(broken(&desk), Vec::<String>::new());
    }
}

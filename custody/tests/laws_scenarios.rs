//! The field's scenarios, told as they happen: overlap, narrowing, withdrawal, two claimants,
//! an order that arrives in the middle of a release, collusion.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use custody::{
    commit::Commitment,
    digest::Digest,
    house::{
        act::{Act, Rows},
        hold::State,
        order::{Copies, Status},
        ranges::Ranges,
        scope::{Rule, ScopeItem, Selector},
        tasks::Task,
    },
    id::{ItemId, PersonId, ReleaseId, SnapshotId},
    sign::{SecretKey, Signer as _},
    statement::{
        AgentRetire, Approve, Body, ClaimWithdraw, ListImport, LogOpened, OrderNarrow,
        OrderWithdraw, PersonAdd, PersonRetire, ReleaseDelivered, SnapshotTake, SnapshotWish,
        SubjectErase,
    },
    time::Span,
};
use house::{
    Desk, bytes16, rule, seed,
    world::{self, ANNA, BEN, CARLA, CLAIMS, DAN, LEGAL, ONE, TWO},
};

const FREE: Copies = Copies::Permitted;

fn withdraw(desk: &mut Desk, order: custody::id::OrderId) {
    let received = desk.now;
    desk.person(
        LEGAL,
        Body::OrderWithdraw(OrderWithdraw { order, received }),
    )
    .unwrap();
}

fn act_of(desk: &mut Desk) -> (ReleaseId, Act, SnapshotId) {
    let (_, _, targets) = world::held(desk, "court-order", FREE, ONE, &["/srv/alice"]);
    let snapshot = world::snapshot(desk, ONE, targets[0]);
    let claim = world::claim(desk);
    world::matched(desk, claim, snapshot, &[(0, 40)]).unwrap();
    let act = world::release_act(desk, claim, snapshot, (0, 10));
    let Act::Release { release, .. } = &act else {
        unreachable!()
    };
    (*release, act.clone(), snapshot)
}

/// A release that is approved by two, packed and in the spool.
fn spooled(desk: &mut Desk) -> (ReleaseId, SnapshotId) {
    let (release, act, snapshot) = act_of(desk);
    let request = world::request(desk, CLAIMS, act).unwrap();
    world::vote(desk, ANNA, request).unwrap();
    world::vote(desk, BEN, request).unwrap();
    world::execute(desk, request).unwrap();
    world::spool(desk, ONE, release);
    (release, snapshot)
}

/// Scenario 2.
#[test]
fn of_three_overlapping_holds_the_first_is_withdrawn_and_the_file_stays_held_by_two() {
    let mut desk = world::open();
    let (first, one, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/a"]);
    let (_, two, _) = world::held(&mut desk, "eu-epoc-pr", FREE, ONE, &["/a/b"]);
    let (_, three, _) = world::held(&mut desk, "court-order", FREE, ONE, &["/a/b/file"]);
    let reasons =
        |desk: &Desk, path: &str| desk.house.reasons(&desk.openings, &ONE, path.as_bytes());
    assert_eq!(reasons(&desk, "/a/b/file"), [one, two, three].into());
    withdraw(&mut desk, first);
    assert_eq!(desk.house.orders[&first].status, Status::Withdrawn);
    assert_eq!(
        reasons(&desk, "/a/x"),
        [one].into(),
        "withdrawn frees nothing by itself"
    );
    assert_eq!(
        world::lift(&mut desk, &targets),
        desk.house.holds[&one].lifted_by.unwrap()
    );
    assert_eq!(reasons(&desk, "/a/b/file"), [two, three].into());
    assert_eq!(reasons(&desk, "/a/x"), [].into(), "free for disposition");
    assert!(desk.house.tasks(&ONE).contains(&Task::Lower(targets[0])));
}

/// Scenario 7.
#[test]
fn an_order_is_narrowed_and_the_rest_leaves_only_by_a_lift_of_two() {
    let mut desk = world::open();
    let order = world::order(&mut desk, "court-order", FREE, &["/srv"]);
    desk.person(world::INTAKE, Body::OrderAdd(order.clone()))
        .unwrap();
    let place = world::place(&mut desk, &order, ONE, &["/srv/alice"]);
    let (hold, alice) = (place.hold, place.targets[0].target);
    desk.person(world::OPERATOR, Body::HoldPlace(place))
        .unwrap();
    let exclude = vec![world::item(&mut desk, Rule::Exclude, None, "/srv/alice")];
    let (order_id, received) = (order.order, desk.now);
    let narrow = OrderNarrow {
        order: order_id,
        received,
        exclude,
    };
    desk.person(LEGAL, Body::OrderNarrow(narrow)).unwrap();
    assert!(
        desk.house.targets[&alice].state.holds(),
        "narrowing frees nothing by itself"
    );
    // But nothing new is held of what the court took out.
    for path in ["/srv/alice", "/srv/alice/mail"] {
        let place = world::place(&mut desk, &order, ONE, &[path]);
        assert_eq!(
            rule(&desk.person(world::OPERATOR, Body::HoldPlace(place))),
            "hold.out-of-scope"
        );
    }
    let place = world::place(&mut desk, &order, ONE, &["/srv/bob"]);
    desk.person(world::OPERATOR, Body::HoldPlace(place))
        .unwrap();
    world::lift(&mut desk, &[alice]);
    assert_eq!(desk.house.targets[&alice].state, State::Lifting);
    assert!(desk.house.holds[&hold].lifted_by.is_some());
}

#[test]
fn an_excluded_server_or_account_is_not_held_under_the_order_either() {
    let mut desk = world::open();
    let mut order = world::order(&mut desk, "court-order", FREE, &["/srv"]);
    let account = |desk: &mut Desk, rule, name: &[u8]| ScopeItem {
        item: ItemId::from_random(bytes16(desk.next())),
        rule,
        selector: Selector::Account,
        agent: None,
        value: Some(desk.commit("account", name)),
    };
    let alice = account(&mut desk, Rule::Include, b"alice");
    let bob = account(&mut desk, Rule::Include, b"bob");
    let not_alice = account(&mut desk, Rule::Exclude, b"alice");
    let not_two = ScopeItem {
        selector: Selector::Server,
        agent: Some(TWO),
        value: None,
        ..account(&mut desk, Rule::Exclude, b"")
    };
    order.scope = vec![alice, bob, not_alice, not_two];
    desk.person(world::INTAKE, Body::OrderAdd(order.clone()))
        .unwrap();
    let mut tried = |item: usize, agent| {
        let mut place = world::place(&mut desk, &order, agent, &["/home/x"]);
        place.targets[0].item = order.scope[item].item;
        rule(&desk.person(world::OPERATOR, Body::HoldPlace(place)))
    };
    assert_eq!(tried(0, ONE), "hold.out-of-scope");
    assert_eq!(tried(1, TWO), "hold.out-of-scope");
    assert_eq!(tried(1, ONE), "ok");
}

/// Scenario 8.
#[test]
fn an_order_served_in_error_is_withdrawn_and_the_other_order_still_holds_and_forbids() {
    let mut desk = world::open();
    let (order, _, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/alice"]);
    let (_, other, _) = world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/srv"]);
    let snapshot = world::snapshot(&mut desk, ONE, targets[0]);
    let claim = world::claim(&mut desk);
    world::matched(&mut desk, claim, snapshot, &[(0, 10)]).unwrap();
    withdraw(&mut desk, order);
    world::lift(&mut desk, &targets);
    let reasons = desk.house.reasons(&desk.openings, &ONE, b"/srv/alice/file");
    assert_eq!(reasons, [other].into());
    let act = world::release_act(&mut desk, claim, snapshot, (0, 10));
    let answer = world::request(&mut desk, CLAIMS, act);
    assert_eq!(rule(&answer), "release.copies-forbidden");
    // The server cannot leave the fleet: it still holds.
    let gone = Body::AgentRetire(AgentRetire { agent: ONE });
    assert_eq!(rule(&desk.person(world::ADMIN, gone)), "agent.holds");
}

/// Lifting one place of a hold leaves the hold standing on the others.
#[test]
fn a_hold_of_two_places_is_called_lifted_when_the_last_of_them_is() {
    let mut desk = world::open();
    let (_, hold, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a", "/srv/b"]);
    world::lift(&mut desk, &targets[..1]);
    assert_eq!(
        desk.house.holds[&hold].lifted_by, None,
        "/srv/b is still held"
    );
    let last = world::lift(&mut desk, &targets[1..]);
    assert_eq!(desk.house.holds[&hold].lifted_by, Some(last));
}

/// Scenario 16.
#[test]
fn two_claimants_freeze_the_overlap_and_the_rest_goes_on() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "court-order", FREE, ONE, &["/srv/shared"]);
    let snapshot = world::snapshot(&mut desk, ONE, targets[0]);
    let (anna, ben) = (world::claim(&mut desk), world::claim(&mut desk));
    world::matched(&mut desk, anna, snapshot, &[(0, 50)]).unwrap();
    let act = world::release_act(&mut desk, anna, snapshot, (0, 20));
    // A claim that has not been looked at may contest everything.
    assert_eq!(
        rule(&world::request(&mut desk, CLAIMS, act.clone())),
        "release.other-claim-open"
    );
    world::matched(&mut desk, ben, snapshot, &[(40, 90)]).unwrap();
    let contested = world::release_act(&mut desk, anna, snapshot, (30, 41));
    assert_eq!(
        rule(&world::request(&mut desk, CLAIMS, contested.clone())),
        "release.contested"
    );
    world::request(&mut desk, CLAIMS, act).unwrap();
    // Decided: one claim is withdrawn, and the overlap thaws.
    let over = Body::ClaimWithdraw(ClaimWithdraw { claim: ben });
    desk.person(CLAIMS, over).unwrap();
    world::request(&mut desk, CLAIMS, contested).unwrap();
}

/// Scenario 19.
#[test]
fn an_order_that_lands_between_approval_and_delivery_stops_the_delivery() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    world::deliver(&mut desk, release).unwrap();
    world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/srv"]);
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.copies-forbidden"
    );
    assert_eq!(desk.house.releases[&release].deliveries, 1);
}

#[test]
fn a_new_exclusion_list_stops_the_delivery_until_the_claim_is_screened_again() {
    let mut desk = world::open();
    let (release, snapshot) = spooled(&mut desk);
    let hashes = vec![Digest::of(b"contraband")];
    let (list, basis) = ("known".to_owned(), "2258A".to_owned());
    desk.person(
        LEGAL,
        Body::ListImport(ListImport {
            list,
            basis,
            hashes,
        }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.not-screened"
    );
    let claim = desk.house.releases[&release].claim;
    world::matched(&mut desk, claim, snapshot, &[(0, 9), (10, 40)]).unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.not-claimed",
        "row 9 is a hit"
    );
    world::matched(&mut desk, claim, snapshot, &[(0, 40)]).unwrap();
    world::deliver(&mut desk, release).unwrap();
}

/// Scenario 19: while the delivery is stopped the approvals run out.
#[test]
fn approvals_that_have_run_out_or_whose_voters_left_stop_the_delivery() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    let mut later = desk.fork();
    later.wait(Span::days(8));
    assert_eq!(
        rule(&world::deliver(&mut later, release)),
        "approval.too-few"
    );
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: BEN }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "approval.too-few"
    );
}

#[test]
fn a_parcel_goes_to_a_claims_officer_and_to_nobody_else() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    let stranger = PersonId::from_random([99; 16]);
    for (to, expected) in [
        (stranger, "unknown"),
        (world::OPERATOR, "role"),
        (DAN, "ok"),
    ] {
        let body = Body::ReleaseDelivered(ReleaseDelivered { release, to });
        assert_eq!(rule(&desk.coordinator(body)), expected);
    }
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: DAN }),
    )
    .unwrap();
    let body = Body::ReleaseDelivered(ReleaseDelivered { release, to: DAN });
    assert_eq!(rule(&desk.coordinator(body)), "role");
}

/// Scenario 20.
#[test]
fn collusion_does_not_count() {
    let mut desk = world::open();
    let (_, act, _) = act_of(&mut desk);
    // Dan is claims officer and approver: he may ask, and may not vote on it.
    let request = world::request(&mut desk, DAN, act).unwrap();
    assert_eq!(
        rule(&world::vote(&mut desk, DAN, request)),
        "approval.own-request"
    );
    // The same person under a second name would need a second key; one key is one person.
    let key = SecretKey::from_seed(&desk.people[&DAN]).public_key();
    let name = desk.commit("name", b"dan again");
    let person = PersonId::from_random([77; 16]);
    let roles = world::roles(DAN);
    let again = Body::PersonAdd(PersonAdd {
        person,
        key,
        roles,
        name,
    });
    assert_eq!(rule(&desk.person(world::ADMIN, again)), "key.in-use");
    world::vote(&mut desk, ANNA, request).unwrap();
    assert_eq!(
        rule(&world::vote(&mut desk, ANNA, request)),
        "approval.twice"
    );
    world::vote(&mut desk, BEN, request).unwrap();
    // An approver who is removed before it is carried out does not count any more.
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: BEN }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.too-few"
    );
    world::vote(&mut desk, CARLA, request).unwrap();
    world::execute(&mut desk, request).unwrap();
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.executed"
    );
}

#[test]
fn a_vote_fits_one_request_only_and_counts_until_it_expires() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "court-order", FREE, ONE, &["/srv"]);
    let act = Act::Lift {
        targets: targets.clone(),
    };
    let one = world::request(&mut desk, LEGAL, act.clone()).unwrap();
    let two = world::request(&mut desk, LEGAL, act.clone()).unwrap();
    let entry = desk.house.requests[&one].leaf;
    let expires = desk.now + Span::days(1);
    let moved = Body::Approve(Approve {
        request: two,
        entry,
        act,
        expires,
    });
    assert_eq!(rule(&desk.person(ANNA, moved)), "approval.other-request");
    world::vote_until(&mut desk, ANNA, one, expires).unwrap();
    world::vote(&mut desk, BEN, one).unwrap();
    assert_eq!(rule(&world::execute(&mut desk, one)), "approval.notice");
    desk.wait(Span::days(1));
    assert_eq!(rule(&world::execute(&mut desk, one)), "approval.too-few");
    world::vote(&mut desk, ANNA, one).unwrap();
    world::execute(&mut desk, one).unwrap();
}

#[test]
fn two_requests_for_the_same_release_make_one_release() {
    let mut desk = world::open();
    let (release, act, _) = act_of(&mut desk);
    let requests = [act.clone(), act].map(|act| world::request(&mut desk, CLAIMS, act).unwrap());
    for request in requests {
        world::vote(&mut desk, ANNA, request).unwrap();
        world::vote(&mut desk, BEN, request).unwrap();
    }
    world::execute(&mut desk, requests[0]).unwrap();
    world::spool(&mut desk, ONE, release);
    world::deliver(&mut desk, release).unwrap();
    assert_eq!(rule(&world::execute(&mut desk, requests[1])), "id.in-use");
    let known = &desk.house.releases[&release];
    assert_eq!((known.request, known.deliveries), (requests[0], 1));
}

#[test]
fn a_snapshot_is_asked_for_once_under_one_id() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a", "/srv/b"]);
    let snapshot = SnapshotId::from_random([5; 16]);
    let wishes = targets
        .iter()
        .map(|&target| SnapshotWish { snapshot, target })
        .collect();
    let take = Body::SnapshotTake(SnapshotTake { snapshots: wishes });
    assert_eq!(rule(&desk.person(world::CUSTODIAN, take)), "id.in-use");
}

#[test]
fn a_release_takes_rows_of_one_server_and_only_whole_ranges() {
    let mut desk = world::open();
    let (_, act, snapshot) = act_of(&mut desk);
    let Act::Release { claim, release, .. } = act else {
        unreachable!()
    };
    let backwards: Ranges = serde_json::from_str("[[9,3]]").unwrap();
    for (files, expected) in [
        (vec![], "release.one-server"),
        (
            vec![Rows {
                snapshot,
                rows: Ranges::default(),
            }],
            "release.not-claimed",
        ),
        (
            vec![Rows {
                snapshot,
                rows: backwards,
            }],
            "release.not-claimed",
        ),
        (
            vec![Rows {
                snapshot,
                rows: Ranges::from_unsorted(vec![(39, 41)]),
            }],
            "release.not-claimed",
        ),
    ] {
        let act = Act::Release {
            release,
            claim,
            files,
        };
        assert_eq!(rule(&world::request(&mut desk, CLAIMS, act)), expected);
    }
}

#[test]
fn a_claim_names_what_can_be_matched_and_never_a_whole_server() {
    let mut desk = world::open();
    let mut body = world::claim_body(&mut desk);
    body.items[0].selector = Selector::Server;
    assert_eq!(
        rule(&desk.person(CLAIMS, Body::ClaimFile(body.clone()))),
        "claim.items"
    );
    body.items[0].selector = Selector::Path;
    body.items[0].value = desk.commit("path", b"/srv/../etc");
    assert_eq!(
        rule(&desk.person(CLAIMS, Body::ClaimFile(body.clone()))),
        "scope.path"
    );
    body.items[0].value = desk.commit("path", b"/srv/alice");
    desk.person(CLAIMS, Body::ClaimFile(body)).unwrap();
}

/// I10, and P10: what cannot be opened any more is held, and lets nothing out.
#[test]
fn erased_openings_leave_the_fold_equal_and_every_doubt_on_the_safe_side() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/data"]);
    world::deliver(&mut desk, release).unwrap();
    let subject = desk.house.claims.values().next().unwrap().filed.subject;
    let erase = || Body::SubjectErase(SubjectErase { subject });
    assert_eq!(rule(&desk.person(LEGAL, erase())), "subject.claim-open");
    let claim = desk.house.releases[&release].claim;
    let mut erased = desk.fork();
    erased.openings.clear();
    assert!(erased.replayed() == desk.house);
    // Where /data lies cannot be told any more: it may be anywhere on the server.
    assert_eq!(
        rule(&world::deliver(&mut erased, release)),
        "release.copies-forbidden"
    );
    let nothing = std::collections::BTreeMap::<Commitment, Vec<u8>>::new();
    assert_eq!(erased.house.reasons(&nothing, &ONE, b"/elsewhere").len(), 2);
    desk.person(CLAIMS, Body::ClaimWithdraw(ClaimWithdraw { claim }))
        .unwrap();
    desk.person(LEGAL, erase()).unwrap();
    assert!(desk.replayed() == desk.house);
}

#[test]
fn a_log_is_opened_once_first_and_with_a_key_for_each() {
    let mut desk = Desk::new();
    let name = desk.commit("name", b"admin");
    desk.people.insert(world::ADMIN, seed(2));
    let mut opened = LogOpened {
        coordinator: desk.coordinator.public_key(),
        person: world::ADMIN,
        key: desk.coordinator.public_key(),
        name,
        policies: world::policies(),
    };
    let answer = desk.coordinator(Body::LogOpened(opened.clone()));
    assert_eq!(rule(&answer), "key.in-use");
    opened.key = SecretKey::from_seed(&seed(2)).public_key();
    let mut weak = opened.clone();
    weak.policies.0.get_mut("lift").unwrap().approvals = 1;
    assert_eq!(
        rule(&desk.coordinator(Body::LogOpened(weak))),
        "approval.weak-policy"
    );
    desk.coordinator(Body::LogOpened(opened.clone())).unwrap();
    assert_eq!(
        rule(&desk.coordinator(Body::LogOpened(opened))),
        "log.opened"
    );
}

//! The field's scenarios of orders and holds, told as they happen: overlap, narrowing,
//! withdrawal, partial lifts.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use custody::{
    house::{
        hold::State,
        order::{Copies, Status},
        scope::{Rule, ScopeItem, Selector},
        tasks::Task,
    },
    id::{ItemId, SnapshotId},
    sign::{SecretKey, Signer as _},
    statement::{
        AgentRetire, Body, LogOpened, OrderNarrow, OrderWithdraw, SnapshotTake, SnapshotWish,
    },
};
use house::{
    Desk, bytes16, rule, seed,
    world::{self, CLAIMS, LEGAL, ONE, TWO},
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
            "hold.excluded"
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
    assert_eq!(tried(0, ONE), "hold.excluded");
    assert_eq!(tried(1, TWO), "hold.excluded");
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

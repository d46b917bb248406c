//! The law on wiping: nothing that is held, or that an order may name, is cleared, and what comes
//! between a clearance and its use stands in the way.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use custody::{
    house::{
        clearance::{State, What},
        hold,
        order::Copies,
    },
    id::{AgentId, ClearanceId},
    statement::{
        Body, ClearanceAsk, ClearanceGiven, ClearanceRefused, ClearanceUsed, HoldLowered,
        OrderWithdraw,
    },
    time::Span,
};
use house::{
    Desk, bytes16,
    clearances::{answer, ask},
    rule,
    world::{self, CLAIMS, LEGAL, ONE, OPERATOR, TWO},
};

const FREE: Copies = Copies::Permitted;

fn asked(desk: &mut Desk, what: What, agent: AgentId, paths: &[&str]) -> State {
    let clearance = ask(desk, what, agent, paths);
    answer(desk, clearance)
}

fn is_given(state: &State) -> bool {
    matches!(state, State::Given { .. })
}

/// Scenario 12.
#[test]
fn what_is_held_is_refused_with_the_holds_reference_and_the_rest_is_cleared() {
    let mut desk = world::open();
    let (_, hold, _) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a/b"]);
    let refused = State::Refused {
        holds: vec![hold],
        orders: vec![],
    };
    for paths in [&["/srv/a/b"], &["/srv/a"], &["/srv/a/b/c"], &["/"]] {
        assert_eq!(asked(&mut desk, What::Path, ONE, paths), refused);
    }
    assert_eq!(asked(&mut desk, What::Server, ONE, &[]), refused);
    assert_eq!(
        asked(&mut desk, What::Disk, ONE, &["/mnt", "/srv"]),
        refused
    );
    let unknown = asked(&mut desk, What::Disk, ONE, &[]);
    assert_eq!(
        unknown, refused,
        "a disk of which nobody says what lies on it"
    );
    assert!(is_given(&asked(&mut desk, What::Path, ONE, &["/srv/ab"])));
    assert!(is_given(&asked(&mut desk, What::Disk, ONE, &["/mnt"])));
    assert!(is_given(&asked(&mut desk, What::Server, TWO, &[])));
}

#[test]
fn an_order_that_backs_no_hold_yet_stands_in_the_way_until_it_is_withdrawn() {
    let mut desk = world::open();
    let order = world::order(&mut desk, "us-2703f", FREE, &["/srv/a"]);
    desk.person(world::INTAKE, Body::OrderAdd(order.clone()))
        .unwrap();
    let refused = State::Refused {
        holds: vec![],
        orders: vec![order.order],
    };
    assert_eq!(asked(&mut desk, What::Server, TWO, &[]), refused);
    assert_eq!(asked(&mut desk, What::Path, ONE, &["/srv/a/x"]), refused);
    assert!(is_given(&asked(&mut desk, What::Path, ONE, &["/srv/b"])));
    let received = desk.now;
    let end = OrderWithdraw {
        order: order.order,
        received,
    };
    desk.person(LEGAL, Body::OrderWithdraw(end)).unwrap();
    assert!(is_given(&asked(&mut desk, What::Server, TWO, &[])));
}

#[test]
fn a_target_stands_in_the_way_until_its_agent_has_lowered_it() {
    let mut desk = world::open();
    let (_, hold, targets) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a"]);
    world::lift(&mut desk, &targets);
    assert_eq!(desk.house.targets[&targets[0]].state, hold::State::Lifting);
    let refused = State::Refused {
        holds: vec![hold],
        orders: vec![],
    };
    assert_eq!(asked(&mut desk, What::Path, ONE, &["/srv/a"]), refused);
    let lowered = HoldLowered {
        target: targets[0],
        freed: 1,
        kept: 0,
    };
    desk.agent(ONE, Body::HoldLowered(lowered)).unwrap();
    assert!(is_given(&asked(&mut desk, What::Path, ONE, &["/srv/a"])));
}

#[test]
fn a_clearance_is_used_once_in_its_day_and_not_once_something_is_held() {
    let mut desk = world::open();
    let used = |clearance| Body::ClearanceUsed(ClearanceUsed { clearance });
    let once = ask(&mut desk, What::Path, ONE, &["/srv/a"]);
    assert_eq!(
        rule(&desk.coordinator(used(once))),
        "clearance.asked",
        "not before it was answered"
    );
    answer(&mut desk, once);
    desk.coordinator(used(once)).unwrap();
    assert_eq!(rule(&desk.coordinator(used(once))), "clearance.used");

    let late = ask(&mut desk, What::Path, ONE, &["/srv/a"]);
    answer(&mut desk, late);
    let overtaken = ask(&mut desk, What::Path, ONE, &["/srv/a"]);
    answer(&mut desk, overtaken);
    let (_, hold, _) = world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv"]);
    assert_eq!(rule(&desk.coordinator(used(overtaken))), "clearance.held");
    let refused = ask(&mut desk, What::Path, ONE, &["/srv/a"]);
    assert_eq!(
        answer(&mut desk, refused),
        State::Refused {
            holds: vec![hold],
            orders: vec![]
        }
    );
    assert_eq!(rule(&desk.coordinator(used(refused))), "clearance.refused");
    desk.now = desk.now + Span::days(2);
    assert_eq!(rule(&desk.coordinator(used(late))), "clearance.over");
}

#[test]
fn neither_a_false_yes_nor_a_false_no_nor_a_long_yes_can_be_said() {
    let mut desk = world::open();
    world::held(&mut desk, "us-2703f", FREE, ONE, &["/srv/a"]);
    let yes = |clearance, expires| Body::ClearanceGiven(ClearanceGiven { clearance, expires });
    let soon = desk.now + Span::hours(1);
    let held = ask(&mut desk, What::Path, ONE, &["/srv/a"]);
    assert_eq!(rule(&desk.coordinator(yes(held, soon))), "clearance.held");
    let free = ask(&mut desk, What::Path, ONE, &["/srv/b"]);
    let no = ClearanceRefused {
        clearance: free,
        holds: vec![],
        orders: vec![],
    };
    assert_eq!(
        rule(&desk.coordinator(Body::ClearanceRefused(no))),
        "clearance.not-so"
    );
    let long = desk.now + Span::days(3);
    assert_eq!(
        rule(&desk.coordinator(yes(free, long))),
        "clearance.too-long"
    );
    desk.coordinator(yes(free, soon)).unwrap();
    assert_eq!(
        rule(&desk.coordinator(yes(free, soon))),
        "clearance.answered"
    );
}

#[test]
fn only_an_operator_asks_and_only_for_what_can_be_meant() {
    let mut desk = world::open();
    let path = desk.commit("path", b"/srv/a");
    let climbing = desk.commit("path", b"/srv/../a");
    let base = ClearanceAsk {
        clearance: ClearanceId::from_random(bytes16(7)),
        agent: ONE,
        what: What::Path,
        disk: None,
        places: vec![path],
    };
    let by = desk.person(CLAIMS, Body::ClearanceAsk(base.clone()));
    assert_eq!(rule(&by), "role");
    let mut bad = |change: &dyn Fn(&mut ClearanceAsk)| {
        let mut ask = base.clone();
        change(&mut ask);
        rule(&desk.person(OPERATOR, Body::ClearanceAsk(ask)))
    };
    assert_eq!(bad(&|a| a.places.clear()), "clearance.places");
    assert_eq!(bad(&|a| a.what = What::Server), "clearance.places");
    assert_eq!(bad(&|a| a.what = What::Disk), "clearance.places");
    assert_eq!(bad(&|a| a.places = vec![climbing]), "scope.path");
    assert_eq!(bad(&|a| a.agent = AgentId::from_random([9; 16])), "unknown");
}

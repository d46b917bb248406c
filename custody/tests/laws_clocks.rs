//! The clock engine's rules: both readings, renewals, expiry that frees nothing; and agents'
//! chains: epochs, retries, gaps.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use custody::{
    digest::Digest,
    house::{
        hold::State,
        order::{Copies, NewOrder, Order, Status},
        refusal::Refusal,
        regime::Holding,
        tasks::{Due, Task},
    },
    id::OrderId,
    statement::{Author, Body, OrderExpired, OrderExtend, OrderNarrow},
    time::{Span, Time},
};
use house::{
    Desk, Said, rule, time,
    world::{self, LEGAL, ONE, TWO},
};
use proptest::prelude::*;

fn served(desk: &mut Desk, regime: &str, received: &str, zone_minutes: i32) -> NewOrder {
    desk.now = time(received);
    let mut order = world::order(desk, regime, Copies::Permitted, &["/srv"]);
    order.zone_minutes = zone_minutes;
    order
}

fn add(desk: &mut Desk, order: &NewOrder) -> OrderId {
    desk.person(world::INTAKE, Body::OrderAdd(order.clone()))
        .unwrap();
    order.order
}

fn extend(desk: &mut Desk, order: OrderId, received: Time, beyond: bool) -> Result<Said, Refusal> {
    let reference = desk.commit("reference", b"form 6");
    let body = OrderExtend {
        order,
        received,
        reference,
        beyond_regime: beyond,
    };
    desk.person(LEGAL, Body::OrderExtend(body))
}

fn expire(desk: &mut Desk, order: OrderId) -> Result<Said, Refusal> {
    let ended = desk.house.orders[&order].keep_until.unwrap().latest;
    desk.coordinator(Body::OrderExpired(OrderExpired { order, ended }))
}

/// Scenario 3.
#[test]
fn an_extension_served_at_ten_to_midnight_in_dublin_counts_from_receipt() {
    let mut desk = world::open();
    // 2 March 2026, 12:00 in Dublin: day 60 is Friday 1 May.
    let order = served(&mut desk, "eu-epoc-pr", "2026-03-02T12:00:00Z", 0);
    let order = add(&mut desk, &order);
    let keep = desk.house.orders[&order].keep_until.unwrap();
    assert_eq!(keep.earliest, time("2026-05-01T12:00:00Z"));
    assert_eq!(keep.latest, time("2026-05-01T23:59:59.999Z"));
    // Served on day 59 at 23:50, processed after midnight.
    let received = time("2026-04-30T23:50:00Z");
    desk.now = time("2026-05-01T00:20:00Z");
    extend(&mut desk, order, received, false).unwrap();
    let known = &desk.house.orders[&order];
    let keep = known.keep_until.unwrap();
    assert_eq!(
        keep.earliest,
        time("2026-05-31T12:00:00Z"),
        "day 90 by the first reading"
    );
    // Day 90 is Sunday 31 May: keeping ends with Monday.
    assert_eq!(keep.latest, time("2026-06-01T23:59:59.999Z"));
    assert!(!known.renewals[0].late);
    assert_eq!(
        desk.house.due(time("2026-05-20T00:00:00Z")),
        [],
        "nothing lapsed between"
    );
}

/// Scenario 4.
#[test]
fn a_renewal_on_day_61_is_recorded_as_late_and_re_arms_the_hold() {
    let mut desk = world::open();
    desk.now = time("2026-03-02T12:00:00Z");
    let (order, _, targets) =
        world::held(&mut desk, "eu-epoc-pr", Copies::Permitted, ONE, &["/srv"]);
    world::prove(&mut desk, ONE, targets[0]);
    assert_eq!(rule(&expire(&mut desk, order)), "order.not-run-out");
    desk.now = time("2026-05-02T10:00:00Z");
    expire(&mut desk, order).unwrap();
    assert_eq!(desk.house.orders[&order].status, Status::Expired);
    assert_eq!(
        desk.house.targets[&targets[0]].state,
        State::Verified,
        "expiry frees nothing"
    );
    assert_eq!(desk.house.tasks(&ONE), []);
    assert_eq!(
        rule(&expire(&mut desk, order)),
        "order.not-run-out",
        "it is said once"
    );
    let now = desk.now;
    extend(&mut desk, order, now, false).unwrap();
    let known = &desk.house.orders[&order];
    assert_eq!(
        (known.status, known.renewals[0].late),
        (Status::Active, true)
    );
    assert!(known.keep_until.unwrap().earliest >= now + Span::days(30));
}

/// Scenario 5.
#[test]
fn a_renewal_beyond_the_statutes_one_needs_legals_word_and_is_flagged() {
    let mut desk = world::open();
    let order = served(&mut desk, "us-2703f", "2026-03-02T12:00:00Z", -300);
    let order = add(&mut desk, &order);
    let now = desk.now;
    extend(&mut desk, order, now, false).unwrap();
    assert_eq!(
        rule(&extend(&mut desk, order, now, false)),
        "order.renewals-used"
    );
    extend(&mut desk, order, now, true).unwrap();
    extend(&mut desk, order, now, true).unwrap();
    let flags: Vec<_> = desk.house.orders[&order]
        .renewals
        .iter()
        .map(|r| r.beyond_regime)
        .collect();
    assert_eq!(flags, [false, true, true]);
    let keep = desk.house.orders[&order].keep_until.unwrap();
    assert_eq!(
        keep.earliest,
        time("2026-03-02T12:00:00Z") + Span::days(360)
    );
}

#[test]
fn a_renewal_dated_in_the_future_or_before_its_order_is_refused() {
    let mut desk = world::open();
    let order = served(&mut desk, "us-2703f", "2026-03-02T12:00:00Z", 0);
    let order = add(&mut desk, &order);
    // A slip of the pen would keep the data for another century.
    let answer = extend(&mut desk, order, time("2126-05-02T10:00:00Z"), false);
    assert_eq!(rule(&answer), "order.received-in-future");
    let answer = extend(&mut desk, order, time("2026-03-01T12:00:00Z"), false);
    assert_eq!(rule(&answer), "order.renewal-before-order");
    assert!(desk.house.orders[&order].renewals.is_empty());
    let exclude = vec![world::item(
        &mut desk,
        custody::house::scope::Rule::Exclude,
        None,
        "/srv/a",
    )];
    let narrow = OrderNarrow {
        order,
        received: time("2126-05-02T10:00:00Z"),
        exclude,
    };
    let answer = desk.person(LEGAL, Body::OrderNarrow(narrow));
    assert_eq!(rule(&answer), "order.received-in-future");
}

/// Scenario 6.
#[test]
fn an_emergency_on_saturday_at_two_is_eight_hours_and_holds_at_once() {
    let mut desk = world::open();
    let mut order = served(&mut desk, "eu-epoc", "2026-11-21T02:00:00Z", 0);
    order.emergency = true;
    let id = add(&mut desk, &order);
    let act = desk.house.orders[&id].act_until.unwrap();
    assert_eq!(
        act.earliest,
        time("2026-11-21T10:00:00Z"),
        "what we must do: the earlier"
    );
    assert_eq!(
        act.latest,
        time("2026-11-21T11:00:00Z"),
        "the hour of the event not counted"
    );
    assert_eq!(
        desk.house.orders[&id].keep_until, None,
        "it stands until it is withdrawn"
    );
    let place = world::place(&mut desk, &order, ONE, &["/srv/alice"]);
    let target = place.targets[0].target;
    desk.person(world::OPERATOR, Body::HoldPlace(place))
        .unwrap();
    assert_eq!(
        desk.house.tasks(&ONE),
        [Task::Raise(target)],
        "nobody needs to approve a hold"
    );
    order.emergency = false;
    let ten_days = Order::new(order, 0).act_until.unwrap();
    assert_eq!(ten_days.earliest, time("2026-12-01T02:00:00Z"));
    assert_eq!(ten_days.latest, time("2026-12-01T23:59:59.999Z"));
}

/// Scenario 9, as far as the house can tell.
#[test]
fn what_an_absent_agent_has_not_proved_is_never_called_held() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", Copies::Permitted, ONE, &["/srv"]);
    desk.wait(Span::days(3));
    assert_eq!(desk.house.targets[&targets[0]].state, State::Requested);
    assert_eq!(
        desk.house.tasks(&ONE),
        [Task::Raise(targets[0])],
        "told when it comes back"
    );
    for (body, expected) in [
        (world::proof(targets[0], 3, 3, 0), Some("hold.not-raised")),
        (world::raised(targets[0]), None),
        (world::proof(targets[0], 0, 0, 0), Some("hold.not-proved")),
        (world::proof(targets[0], 3, 2, 0), Some("hold.not-proved")),
        (world::proof(targets[0], 3, 3, 1), Some("hold.not-proved")),
    ] {
        let void = desk.agent(ONE, body).unwrap().void;
        assert_eq!(void.map(|refusal| refusal.rule), expected);
        assert_ne!(desk.house.targets[&targets[0]].state, State::Verified);
    }
    desk.agent(ONE, world::proof(targets[0], 3, 3, 0)).unwrap();
    assert_eq!(desk.house.targets[&targets[0]].state, State::Verified);
}

#[test]
fn an_order_that_names_its_own_end_is_kept_to_the_later_and_acted_on_to_the_earlier() {
    let mut desk = world::open();
    let mut order = served(&mut desk, "us-2703f", "2026-03-02T12:00:00Z", 0);
    order.ends = Some(time("2026-04-01T00:00:00Z"));
    let keep = Order::new(order.clone(), 0).keep_until.unwrap();
    assert_eq!(keep.earliest, time("2026-04-01T00:00:00Z"));
    assert_eq!(keep.latest, time("2026-05-31T23:59:59.999Z"));
    order.ends = Some(time("2027-04-01T00:00:00Z"));
    let keep = Order::new(order, 0).keep_until.unwrap();
    assert_eq!(keep.latest, time("2027-04-01T00:00:00Z"));
}

#[test]
fn a_retry_is_known_a_gap_and_a_fork_are_refused_and_a_new_epoch_begins_anew() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "us-2703f", Copies::Permitted, ONE, &["/srv"]);
    let statement = desk.statement(Author::Agent(ONE), world::raised(targets[0]));
    let entry = desk.seal(&statement);
    let said = desk.take(entry.clone()).unwrap();
    let house = desk.house.clone();
    assert_eq!(rule(&desk.take(entry.clone())), "agent.duplicate");
    let mut other = statement.clone();
    other.time = other.time + Span::seconds(1);
    let fork = desk.seal(&other);
    assert_eq!(
        rule(&desk.take(fork)),
        "agent.chain",
        "two things at one place"
    );
    let mut gap = desk.statement(Author::Agent(ONE), world::raised(targets[0]));
    gap.link.as_mut().unwrap().seq += 1;
    let gap = desk.seal(&gap);
    assert_eq!(rule(&desk.take(gap)), "agent.chain");
    assert!(house == desk.house);
    assert_eq!(desk.head(&ONE).prev, said.entry.digest());
    // Another agent's target is not its to speak of; the report stands without effect.
    let void = desk
        .agent(TWO, world::raised(targets[0]))
        .unwrap()
        .void
        .unwrap();
    assert_eq!(void.rule, "unknown");
    // Enrolled again: a new key, a new epoch, an empty chain; the old place is gone.
    world::enrol(&mut desk, ONE, 90).unwrap();
    let head = desk.head(&ONE);
    assert_eq!((head.epoch, head.seq, head.prev), (1, 0, Digest::of(b"")));
    assert_eq!(
        desk.house.targets[&targets[0]].state,
        State::Acknowledged,
        "holds outlive keys"
    );
    let mut old = statement;
    old.link.as_mut().unwrap().seq = 1;
    let old = desk.seal(&old);
    assert_eq!(rule(&desk.take(old)), "agent.chain");
    assert_eq!(rule(&world::enrol(&mut desk, TWO, 90)), "key.in-use");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// I3: whatever clocks say, and in whatever order, nothing is ever to be lowered.
    #[test]
    fn no_clock_renewal_or_withdrawal_ever_asks_for_a_lowering(
        steps in prop::collection::vec((0_u8..4, 0_i64..200, 0_usize..3), 1..40),
    ) {
        let mut desk = world::open();
        let regimes = ["us-2703f", "eu-epoc-pr", "court-order"];
        let held = regimes.map(|regime| world::held(&mut desk, regime, Copies::Permitted, ONE, &["/srv"]));
        for (what, days, which) in steps {
            let order = held[which].0;
            match what {
                0 => desk.wait(Span::days(days)),
                1 => {
                    let received = desk.now;
                    let _ = extend(&mut desk, order, received, days % 2 == 0);
                }
                2 if days > 150 => {
                    let received = desk.now;
                    let body = custody::statement::OrderWithdraw { order, received };
                    let _ = desk.person(LEGAL, Body::OrderWithdraw(body));
                }
                _ => {
                    for due in desk.house.due(desk.now) {
                        let Due::Expire(order, ended) = due else { continue };
                        desk.coordinator(Body::OrderExpired(OrderExpired { order, ended })).unwrap();
                    }
                }
            }
            let tasks = desk.house.tasks(&ONE);
            prop_assert!(!tasks.iter().any(|task| matches!(task, Task::Lower(_))));
            prop_assert_eq!(desk.house.reasons(&desk.openings, &ONE, b"/srv/x").len(), 3);
        }
    }

    /// A.9: both readings are shown, the earlier never after the later, and a renewal never
    /// shortens what must be kept.
    #[test]
    fn a_renewal_never_brings_an_end_nearer(
        regime in 0_usize..2, zone in -840_i32..=840, days in 0_i64..200, again in 0_i64..200,
    ) {
        let mut desk = world::open();
        let mut order = world::order(&mut desk, ["us-2703f", "eu-epoc-pr"][regime], Copies::Permitted, &["/"]);
        order.zone_minutes = zone;
        order.holding = Holding::Preserve;
        let received = order.received;
        let mut order = Order::new(order, 0);
        for later in [days, days + again] {
            let before = order.keep_until.unwrap();
            order.extend(received + Span::days(later), false, 1);
            let after = order.keep_until.unwrap();
            prop_assert!(after.earliest <= after.latest);
            prop_assert!(after.earliest > before.earliest && after.latest > before.latest);
        }
    }
}

//! What may not be said, whatever the tool would have let through.

use std::fs;

use custody::{
    house::{order::NewOrder, regime::Holding},
    statement::{Body, PersonRetire},
};
use proto::v1;
use tokio::runtime::Runtime;

use crate::{
    common::{
        Desk,
        wire::{At, Hand, Letter, Openings, order, submit},
    },
    house, refused, told,
};

#[test]
fn what_an_order_or_a_claim_may_not_say_is_refused_whatever_the_tool() {
    let desk = house();
    let runtime = Runtime::new().unwrap();
    let intake = Hand::of(&desk, "intake");
    let at = runtime.block_on(intake.connect()).unwrap();
    let say = |letter: &Letter| told(runtime.block_on(submit(&at, letter)).unwrap_err());
    let letter = |change: &dyn Fn(&mut NewOrder)| {
        let mut openings = Openings::default();
        let place = At::Account("alice");
        let mut new = order(&mut openings, "court-order", Holding::Freeze, place);
        change(&mut new);
        intake.seal(Body::OrderAdd(new), openings)
    };
    let kind = letter(&|new| new.regime = "letter-from-a-friend".to_owned());
    assert_eq!(refused(&desk, false, || say(&kind)), "order.unknown-kind");
    let end = letter(&|new| new.ends = Some(new.issued));
    assert_eq!(
        refused(&desk, false, || say(&end)),
        "order.end-before-begin"
    );
    let empty = letter(&|new| new.scope.clear());
    // What it named is opened and stands in it no more.
    assert_eq!(refused(&desk, false, || say(&empty)), "opening.extra");
    // Another's words, and one's own without the role, are tried for everyone to see.
    let legal = Hand::of(&desk, "legal");
    let retire = Body::PersonRetire(PersonRetire { person: legal.id });
    let retire = intake.seal(retire, Openings::default());
    assert_eq!(refused(&desk, true, || say(&retire)), "role");
    assert!(
        desk.run("admin", &["order", "list"])["orders"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // A token that nobody gave out opens nothing, and says what to do.
    let nobody = runtime.block_on(intake.connect_as_nobody());
    let good = letter(&|_| {});
    let status = runtime.block_on(submit(&nobody, &good)).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    let rule = refused(&desk, false, || told(status.clone()));
    assert_eq!(rule, "not-logged-in");
    assert!(status.message().contains("holdfast login"));
    assert!(!runtime.block_on(submit(&at, &good)).unwrap().duplicate);
}

#[test]
fn a_statement_over_the_limit_is_refused_before_anything_of_it_is_done() {
    let desk = house();
    let accounts: Vec<_> = (0..480).map(|n| format!("account:name-{n}")).collect();
    let mut words = vec!["order", "add", "--kind", "own-policy", "--authority", "A"];
    words.extend(["--reference", "R", "--received", "now"]);
    for account in &accounts {
        words.extend(["--include", account]);
    }
    let rule = refused(&desk, false, || desk.fails("intake", &words, 3));
    assert_eq!(rule, "statement.too-long");

    let runtime = Runtime::new().unwrap();
    let services = runtime
        .block_on(Hand::of(&desk, "intake").connect())
        .unwrap();
    let request = v1::SubmitRequest {
        entry: vec![b'x'; 70_000].into(),
        ..Default::default()
    };
    let mut door = services.desk.clone();
    let status = runtime.block_on(door.submit(request)).unwrap_err();
    assert_eq!(refused(&desk, false, || told(status)), "entry.too-long");
}

#[test]
fn a_policy_for_one_opens_no_log() {
    let desk = Desk::bare();
    let config = desk.text("policies.toml");
    let policy = |approvals: u32| {
        format!(
            "origin = \"test.holdfast.invalid/log\"\n[policy.release]\napprovals = {approvals}\n\
             roles = [\"approver\"]\nnotice_hours = 0\n"
        )
    };
    fs::write(&config, policy(1)).unwrap();
    let output = desk.init_command(&["--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("act alone"), "{said}");
    assert!(!desk.at("server").exists(), "nothing half-done");
    fs::write(&config, policy(2)).unwrap();
    desk.init(&["--config", &config]);
}

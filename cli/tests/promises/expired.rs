//! P2: no clock deletes. An order that has run out frees nothing, and is shown to have.

use crate::{
    CONTENT, all_held,
    common::{attempts::is_held, is_root, until},
    hold, house, id,
};

#[test]
fn an_order_that_has_run_out_is_shown_as_expired_and_frees_nothing() {
    if !is_root("an_order_that_has_run_out_is_shown_as_expired_and_frees_nothing") {
        return;
    }
    let mut desk = house();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let ends = soon.to_string();
    let (order, held) = hold(&desk, "account:store:alice", &["--freeze", "--ends", &ends]);
    let file = desk.at("store/alice/letter");
    let expired = until("the order runs out", || {
        let shown = desk.run("legal", &["order", "show", id(&order)]);
        (shown["status"] == "expired").then_some(shown)
    });
    assert_eq!(expired["keep_until"]["latest"], expired["ends"]);
    assert!(is_held(&file, CONTENT));
    // Neither do restarts of those who have seen it run out.
    desk.stop();
    desk.stop_agent("store");
    desk.start();
    desk.start_agent("store");
    assert!(is_held(&file, CONTENT));
    all_held(&desk);
    let shown = desk.run("legal", &["hold", "show", id(&held)]);
    assert_eq!(
        (&shown["held"], &shown["states"]["verified"]),
        (&true.into(), &1.into())
    );
    let log = desk.entries("legal");
    let said = log.iter().filter(|entry| entry["kind"] == "order.expired");
    assert_eq!(said.count(), 1);
    // It awaits disposition: a lift is asked for, and approved, by people.
    let lift = desk.run("legal", &["hold", "lift", "--hold", id(&held), "--dry-run"]);
    assert_eq!(lift["leaves"][0]["id"], held["targets"][0]["id"]);
}

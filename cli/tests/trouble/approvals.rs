//! Approvals that do not count.

use custody::{
    house::act::Act,
    id::RequestId,
    statement::{Approve, Body},
    time::{Span, Time},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    common::{
        is_root,
        wire::{Hand, Letter, Openings, submit},
    },
    hold, house, id, is_clear, news, refused, told,
};

#[test]
fn an_approval_fits_one_request_of_somebody_else_and_counts_once() {
    if !is_root("an_approval_fits_one_request_of_somebody_else_and_counts_once") {
        return;
    }
    let mut desk = house();
    desk.agent("store");
    let held = hold(&desk, "server:store", &["--wait"]);
    let lift = || {
        let asked = desk.run("legal", &["hold", "lift", "--hold", id(&held)]);
        asked["request"].clone()
    };
    let (first, second) = (lift(), lift());
    let own = || desk.fails("legal", &["approve", id(&first)], 3);
    assert_eq!(refused(&desk, true, own), "approval.own-request");

    let runtime = Runtime::new().unwrap();
    let (a1, a2) = (Hand::of(&desk, "a1"), Hand::of(&desk, "a2"));
    let at = runtime.block_on(a1.connect()).unwrap();
    let other = runtime.block_on(a2.connect()).unwrap();
    let approval = |hand: &Hand, request: &Value, read: &Value, expires: Time| {
        let act: Act = serde_json::from_value(read["asks"].clone()).unwrap();
        let body = Body::Approve(Approve {
            request: id(request).parse::<RequestId>().unwrap(),
            entry: read["leaf"].as_str().unwrap().parse().unwrap(),
            act,
            expires,
        });
        hand.seal(body, Openings::default())
    };
    let later = cli::session::now() + Span::hours(1);
    let letter = approval(&a1, &first, &first, later);
    let counted = runtime.block_on(submit(&at, &letter)).unwrap();
    assert!(!counted.duplicate);
    // The same bytes once more are the same approval, by whoever they are sent.
    let before = desk.entries("admin").len();
    for services in [&at, &other] {
        let again = runtime.block_on(submit(services, &letter)).unwrap();
        assert!(again.duplicate && again.index == counted.index);
    }
    assert_eq!(desk.entries("admin").len(), before);

    let say = |services, letter: &Letter| {
        let answer = runtime.block_on(submit(services, letter));
        told(answer.unwrap_err())
    };
    // What was read and signed for one request is nothing for another.
    let moved = approval(&a1, &second, &first, later);
    let moved = refused(&desk, true, || say(&at, &moved));
    assert_eq!(moved, "approval.other-request");
    let past = approval(&a2, &first, &first, cli::session::now());
    assert_eq!(
        refused(&desk, true, || say(&other, &past)),
        "approval.expired"
    );
    let twice = approval(&a1, &first, &first, later);
    assert_eq!(refused(&desk, true, || say(&at, &twice)), "approval.twice");
    for (request, votes) in [(&first, 1), (&second, 0)] {
        let shown = desk.run("legal", &["request", "show", id(request)]);
        assert_eq!(shown["votes"].as_array().unwrap().len(), votes, "{shown}");
        assert_eq!(shown["status"], "open");
    }
    assert_eq!(
        desk.run("legal", &["hold", "show", id(&held)])["held"],
        true
    );

    // Who is retired is out at once, on record when trying, and what was signed stays signed.
    desk.run("admin", &["person", "retire", "a1"]);
    let late = approval(&a1, &second, &second, later);
    let status = runtime.block_on(submit(&at, &late)).unwrap_err();
    assert_eq!(refused(&desk, false, || told(status)), "not-logged-in");
    let out = || desk.fails("a1", &["approve", id(&second)], 3);
    let before = desk.entries("admin").len();
    is_clear(out()["message"].as_str().unwrap());
    let expected = [("refused".to_owned(), "login.retired".to_owned())];
    assert_eq!(news(&desk, before), expected);
    let again = runtime.block_on(submit(&other, &letter)).unwrap();
    assert!(again.duplicate, "it stands for ever");
    let one_sided = desk.run("legal", &["request", "show", id(&first)]);
    assert_eq!(one_sided["status"], "open");
}

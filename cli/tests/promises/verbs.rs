//! P1, P3: no verb that is shipped frees or changes what is held, but a lift that two approved.

use serde_json::Value;

use crate::{
    CONTENT, all_held,
    common::{Desk, attempts::is_held, done, is_root},
    hold, house, id, in_vault,
};

#[test]
fn no_verb_that_is_shipped_frees_or_changes_what_is_held() {
    if !is_root("no_verb_that_is_shipped_frees_or_changes_what_is_held") {
        return;
    }
    let mut desk = house();
    let (order, frozen) = hold(&desk, "account:store:alice", &["--freeze"]);
    let (_, kept) = hold(&desk, "account:store:bob", &["--preserve"]);
    let files = [
        desk.at("store/alice/letter"),
        desk.at("store/alice/mail/1"),
        in_vault(&desk, &kept, "letter"),
    ];
    let still = |desk: &Desk, after: &str| {
        for file in &files {
            assert!(is_held(file, CONTENT), "{} after {after}", file.display());
        }
        all_held(desk);
    };
    still(&desk, "placing");

    words_about_orders(&desk, &order, &frozen);
    still(&desk, "words about orders");
    requests(&desk, &frozen);
    still(&desk, "requests");
    let refused = desk.fails("admin", &["agent", "retire", "store"], 3);
    assert_eq!(refused["rule"], "agent.holds");
    release_and_erase(&desk, &frozen);
    still(&desk, "a release, and the erasure of its owner's data");
    for person in ["operator", "intake"] {
        let retired = desk.run("admin", &["person", "retire", person]);
        assert_eq!(retired["retired"], true);
    }
    desk.add("operator-2", "operator");
    let check = |desk: &Desk| desk.run("operator-2", &["hold", "check"])["held"].clone();
    assert_eq!(check(&desk), 2);

    // Restarts, kind or not, of either side or both.
    desk.stop();
    desk.kill_agent("store");
    for file in &files {
        assert!(is_held(file, CONTENT), "with nobody there");
    }
    desk.start();
    desk.start_agent("store");
    assert_eq!(check(&desk), 2);
    // A new enrolment, and a configuration that names the place no more.
    desk.stop_agent("store");
    let again = desk.text("again.invitation");
    let words = ["agent", "invite", "store", "--again", "store", "--out"];
    desk.run("admin", &[&words[..], &[&again]].concat());
    std::fs::rename(again, desk.at("store.invitation")).unwrap();
    done(&mut desk.enrol_command("store"));
    desk.start_agent("store");
    assert_eq!(check(&desk), 2);
    desk.stop_agent("store");
    std::fs::write(desk.agent_data("store").join("agent.toml"), "").unwrap();
    desk.start_agent("store");
    for file in &files {
        assert!(is_held(file, CONTENT), "with no root configured");
    }
    let log = desk.entries("legal");
    let freed = |entry: &&Value| entry["kind"] == "hold.lowered";
    assert_eq!(log.iter().filter(freed).count(), 0);
}

fn words_about_orders(desk: &Desk, order: &Value, frozen: &Value) {
    let order = id(order);
    let narrow = ["order", "narrow", order, "--exclude", "account:store:alice"];
    desk.run("legal", &narrow);
    desk.run("legal", &["order", "withdraw", order]);
    let extend = ["order", "extend", order, "--reference", "R2"];
    assert_eq!(desk.fails("legal", &extend, 3)["rule"], "order.withdrawn");
    let again = ["hold", "place", "--order", order];
    desk.fails("operator", &again, 3);
    // Withdrawn, and each hold under it stands as it stood.
    let shown = desk.run("operator", &["hold", "show", id(frozen)]);
    assert_eq!(shown["held"], true);
}

fn requests(desk: &Desk, frozen: &Value) {
    let lift = ["hold", "lift", "--hold", id(frozen)];
    for (who, rule) in [("operator", "role"), ("claims", "role"), ("a1", "role")] {
        assert_eq!(desk.fails(who, &lift, 3)["rule"], rule, "{who}");
    }
    let asked = |desk: &Desk| id(&desk.run("legal", &lift)["request"]).to_owned();
    let rejected = asked(desk);
    desk.run("a1", &["approve", &rejected]);
    desk.run("a2", &["reject", &rejected]);
    let late = desk.fails("a2", &["approve", &rejected], 3);
    assert_eq!(late["rule"], "approval.rejected");
    // Two have approved, and the notice of three days is not over.
    let noticed = asked(desk);
    for approver in ["a1", "a2"] {
        desk.run(approver, &["approve", &noticed]);
    }
    let shown = desk.run("legal", &["request", "show", &noticed]);
    assert_eq!(shown["status"], "open");
}

/// The owner gets a copy; the evidence stays where it is.
fn release_and_erase(desk: &Desk, frozen: &Value) {
    let words = ["snapshot", "take", "--hold", id(frozen), "--wait"];
    desk.run("operator", &words);
    let owner = age::x25519::Identity::generate().to_public().to_string();
    let mut words = vec!["claim", "file", "--recipient", &owner, "--sworn"];
    words.extend(["--item", "account:store:alice", "--wait"]);
    let claim = desk.run("claims", &words);
    let asked = desk.run("claims", &["request", "release", id(&claim)]);
    for approver in ["a1", "a2"] {
        desk.run(approver, &["approve", id(&asked["requests"][0])]);
    }
    let release = asked["requests"][0]["release"].as_str().unwrap();
    desk.run("claims", &["release", "show", release, "--wait"]);
    let parcel = desk.text("parcel.age");
    desk.run("claims", &["release", "fetch", release, "--out", &parcel]);
    desk.run("claims", &["claim", "withdraw", id(&claim)]);
    desk.run("legal", &["claim", "erase", id(&claim)]);
}

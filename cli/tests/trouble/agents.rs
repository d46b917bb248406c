//! Agents that are away, retired, asked for what is not theirs, or not who they say.

use std::{fs, process::Command};

use custody::{
    house::hold::Target,
    id::{HoldId, OrderId, TargetId},
    statement::{Body, HoldPlace},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    common::{
        is_root, program, until,
        wire::{Hand, Openings, submit},
    },
    hold, house, id, is_clear, news, order_for, order_words, refused,
};

#[test]
fn a_place_outside_the_roots_is_never_held_and_a_claim_for_what_is_not_held_gets_nothing() {
    let test =
        "a_place_outside_the_roots_is_never_held_and_a_claim_for_what_is_not_held_gets_nothing";
    if !is_root(test) {
        return;
    }
    let mut desk = house();
    desk.agent("store");
    fs::create_dir(desk.at("elsewhere")).unwrap();
    let outside = desk.at("elsewhere");
    let order = order_for(&desk, &format!("path:store:{}", outside.display()));
    let words = ["hold", "place", "--order", &order];
    let mut said = String::new();
    let rule = refused(&desk, false, || {
        let no = desk.fails("operator", &words, 3);
        said = no["message"].to_string();
        no
    });
    assert_eq!(rule, "hold.targets");
    assert!(said.contains("outside the allowed roots"), "{said}");

    // Said to the coordinator all the same, it is the agent that refuses.
    let shown = desk.run("operator", &["order", "show", &order]);
    let agent = desk.run("operator", &["agent", "show", "store"]);
    let operator = Hand::of(&desk, "operator");
    let mut openings = Openings::default();
    let random = || cli::session::random().unwrap();
    let target = TargetId::from_random(random());
    let body = HoldPlace {
        hold: HoldId::from_random(random()),
        order: order.parse::<OrderId>().unwrap(),
        targets: vec![Target {
            target,
            item: shown["scope"][0]["item"].as_str().unwrap().parse().unwrap(),
            agent: id(&agent).parse().unwrap(),
            path: openings.commit("path", outside.to_str().unwrap()),
        }],
        at_least: None,
    };
    let runtime = Runtime::new().unwrap();
    let at = runtime.block_on(operator.connect()).unwrap();
    let letter = operator.seal(Body::HoldPlace(body), openings);
    runtime.block_on(submit(&at, &letter)).unwrap();
    let target = target.to_string();
    let failed = until("the agent says no", || {
        let shown = desk.run("operator", &["hold", "show", &target]);
        (shown["state"] == "failed").then_some(shown)
    });
    assert_eq!(
        (&failed["trouble"], &failed["held"]),
        (&"outside-roots".into(), &false.into())
    );

    let held = hold(&desk, "account:alice", &["--wait"]);
    desk.run(
        "operator",
        &["snapshot", "take", "--hold", id(&held), "--wait"],
    );
    let owner = age::x25519::Identity::generate().to_public().to_string();
    let words = [
        "claim",
        "file",
        "--recipient",
        &owner,
        "--item",
        "account:bob",
        "--sworn",
        "--wait",
    ];
    let before = desk.entries("admin").len();
    let claim = desk.run("claims", &words);
    assert_eq!(claim["matched"], 0);
    until("it is on record that nothing held matches", || {
        let refusal = ("refused".to_owned(), "claim.nothing-held".to_owned());
        news(&desk, before).contains(&refusal).then_some(())
    });
    let ask = || desk.fails("claims", &["request", "release", id(&claim)], 3);
    assert_eq!(refused(&desk, false, ask), "claim.nothing-held");
}

#[test]
fn an_agent_that_is_away_is_requested_and_holds_first_when_it_returns() {
    if !is_root("an_agent_that_is_away_is_requested_and_holds_first_when_it_returns") {
        return;
    }
    let mut desk = house();
    desk.agent("store");
    assert!(desk.stop_agent("store").success());
    let mut shots = Vec::new();
    for account in ["account:store:alice", "account:store:bob"] {
        let placed = hold(&desk, account, &[]);
        assert_eq!(
            (&placed["held"], &placed["targets"][0]["state"]),
            (&false.into(), &"requested".into())
        );
        let words = ["snapshot", "take", "--hold", id(&placed)];
        let taken = desk.run("operator", &words);
        assert_eq!(taken["snapshots"][0]["state"], "requested");
        shots.push(id(&taken["snapshots"][0]).to_owned());
    }
    assert_eq!(
        desk.fails("operator", &["hold", "check"], 4)["rule"],
        "hold.not-held"
    );
    let before = desk.entries("admin").len();
    desk.start_agent("store");
    for shot in &shots {
        until("the snapshot is received", || {
            let shown = desk.run("operator", &["snapshot", "show", shot]);
            (shown["state"] == "received").then_some(())
        });
    }
    assert_eq!(desk.run("operator", &["hold", "check"])["held"], 2);
    let kinds: Vec<_> = news(&desk, before).into_iter().map(|(k, _)| k).collect();
    let places = |kind: &str| {
        let found = kinds.iter().enumerate().filter(|(_, k)| *k == kind);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let (verified, sealed) = (places("hold.verified"), places("snapshot.sealed"));
    assert_eq!((verified.len(), sealed.len()), (2, 2), "{kinds:?}");
    // Both were taken on before anything was read, and each was proved before it was captured.
    assert!(places("hold.acknowledged").iter().all(|at| *at < sealed[0]));
    assert!(verified[0] < sealed[0] && verified[1] < sealed[1]);
}

#[test]
fn a_retired_agent_is_turned_away_says_why_and_is_on_record() {
    if !is_root("a_retired_agent_is_turned_away_says_why_and_is_on_record") {
        return;
    }
    let mut desk = house();
    // A wrong token first: nothing of it stays, and the right one still serves.
    let invitation = desk.text("store.invitation");
    desk.run("admin", &["agent", "invite", "store", "--out", &invitation]);
    let good = fs::read_to_string(&invitation).unwrap();
    let at = good.find("token = \"").unwrap() + 9;
    let mut wrong = good.clone().into_bytes();
    wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
    fs::write(&invitation, wrong).unwrap();
    fs::create_dir(desk.agent_data("store")).unwrap();
    let before = desk.entries("admin").len();
    let output = desk.enrol_command("store").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    is_clear(said.trim().strip_prefix("holdfast-agent: ").unwrap());
    let expected = [("refused".to_owned(), "enrol.token".to_owned())];
    assert_eq!(news(&desk, before), expected);
    assert!(!desk.agent_data("store").join("enrolment.toml").exists());
    fs::remove_file(&invitation).unwrap();
    desk.run("admin", &["agent", "retire", "store"]);

    desk.agent("away");
    let before = desk.entries("admin").len();
    desk.run("admin", &["agent", "retire", "away"]);
    let told = until("the agent says why", || {
        let mut status = Command::new(program("agent", "holdfast-agent"));
        status
            .args(["status", "--json", "--data"])
            .arg(desk.agent_data("away"));
        let status = status.output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["running"], true, "it goes on holding");
        status["live"]["trouble"].as_str().map(str::to_owned)
    });
    assert!(told.contains("does not admit"), "{told}");
    is_clear(&told);
    // Whoever comes back with the old certificate is on record.
    assert!(desk.stop_agent("away").success());
    desk.start_agent("away");
    until("the attempt is on record", || {
        let refusal = ("refused".to_owned(), "agent.certificate".to_owned());
        news(&desk, before).contains(&refusal).then_some(())
    });
    let order = || desk.fails("intake", &order_words("server:away"), 3);
    assert_eq!(refused(&desk, false, order), "unknown");
}

//! Repurposing a server: a clearance is asked for, and what wipes runs only through the gate.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    path::Path,
    process::{Command, Output},
};

use common::{Desk, is_root, program, until};
use serde_json::Value;

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn house() -> Desk {
    let mut desk = Desk::new();
    for (name, roles) in [
        ("intake", "intake"),
        ("legal", "legal"),
        ("operator", "operator"),
    ] {
        desk.add(name, roles);
    }
    for path in ["alice/letter", "bob/letter", "carol/letter"] {
        let path = desk.at("store").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "dear").unwrap();
    }
    desk.agent("store");
    desk
}

fn hold(desk: &Desk, include: &str) -> (String, String) {
    let words = ["order", "add", "--kind", "court-order", "--authority", "A"];
    let more = [
        "--reference",
        "R",
        "--received",
        "now",
        "--include",
        include,
    ];
    let order = id(&desk.run("intake", &[&words[..], &more].concat()));
    let words = ["hold", "place", "--order", &order, "--wait"];
    (order.clone(), id(&desk.run("operator", &words)))
}

fn cleared(desk: &Desk, words: &[&str]) -> String {
    let ask = [&["clearance", "ask", "--server", "store"], words].concat();
    let answer = desk.run("operator", &ask);
    assert_eq!(answer["state"], "given", "{answer}");
    id(&answer)
}

/// Runs the gate on the agent's machine.
fn gate(desk: &Desk, clearance: &str, path: Option<&Path>, command: &[&str]) -> Output {
    let mut gate = Command::new(program("agent", "holdfast-agent"));
    gate.args(["gate", "--data"]).arg(desk.agent_data("store"));
    gate.args(["--clearance", clearance]);
    if let Some(path) = path {
        gate.arg("--path").arg(path);
    }
    gate.arg("--").args(command).output().unwrap()
}

#[track_caller]
fn is_shut(output: &Output, code: i32, because: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(because), "{said}");
}

/// Scenario 12.
#[test]
fn what_is_held_is_not_cleared_and_what_is_free_is_wiped_once_through_the_gate() {
    if !is_root("what_is_held_is_not_cleared_and_what_is_free_is_wiped_once_through_the_gate") {
        return;
    }
    let desk = house();
    let (alice, bob) = (desk.text("store/alice"), desk.text("store/bob"));
    let (_, held) = hold(&desk, &format!("path:store:{alice}"));
    for words in [&["--path", alice.as_str()][..], &[]] {
        let ask = [&["clearance", "ask", "store"], words].concat();
        let output = desk.output("operator", &ask);
        let error = common::error(&output, 3);
        assert_eq!(error["rule"], "clearance.refused");
        assert!(error["message"].as_str().unwrap().contains(&held));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["holds"], Value::from(vec![held.clone()]));
    }

    let exported = desk.text("clearance");
    let free = cleared(&desk, &["--path", &bob, "--out", &exported]);
    for file in ["asked", "answered"] {
        assert!(desk.at(&format!("clearance/{file}.entry")).exists());
        assert!(desk.at(&format!("clearance/{file}.tlog-proof")).exists());
    }
    let bob_path = desk.at("store/bob");
    let rm = ["rm", "-rf", bob.as_str()];
    // What the command names counts, and not only what it says it would wipe.
    let more = ["rm", "-rf", bob.as_str(), alice.as_str()];
    is_shut(&gate(&desk, &free, Some(&bob_path), &more), 3, "names");
    let carol = desk.at("store/carol");
    let wide = gate(&desk, &free, Some(&carol), &["rm", "-rf"]);
    is_shut(&wide, 3, "More would be wiped than the clearance names");
    assert!(bob_path.join("letter").exists() && carol.join("letter").exists());

    let done = gate(&desk, &free, Some(&bob_path), &rm);
    assert!(done.status.success(), "{done:?}");
    assert!(!bob_path.exists() && desk.at("store/alice/letter").exists());
    let shown = desk.run("operator", &["clearance", "show", &free]);
    assert_eq!(shown["state"], "used");
    let again = gate(&desk, &free, Some(&carol), &["true"]);
    is_shut(&again, 3, "was used before");
    let exit = cleared(&desk, &["--path", carol.to_str().unwrap()]);
    let ended = gate(&desk, &exit, Some(&carol), &["sh", "-c", "exit 42"]);
    assert_eq!(ended.status.code(), Some(42), "the command's own code");
}

#[test]
fn a_hold_that_comes_after_the_clearance_shuts_the_gate_and_so_does_silence() {
    if !is_root("a_hold_that_comes_after_the_clearance_shuts_the_gate_and_so_does_silence") {
        return;
    }
    let mut desk = house();
    let (alice, bob) = (desk.at("store/alice"), desk.at("store/bob"));
    let first = cleared(&desk, &["--path", bob.to_str().unwrap()]);
    let second = cleared(&desk, &["--path", alice.to_str().unwrap()]);
    hold(&desk, &format!("path:store:{}", alice.display()));
    let shut = gate(&desk, &second, Some(&alice), &["true"]);
    is_shut(&shut, 3, "It must be lifted");
    // The order alone, before its hold: the agent knows nothing of it yet.
    let words = ["order", "add", "--kind", "court-order", "--authority", "A"];
    let include = format!("path:store:{}", bob.display());
    let more = [
        "--reference",
        "R",
        "--received",
        "now",
        "--include",
        &include,
    ];
    let order = id(&desk.run("intake", &[&words[..], &more].concat()));
    let shut = gate(&desk, &first, Some(&bob), &["true"]);
    is_shut(&shut, 3, "an order names it");
    desk.run("legal", &["order", "withdraw", &order]);
    assert!(gate(&desk, &first, Some(&bob), &["true"]).status.success());

    let carol = desk.at("store/carol");
    let third = cleared(&desk, &["--path", carol.to_str().unwrap()]);
    desk.stop();
    let rm = ["rm", "-rf", carol.to_str().unwrap()];
    is_shut(
        &gate(&desk, &third, Some(&carol), &rm),
        1,
        "cannot be reached",
    );
    assert!(carol.join("letter").exists());
}

#[test]
fn a_root_wiped_without_a_clearance_is_an_incident_and_with_one_is_none() {
    if !is_root("a_root_wiped_without_a_clearance_is_an_incident_and_with_one_is_none") {
        return;
    }
    let mut desk = house();
    let wiped = |desk: &Desk| {
        let entries = desk.entries("operator").into_iter();
        let found: Vec<_> = entries.filter(|entry| entry["kind"] == "finding").collect();
        found.len()
    };
    let store = desk.at("store");
    let empty = |desk: &mut Desk| {
        let _ = std::fs::remove_dir_all(&store);
        std::fs::create_dir(&store).unwrap();
        desk.start_agent("store");
        until("the agent connects", || {
            let shown = desk.run("admin", &["agent", "show", "store"]);
            (shown["connected"] == true).then_some(())
        });
    };
    let clearance = cleared(&desk, &[]);
    assert!(gate(&desk, &clearance, None, &["true"]).status.success());
    desk.stop_agent("store");
    empty(&mut desk);
    assert_eq!(wiped(&desk), 0);
    desk.stop_agent("store");
    // The use of the clearance does not explain what comes days later.
    let uses = desk.agent_data("store").join("gate");
    std::fs::remove_dir_all(uses).unwrap();
    empty(&mut desk);
    until("the incident", || (wiped(&desk) == 1).then_some(()));
    desk.stop_agent("store");
    desk.start_agent("store");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(wiped(&desk), 1, "told once");
}

//! A guest's limits, from the operator's words to the server and back: set, paused and resumed while
//! it reads, and how far it is meanwhile.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::Command;

use common::{Desk, done, is_root, program, until};
use serde_json::{Value, json};

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn status(desk: &Desk) -> Value {
    let mut command = Command::new(program("agent", "holdfast-agent"));
    command.args(["status", "--json", "--data"]);
    let said = done(command.arg(desk.agent_data("store")));
    serde_json::from_str(&said).unwrap()
}

fn house() -> Desk {
    let mut desk = Desk::new();
    for role in ["intake", "operator", "custodian"] {
        desk.add(role, role);
    }
    let folder = desk.at("store").join("alice");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("letter"), vec![7; 8 << 20]).unwrap();
    desk.agent("store");
    desk
}

#[test]
fn limits_are_set_shown_and_lifted_by_operators_alone() {
    let desk = house();
    let limit = |words: &[&str]| {
        let all = [&["agent", "limit", "store"], words].concat();
        desk.run("operator", &all)
    };
    let words = [
        "--cpu",
        "20%",
        "--read",
        "100MB/s",
        "--hours",
        "22:00-06:00",
    ];
    let view = limit(&words);
    assert_eq!(view["recorded"].as_array().unwrap().len(), 1);
    let expected = json!({
        "cpu_percent": 20, "read_bytes": 100_000_000, "from_minute": 1320, "until_minute": 360,
    });
    assert_eq!(view["limits"], expected);
    let again = limit(&words);
    assert_eq!(again["recorded"], json!([]), "said once is enough");
    until("the server has them", || {
        (status(&desk)["limits"] == expected).then_some(())
    });
    let told = done(desk.person("operator").args(["agent", "list"]));
    assert!(
        told.contains("20% cpu, 95.3 MiB/s, 22:00-06:00 UTC"),
        "{told}"
    );

    // What is not named stays; a pause is apart from the limits.
    let view = limit(&["--reads", "500", "--hours", "none"]);
    let expected = json!({ "cpu_percent": 20, "read_bytes": 100_000_000, "reads": 500 });
    assert_eq!(view["limits"], expected);
    desk.run("operator", &["agent", "pause", "store"]);
    assert_eq!(limit(&["--none"])["limits"], json!({ "paused": true }));
    let view = desk.run("operator", &["agent", "resume", "store"]);
    assert_eq!(view["limits"], json!({}));

    for wrong in [
        &["--cpu", "20"][..],
        &[],
        &["--none", "--cpu", "5%"],
        &["--hours", "9-5"],
    ] {
        let words = [&["agent", "limit", "store"], wrong].concat();
        assert_eq!(
            desk.output("operator", &words).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    let no = desk.fails("intake", &["agent", "pause", "store"], 3);
    assert_eq!(no["rule"], "role");
    let no = desk.fails("operator", &["agent", "pause", "nobody"], 3);
    assert_eq!(no["rule"], "unknown");
}

#[test]
fn a_paused_snapshot_says_so_and_goes_on_when_it_is_resumed() {
    if !is_root("a_paused_snapshot_says_so_and_goes_on_when_it_is_resumed") {
        return;
    }
    let desk = house();
    let path = desk.text("store/alice");
    let include = format!("path:store:{path}");
    let words = ["order", "add", "--kind", "court-order", "--authority", "A"];
    let more = [
        "--reference",
        "R",
        "--received",
        "now",
        "--include",
        &include,
    ];
    let order = id(&desk.run("intake", &[&words[..], &more].concat()));
    desk.run("operator", &["agent", "pause", "store"]);
    // Holding is never limited.
    let hold = id(&desk.run("operator", &["hold", "place", "--order", &order, "--wait"]));
    let taken = desk.run("custodian", &["snapshot", "take", "--hold", &hold]);
    let snapshot = id(&taken["snapshots"][0]);
    let show = || desk.run("custodian", &["snapshot", "show", &snapshot]);
    let underway = until("it waits", || {
        let underway = show()["underway"].clone();
        (underway["waits"] == "paused").then_some(underway)
    });
    assert_eq!(
        (&underway["task"], &underway["about"]),
        (&json!("capture"), &json!(snapshot))
    );
    assert_eq!(underway["total_bytes"], 8 << 20);
    let told = done(
        desk.person("custodian")
            .args(["snapshot", "show", &snapshot]),
    );
    assert!(told.contains("capture: "), "{told}");
    assert!(told.contains("of 8.0 MiB; paused"), "{told}");
    let told = done(desk.person("operator").args(["agent", "show", "store"]));
    assert!(
        told.contains("PAUSED") && told.contains("under way"),
        "{told}"
    );

    desk.run("operator", &["agent", "resume", "store"]);
    until("it is received", || {
        let view = show();
        (view["state"] == "received" && view["underway"].is_null()).then_some(())
    });
}

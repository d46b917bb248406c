//! The whole road with a real coordinator and a real agent: order, hold, snapshot, claim, votes,
//! parcel.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Desk, skipped};
use serde_json::Value;

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[test]
fn an_owner_gets_the_own_files_and_nobody_acts_alone() {
    if !rustix::process::geteuid().is_root() {
        return skipped(
            "an_owner_gets_the_own_files_and_nobody_acts_alone",
            "needs root to hold files",
        );
    }
    let mut desk = Desk::new();
    for (name, roles) in [
        ("intake", "intake"),
        ("legal", "legal"),
        ("operator", "operator,custodian"),
        ("claims", "claims"),
        ("a1", "approver"),
        ("a2", "approver"),
    ] {
        desk.add(name, roles);
    }
    for (path, content) in [
        ("alice/letter", "dear"),
        ("alice/mail/1", "one"),
        ("bob/1", "not hers"),
    ] {
        let path = desk.at("store").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    desk.agent("store");

    let order = desk.run(
        "intake",
        &[
            "order",
            "add",
            "--kind",
            "us-2703f",
            "--authority",
            "A",
            "--reference",
            "R",
            "--received",
            "now",
            "--include",
            "server:store",
        ],
    );
    let plan = desk.run(
        "operator",
        &["hold", "place", "--order", id(&order), "--dry-run"],
    );
    assert_eq!(
        (plan["planned"].as_array().unwrap().len(), &plan["id"]),
        (1, &Value::Null)
    );
    let hold = desk.run(
        "operator",
        &["hold", "place", "--order", id(&order), "--wait"],
    );
    assert_eq!(
        (&hold["held"], &hold["targets"][0]["state"]),
        (&true.into(), &"verified".into())
    );
    assert!(
        !hold["targets"][0]["means"]["does_not_prevent"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_eq!(desk.run("operator", &["hold", "check"])["held"], 1);
    let plan = desk.run("legal", &["hold", "lift", "--hold", id(&hold), "--dry-run"]);
    assert_eq!(
        (plan["leaves"].as_array().unwrap().len(), &plan["stays"]),
        (1, &Value::Array(vec![]))
    );

    let taken = desk.run(
        "operator",
        &["snapshot", "take", "--hold", id(&hold), "--wait"],
    );
    let shot = &taken["snapshots"][0];
    assert_eq!(
        (&shot["state"], &shot["sealed"]["unreadable"]),
        (&"received".into(), &0.into())
    );
    assert_eq!(
        desk.run("operator", &["snapshot", "check", id(shot)])["rows_recomputed"],
        true
    );
    let export = desk.text("export");
    assert_eq!(
        desk.run(
            "operator",
            &["snapshot", "export", id(shot), "--out", &export]
        )["salt_key"],
        true
    );
    assert!(desk.at("export/sealed.tlog-proof").exists());

    let owner = age::x25519::Identity::generate();
    let key = owner.to_public().to_string();
    let file = |items: &[&str]| {
        let mut words = vec!["claim", "file", "--recipient", &key, "--sworn", "--wait"];
        items.iter().for_each(|item| words.extend(["--item", item]));
        desk.run("claims", &words)
    };
    let nothing = file(&["account:nobody"]);
    assert_eq!(
        desk.fails("claims", &["request", "release", id(&nothing)], 3)["rule"],
        "claim.nothing-held"
    );
    let claim = file(&["account:store:alice"]);
    let files = desk.run("claims", &["claim", "match", id(&claim)]);
    let names: Vec<_> = files["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["path"].as_str().unwrap())
        .collect();
    assert!(
        names.iter().any(|n| n.ends_with("alice/letter"))
            && !names.iter().any(|n| n.contains("bob")),
        "{names:?}"
    );

    // A second claim over one of the files freezes it; the rest may go.
    let hash = files["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["path"].as_str().unwrap().ends_with("letter"));
    let item = format!("hash:{}", hash.unwrap()["sha256"].as_str().unwrap());
    let rival = file(&[&item]);
    assert_eq!(
        desk.run("claims", &["claim", "match", id(&claim)])["contested"],
        1
    );
    assert_eq!(
        desk.fails("claims", &["request", "release", id(&rival)], 3)["rule"],
        "release.contested"
    );
    desk.run("claims", &["claim", "withdraw", id(&rival)]);

    let asked = desk.run("claims", &["request", "release", id(&claim)]);
    let request = &asked["requests"][0];
    assert_eq!(
        request["rows"].as_u64().unwrap(),
        files["files"].as_array().unwrap().len() as u64
    );
    assert_eq!(
        desk.fails("claims", &["approve", id(request)], 3)["rule"],
        "role"
    );
    let voted = desk.run("a1", &["approve", id(request)]);
    assert_eq!(
        (&voted["status"], voted["votes"].as_array().unwrap().len()),
        (&"open".into(), 1)
    );
    assert_eq!(
        desk.fails("a1", &["approve", id(request)], 3)["rule"],
        "approval.twice"
    );
    desk.run("a2", &["approve", id(request)]);
    let release = request["release"].as_str().unwrap();
    let shown = desk.run("claims", &["release", "show", release, "--wait"]);
    assert_eq!(shown["state"], "spooled");

    // A download goes on where it stopped, and other bytes never get the name.
    let parcel = desk.text("parcel.age");
    let fetched = desk.run("claims", &["release", "fetch", release, "--out", &parcel]);
    let content = std::fs::read(&parcel).unwrap();
    assert_eq!(content.len() as u64, fetched["bytes"].as_u64().unwrap());
    let again = desk.text("again.age");
    std::fs::write(desk.at("again.age.part"), &content[..content.len() / 2]).unwrap();
    desk.run("claims", &["release", "fetch", release, "--out", &again]);
    assert_eq!(std::fs::read(&again).unwrap(), content);
    let spoiled = desk.text("spoiled.age");
    std::fs::write(desk.at("spoiled.age.part"), b"not it").unwrap();
    assert_eq!(
        desk.fails(
            "claims",
            &["release", "fetch", release, "--out", &spoiled],
            4
        )["rule"],
        "file.differs"
    );
    assert!(!desk.at("spoiled.age").exists() && !desk.at("spoiled.age.part").exists());
    assert_eq!(
        desk.fails("a1", &["release", "fetch", release, "--out", &spoiled], 3)["exit"],
        3
    );

    let receipt = desk.text("receipt.json");
    let got = desk.run(
        "claims",
        &["release", "receipt", release, "--out", &receipt],
    );
    assert!(got["entries"].as_u64().unwrap() >= 10);

    desk.stop_agents();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let shown = desk.run("operator", &["hold", "show", id(&hold)]);
        if shown["targets"][0]["agent_connected"] == false {
            break;
        }
        assert!(
            std::time::Instant::now() < until,
            "an agent that is gone is still called connected"
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn a_server_that_is_away_is_requested_and_never_called_held() {
    let mut desk = Desk::new();
    desk.add("intake", "intake");
    desk.add("operator", "operator");
    std::fs::create_dir_all(desk.at("store/alice")).unwrap();
    desk.agent("store");
    desk.stop_agents();
    let path = format!("path:store:{}", desk.text("store/alice"));
    let order = desk.run(
        "intake",
        &[
            "order",
            "add",
            "--kind",
            "own-policy",
            "--authority",
            "A",
            "--reference",
            "R",
            "--received",
            "now",
            "--include",
            &path,
        ],
    );
    let placed = desk.run("operator", &["hold", "place", "--order", id(&order)]);
    assert_eq!(
        (&placed["held"], &placed["targets"][0]["state"]),
        (&false.into(), &"requested".into())
    );
    let error = desk.fails("operator", &["hold", "check"], 4);
    assert_eq!(error["rule"], "hold.not-held");
}

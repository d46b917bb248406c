//! A seizure from the first hold to the last lift: nobody acts alone, and a file is free only
//! when its last reason is gone.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::common::{
    Desk,
    attempts::attempts,
    done,
    mounted::{Mounted, can_mount},
    tool, until,
};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

struct Case {
    desk: Desk,
}

impl Case {
    fn freeze(&self, include: &str) -> String {
        let words = [
            "order",
            "add",
            "--kind",
            "court-order",
            "--freeze",
            "--authority",
            "A",
            "--reference",
            "R",
            "--received",
            "now",
            "--include",
            include,
        ];
        let order = self.desk.run("intake", &words);
        let words = ["hold", "place", "--order", id(&order), "--wait"];
        let held = self.desk.run("operator", &words);
        let means = &held["targets"][0]["means"];
        assert_eq!(means["mechanism"], "immutable-flag", "{held}");
        assert_eq!(means["file_system"], "ext4");
        id(&held).to_owned()
    }

    /// Has a hold lifted: by nobody alone, by two it is.
    fn lift(&self, hold: &str, still: &Path) {
        let words = ["hold", "lift", "--hold", hold];
        let asked = self.desk.run("legal", &words);
        let request = id(&asked["request"]).to_owned();
        let own = self.desk.fails("legal", &["approve", &request], 3);
        assert_eq!(own["rule"], "approval.own-request");
        let one = self.desk.run("a1", &["approve", &request]);
        assert_eq!(one["status"], "open");
        let twice = self.desk.fails("a1", &["approve", &request], 3);
        assert_eq!(twice["rule"], "approval.twice");
        assert_eq!(attempts(still), [""; 0], "one person freed it");
        self.desk.run("a2", &["approve", &request]);
        until("the hold is lifted", || {
            let shown = self.desk.run("operator", &["hold", "show", hold]);
            (shown["targets"][0]["state"] == "lifted").then_some(())
        });
    }
}

#[test]
fn a_seized_file_is_free_only_when_its_last_reason_was_lifted_by_two() {
    if !can_mount("a_seized_file_is_free_only_when_its_last_reason_was_lifted_by_two") {
        return;
    }
    let disk = Mounted::new("ext4", 64);
    let data = disk.path().join("data");
    for path in ["alice/mail/1", "alice/mail/2", "alice/letter", "alice/old"] {
        let path = data.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "as it was").unwrap();
    }
    // Somebody had a reason of his own before any order came.
    let flagged = data.join("alice/old");
    done(Command::new("chattr").arg("+i").arg(&flagged));

    let desk = Desk::bare();
    // As the shipped example, but for the notice that a lift waits.
    let example = include_str!("../../../deploy/examples/config.toml");
    let config = example.replace("notice_hours = 72", "notice_hours = 0");
    assert_ne!(config, example);
    fs::write(desk.at("policies.toml"), config).unwrap();
    desk.init(&["--config", &desk.text("policies.toml")]);
    let mut case = Case { desk };
    case.desk.start();
    case.desk.log_in("admin");
    for (name, roles) in [
        ("intake", "intake"),
        ("legal", "legal"),
        ("operator", "operator"),
        ("a1", "approver"),
        ("a2", "approver"),
    ] {
        case.desk.add(name, roles);
    }
    let config = format!("[[roots]]\npath = {data:?}\n");
    case.desk.agent_with("store", &config);

    let (letter, mail) = (data.join("alice/letter"), data.join("alice/mail/1"));
    let whole = case.freeze("account:store:alice");
    let part = case.freeze(&format!("path:store:{}/alice/mail", data.display()));
    for file in [&letter, &mail, &flagged] {
        assert_eq!(attempts(file), [""; 0], "{}", file.display());
    }
    case.lift(&whole, &letter);
    // The other reason has not changed, and is proved still.
    assert_eq!(attempts(&mail), [""; 0]);
    let shown = case.desk.run("operator", &["hold", "show", &part]);
    assert_eq!(shown["held"], true);
    let went = attempts(&letter);
    assert!(
        went.contains(&"truncate") && went.contains(&"rename"),
        "{went:?}"
    );

    case.lift(&part, &mail);
    let went = attempts(&mail);
    assert!(
        went.contains(&"truncate") && went.contains(&"rename"),
        "{went:?}"
    );
    assert!(fs::remove_file(data.join("alice/mail/2")).is_ok());
    // What was flagged before the hold is flagged still.
    let refused = File::options().write(true).open(&flagged).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    done(Command::new("chattr").arg("-i").arg(&flagged));

    the_log_says_so(&mut case);
}

/// Two approvals of two people stand before each lift, and what was lowered is said.
fn the_log_says_so(case: &mut Case) {
    let entries = case.desk.entries("legal");
    let kinds: Vec<_> = entries
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    let count = |kind: &str| kinds.iter().filter(|found| **found == kind).count();
    for (kind, expected) in [
        ("request.make", 2),
        ("request.approve", 4),
        ("request.executed", 2),
        ("hold.verified", 2),
        ("hold.lowered", 2),
    ] {
        assert_eq!(count(kind), expected, "{kind}: {kinds:?}");
    }
    let mut voters = Vec::new();
    for entry in &entries {
        match entry["kind"].as_str().unwrap() {
            "request.approve" => voters.push(entry["author"].clone()),
            "request.executed" => {
                let [one, two] = &*std::mem::take(&mut voters) else {
                    panic!("not two approvals before entry {}", entry["index"]);
                };
                assert_ne!(one, two);
            }
            _ => {}
        }
    }
    assert!(case.desk.stop_agent("store").success());
    assert!(case.desk.stop().success());
    case.desk.replay();
    let mut verify = tool();
    verify.arg("verify").arg(case.desk.at("server/log"));
    done(verify.arg("--vkey").arg(case.desk.at("server/log.vkey")));
}

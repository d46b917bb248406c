//! An order is narrowed by the court: what is shown before, what two people let go, what the
//! server then frees, and what it goes on holding.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

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

struct Court {
    desk: Desk,
    data: PathBuf,
    _disk: Mounted,
}

impl Court {
    fn new() -> Self {
        let disk = Mounted::new("ext4", 64);
        let data = disk.path().join("data");
        for path in ["alice/letter", "bob/1", "bob/2", "bob/mail/3", "carol/x"] {
            let path = data.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "12345").unwrap();
        }
        let desk = Desk::bare();
        let example = include_str!("../../../deploy/examples/config.toml");
        let config = example.replace("notice_hours = 72", "notice_hours = 0");
        fs::write(desk.at("policies.toml"), config).unwrap();
        desk.init(&["--config", &desk.text("policies.toml")]);
        let mut court = Self {
            desk,
            data,
            _disk: disk,
        };
        court.desk.start();
        court.desk.log_in("admin");
        for (name, roles) in [
            ("intake", "intake"),
            ("legal", "legal"),
            ("operator", "operator"),
            ("a1", "approver"),
            ("a2", "approver"),
        ] {
            court.desk.add(name, roles);
        }
        let config = format!(
            "[[roots]]\npath = {:?}\naccounts = \"{{account}}\"\n",
            court.data
        );
        court.desk.agent_with("store", &config);
        court
    }

    fn order(&self, include: &str) -> String {
        let words = ["order", "add", "--kind", "court-order", "--freeze"];
        let rest = ["--authority", "A", "--reference", "R", "--received", "now"];
        let words = [&words[..], &rest, &["--include", include]].concat();
        id(&self.desk.run("intake", &words)).to_owned()
    }

    fn held(&self, order: &str) -> String {
        let words = ["hold", "place", "--order", order, "--wait"];
        id(&self.desk.run("operator", &words)).to_owned()
    }

    fn text(&self, who: &str, words: &[&str]) -> String {
        let output = self.desk.person(who).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.data.join(name).to_str().unwrap().to_owned()
    }

    fn approved(&self, request: &str) {
        for voter in ["a1", "a2"] {
            self.desk.run(voter, &["approve", request]);
        }
    }

    /// Waits until every place that a hold's only target was to lose is free.
    fn freed(&self, hold: &str, places: usize) -> Value {
        let begun = std::time::Instant::now();
        let freed = until("the places are freed", || {
            let shown = self.desk.run("operator", &["hold", "show", hold]);
            let target = &shown["targets"][0];
            let left = target["left"].as_array().unwrap();
            let free = left.iter().filter(|out| out["free"] == true).count();
            (free == places && target["state"] == "verified").then(|| shown.clone())
        });
        // At once, and not only when tasks that nobody answered are sent again.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        freed
    }
}

fn is_free(file: &Path) -> bool {
    let went = attempts(file);
    went.contains(&"truncate") && went.contains(&"rename")
}

#[test]
fn what_a_court_takes_out_of_an_order_leaves_by_two_people_and_the_rest_stays_proved() {
    let name = "what_a_court_takes_out_of_an_order_leaves_by_two_people_and_the_rest_stays_proved";
    if !can_mount(name) {
        return;
    }
    let mut court = Court::new();
    let order = court.order("server:store");
    plan_tells_how_and_why(&court, &order);
    let whole = court.held(&order);
    // Another court holds one of Bob's folders, too.
    let other = court.order(&format!("path:store:{}", court.path("bob/mail")));
    let mail = court.held(&other);

    let nothing = court.desk.fails(
        "legal",
        &["hold", "lift", "--order", &order, "--narrowed"],
        3,
    );
    assert_eq!(nothing["rule"], "hold.nothing-leaves");
    let exclude = ["account:bob", "account:nobody"];
    let words = [
        "order",
        "narrow",
        &order,
        "--exclude",
        exclude[0],
        "--exclude",
        exclude[1],
    ];
    court.desk.run("legal", &words);
    let lift = ["hold", "lift", "--order", &order, "--narrowed"];
    plan_counts_what_leaves(&court, &lift, &mail);
    assert_eq!(
        attempts(&court.data.join("bob/1")),
        [""; 0],
        "a plan frees nothing"
    );

    // Asked for, and taken back while that can be done.
    let asked = court.desk.run("legal", &lift);
    let request = id(&asked["request"]).to_owned();
    let shown = court.desk.run("a1", &["request", "show", &request]);
    assert_eq!(shown["act"], "narrow");
    assert_eq!(shown["places"][0]["path"], court.path("bob"));
    assert_eq!(
        (&shown["reversible"], &shown["taken_back"]),
        (&true.into(), &false.into())
    );
    let text = court.text("a1", &["request", "show", &request]);
    assert!(
        text.contains("can be taken back") && text.contains("not before"),
        "{text}"
    );
    let back = court.desk.run("legal", &["reject", &request]);
    assert_eq!(
        (&back["status"], &back["taken_back"]),
        (&"rejected".into(), &true.into())
    );

    // Asked for again: by nobody alone, by two it is, and then it is final.
    let asked = court.desk.run("legal", &lift);
    let request = id(&asked["request"]).to_owned();
    court.desk.run("a1", &["approve", &request]);
    assert_eq!(
        attempts(&court.data.join("bob/1")),
        [""; 0],
        "one person freed it"
    );
    court.desk.run("a2", &["approve", &request]);
    let shown = court.freed(&whole, 1);
    assert_eq!(shown["targets"][0]["left"][0]["path"], court.path("bob"));
    let late = court.desk.fails("legal", &["reject", &request], 3);
    assert_eq!(late["rule"], "approval.executed");
    let text = court.text("a1", &["request", "show", &request]);
    assert!(text.contains("it cannot be taken back"), "{text}");

    assert!(is_free(&court.data.join("bob/1")));
    assert!(fs::remove_file(court.data.join("bob/2")).is_ok());
    for still in ["alice/letter", "carol/x", "bob/mail/3"] {
        assert_eq!(attempts(&court.data.join(still)), [""; 0], "{still}");
    }
    assert_eq!(court.desk.run("operator", &["hold", "check"])["ok"], true);
    let means = &shown["targets"][0]["means"];
    assert_eq!(
        (&means["files"], &means["bytes"]),
        (&json!(2), &json!(10)),
        "{means}"
    );

    by_hand(&court, &whole);
    show_says_all(&court, &whole);
    what_came_later_is_told(&court);
    the_log_verifies(&mut court);
}

/// Before anything is placed: the mechanism, why, and what it prevents; and what is too weak.
fn plan_tells_how_and_why(court: &Court, order: &str) {
    let dry = ["hold", "place", "--order", order, "--dry-run"];
    let plan = court.desk.run("operator", &dry);
    let survey = &plan["planned"][0]["survey"];
    assert_eq!(survey["mechanism"], "immutable-flag", "{plan}");
    assert_eq!(
        (&survey["file_system"], &survey["refused"]),
        (&"ext4".into(), &Value::Null)
    );
    assert!(
        survey["because"]
            .as_str()
            .unwrap()
            .contains("a freeze stops")
    );
    assert!(!survey["does_not_prevent"].as_array().unwrap().is_empty());
    let properties = &plan["mechanisms"]["immutable-flag"];
    assert_eq!(
        (&properties["survives_root"], &properties["lives_on"]),
        (&"found".into(), &"no".into())
    );
    let text = court.text("operator", &dry);
    for line in [
        "prevents change",
        "survives root",
        "does not prevent:",
        "why immutable-flag",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let strict = [&dry[..], &["--at-least", "reflink-vault"]].concat();
    let plan = court.desk.run("operator", &strict);
    let planned = &plan["planned"][0];
    assert_eq!(planned["survey"]["refused"], "too-weak");
    assert!(planned["next"].as_str().unwrap().contains("--at-least"));
    let text = court.text("operator", &strict);
    assert!(text.contains("COULD NOT BE HELD (too-weak)"), "{text}");
    let words = [&dry[..], &["--at-least", "hope"]].concat();
    court.desk.fails("operator", &words, 2);
    // Placed all the same, it is refused there, and says what to do.
    let words = [
        "hold",
        "place",
        "--order",
        order,
        "--at-least",
        "reflink-vault",
        "--wait=20s",
    ];
    let output = court.desk.output("operator", &words);
    assert_eq!(output.status.code(), Some(1));
    let placed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = &placed["targets"][0];
    assert_eq!(
        (&target["state"], &target["trouble"]),
        (&"failed".into(), &"too-weak".into())
    );
    assert!(target["next"].as_str().unwrap().contains("--at-least"));
    let lift = court
        .desk
        .run("legal", &["hold", "lift", "--hold", id(&placed)]);
    court.approved(id(&lift["request"]));
}

/// What leaves and what stays, by which reason, counted; and until when it could be taken back.
fn plan_counts_what_leaves(court: &Court, lift: &[&str], mail: &str) {
    let dry = [lift, &["--dry-run"]].concat();
    let plan = court.desk.run("legal", &dry);
    assert_eq!(plan["leaves"], json!([]));
    assert_eq!(plan["parts"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["parts"][0]["path"], court.path("bob"));
    let stays = &plan["stays"][0];
    assert_eq!(stays["path"], court.path("bob"));
    assert_eq!(stays["because"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(
        (&stays["because"][0]["hold"], &stays["because"][0]["covers"]),
        (&mail.into(), &"part".into())
    );
    let counted = &plan["counted"][0];
    let figures = [
        "leaving_files",
        "leaving_bytes",
        "kept_files",
        "kept_bytes",
        "staying_files",
        "staying_bytes",
    ];
    let figures = figures.map(|name| counted[name].as_u64().unwrap());
    assert_eq!(figures, [3, 15, 1, 5, 2, 10], "{counted}");
    let unresolved = plan["unresolved"].as_array().unwrap();
    assert_eq!(unresolved.len(), 1, "{plan}");
    assert!(plan["cut_off"].is_string() && plan["request"].is_null());
    let text = court.text("legal", &dry);
    for line in [
        "NARROW 1 target: 1 place leave",
        "3 files, 15 B leave this reason, 1 file, 5 B",
        "from then on it is final",
        "a part of it, in place",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// A part of a hold, named by hand.
fn by_hand(court: &Court, whole: &str) {
    let outside = ["hold", "lift", "--hold", whole, "--path", "/nowhere"];
    assert_eq!(
        court.desk.fails("legal", &outside, 3)["rule"],
        "hold.not-below"
    );
    let carol = court.path("carol/x");
    let words = ["hold", "lift", "--hold", whole, "--path", &carol];
    let plan = court
        .desk
        .run("legal", &[&words[..], &["--dry-run"]].concat());
    assert_eq!(
        (&plan["parts"][0]["path"], &plan["stays"]),
        (&carol.as_str().into(), &json!([]))
    );
    assert_eq!(plan["counted"][0]["leaving_files"], 1);
    // The root itself is all of it.
    let all = [
        "hold",
        "lift",
        "--hold",
        whole,
        "--path",
        &court.path(""),
        "--dry-run",
    ];
    let all = all.map(|word| word.strip_suffix('/').unwrap_or(word));
    let plan = court.desk.run("legal", &all);
    assert_eq!(
        (plan["leaves"].as_array().unwrap().len(), &plan["parts"]),
        (1, &json!([]))
    );
    assert_eq!(plan["counted"][0]["leaving_files"], 2, "{plan}");

    let asked = court.desk.run("legal", &words);
    court.approved(id(&asked["request"]));
    court.freed(whole, 2);
    // The file is free; the folder around it is not.
    let went = attempts(&court.data.join("carol/x"));
    assert!(
        went.contains(&"truncate") && !went.contains(&"rename"),
        "{went:?}"
    );
    assert_eq!(attempts(&court.data.join("alice/letter")), [""; 0]);
}

fn show_says_all(court: &Court, whole: &str) {
    let text = court.text("operator", &["hold", "show", whole]);
    for line in [
        "frozen",
        ", as of 2",
        "the files themselves cannot change",
        "not read again yet",
        "second copy",
        ", freed",
        "prevents deletion",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "no colours where there is no terminal"
    );
    let shown = court.desk.run("operator", &["hold", "show", whole]);
    assert!(shown["targets"][0]["since"].is_string());
    assert_eq!(shown["targets"][0]["later"]["word"], "nothing");
    assert_eq!(shown["findings"], json!([]));
}

/// A preserved folder lives on: what came later is counted, and is not in what is held.
fn what_came_later_is_told(court: &Court) {
    let words = ["order", "add", "--kind", "own-policy", "--preserve"];
    let rest = ["--authority", "A", "--reference", "R", "--received", "now"];
    let include = format!("path:store:{}", court.path("bob"));
    let words = [&words[..], &rest, &["--include", &include]].concat();
    let order = id(&court.desk.run("intake", &words)).to_owned();
    let dry = ["hold", "place", "--order", &order, "--dry-run"];
    let survey = court.desk.run("operator", &dry)["planned"][0]["survey"].clone();
    assert_eq!(survey["mechanism"], "sealed-copy", "{survey}");
    assert!(
        survey["needs_bytes"].as_u64().unwrap() > 0 && survey["free_bytes"].as_u64().unwrap() > 0
    );
    let hold = court.held(&order);
    let later =
        || court.desk.run("operator", &["hold", "show", &hold])["targets"][0]["later"].clone();
    assert_eq!(later()["word"], "unchanged", "{}", later());
    fs::write(court.data.join("bob/new"), "later").unwrap();
    assert_eq!(later()["word"], "changed");
    let text = court.text("operator", &["hold", "show", &hold]);
    assert!(
        text.contains("changed or new beside it since; none of that is in it"),
        "{text}"
    );
}

fn the_log_verifies(court: &mut Court) {
    let entries = court.desk.entries("legal");
    let count = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!(count("hold.narrowed"), 2);
    assert!(court.desk.stop_agent("store").success());
    // Nobody there to count: then nothing is said of it, and the plan stands.
    let order = entries
        .iter()
        .find(|entry| entry["kind"] == "hold.place")
        .unwrap();
    let statement = &order["statement"];
    let target = statement["body"]["targets"][0]["target"].as_str();
    assert!(target.is_some(), "{statement}");
    assert!(court.desk.stop().success());
    court.desk.replay();
    let mut verify = tool();
    verify.arg("verify").arg(court.desk.at("server/log"));
    done(verify.arg("--vkey").arg(court.desk.at("server/log.vkey")));
}

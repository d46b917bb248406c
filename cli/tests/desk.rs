//! The tool against a real coordinator.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::{Command, Stdio};

use common::{Desk, error};
use custody::ledger::{entry::Entry, note::VerifierKey, proof::LogProof};
use serde_json::Value;

#[test]
fn people_log_in_are_added_and_keep_to_their_roles() {
    let desk = Desk::new();
    let who = desk.run("admin", &["whoami"]);
    assert_eq!(
        (&who["name"], &who["roles"][0]),
        (&"Ada".into(), &"admin".into())
    );
    assert_eq!(who["origin"], "test.holdfast.invalid/log");
    desk.add("intake", "intake");
    desk.add("two", "operator,custodian");
    let persons = desk.run("intake", &["person", "list"]);
    assert_eq!(persons["persons"].as_array().unwrap().len(), 3);

    let key = desk.text("two.pub");
    let no = desk.fails(
        "intake",
        &["person", "add", "X", "--role", "admin", "--key", &key],
        3,
    );
    assert_eq!(no["rule"], "role");
    let no = desk.fails(
        "admin",
        &["person", "add", "X", "--role", "admin", "--key", &key],
        3,
    );
    assert_eq!(no["rule"], "key.in-use");
    let private = desk.text("two");
    desk.fails(
        "admin",
        &["person", "add", "X", "--role", "admin", "--key", &private],
        2,
    );

    desk.run("admin", &["person", "retire", "two"]);
    let no = desk.fails("two", &["whoami"], 3);
    assert!(no["message"].as_str().unwrap().contains(' '), "{no}");
    assert_eq!(
        desk.fails("admin", &["person", "retire", "Ada"], 3)["rule"],
        "person.last-admin"
    );
    assert_eq!(
        desk.fails("admin", &["person", "show", "nobody"], 3)["rule"],
        "unknown"
    );
    let checks = desk.run("admin", &["doctor"]);
    assert!(
        checks["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["ok"] == true)
    );
}

#[test]
fn nobody_is_asked_twice_and_without_an_answer_nothing_is_done() {
    let desk = Desk::new();
    desk.add("legal", "legal");
    let output = desk
        .person("admin")
        .args(["--json", "person", "retire", "legal"])
        .output();
    error(&output.unwrap(), 2);
    assert_eq!(
        desk.run("admin", &["person", "show", "legal"])["retired"],
        false
    );
}

#[test]
fn a_session_that_ended_is_renewed_with_the_key() {
    let desk = Desk::new();
    let token = desk.at("config/admin/profiles/default.token");
    std::fs::remove_file(&token).unwrap();
    desk.run("admin", &["whoami"]);
    let text = std::fs::read_to_string(&token).unwrap();
    let spoiled = text.replacen("token = \"", "token = \"0", 1);
    std::fs::write(&token, spoiled).unwrap();
    desk.run("admin", &["whoami"]);
}

#[test]
fn a_key_in_the_ssh_agent_signs_and_a_locked_one_says_what_it_needs() {
    let desk = Desk::new();
    desk.make_key("locked", "a passphrase");
    let key = desk.text("locked.pub");
    desk.run(
        "admin",
        &["person", "add", "locked", "--role", "legal", "--key", &key],
    );
    // Without a terminal nobody can be asked for the passphrase.
    let output = Command::new("setsid")
        .arg("-w")
        .arg(env!("CARGO_BIN_EXE_holdfast"))
        .env("HOLDFAST_CONFIG", desk.at("config/locked"))
        .env_remove("SSH_AUTH_SOCK")
        .arg("--json")
        .args(desk.login_words("locked"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(error(&output, 1)["rule"], "key.passphrase");

    let socket = desk.at("agent.sock");
    let mut agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    desk.make_key("held", "");
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(desk.at("held"))
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.unwrap().success());
    let key = desk.text("held.pub");
    desk.run(
        "admin",
        &["person", "add", "held", "--role", "legal", "--key", &key],
    );
    std::fs::remove_file(desk.at("held")).unwrap();
    let run = |words: &[String]| {
        let mut command = desk.person("held");
        command
            .env("SSH_AUTH_SOCK", &socket)
            .arg("--json")
            .args(words)
            .output()
            .unwrap()
    };
    let output = run(&desk.login_words("held.pub"));
    assert!(output.status.success(), "{output:?}");
    let words = [
        "order",
        "add",
        "--kind",
        "own-policy",
        "--authority",
        "us",
        "--reference",
        "1",
        "--received",
        "now",
        "--include",
        "account:alice",
    ]
    .map(str::to_owned);
    let output = run(&words);
    assert!(output.status.success(), "{output:?}");
    let _ = agent.kill();
    let _ = agent.wait();
    let output = desk
        .person("held")
        .arg("--json")
        .args(words)
        .output()
        .unwrap();
    assert_eq!(error(&output, 1)["rule"], "key.not-in-agent");
}

#[test]
fn a_log_that_shrank_is_a_breach_and_nothing_is_sent() {
    let mut desk = Desk::new();
    desk.stop();
    let copy = |from: &str, to: &str| {
        let status = Command::new("cp")
            .arg("-a")
            .arg(desk.at(from))
            .arg(desk.at(to))
            .status();
        assert!(status.unwrap().success());
    };
    copy("server", "older");
    desk.start();
    let url = desk.url();
    desk.make_key("x", "");
    let key = desk.text("x.pub");
    desk.run(
        "admin",
        &[
            "--server", &url, "person", "add", "x", "--role", "legal", "--key", &key,
        ],
    );
    std::thread::sleep(std::time::Duration::from_millis(1500));
    desk.run("admin", &["--server", &url, "ledger", "checkpoint"]);
    desk.stop();
    std::fs::rename(desk.at("server"), desk.at("newer")).unwrap();
    std::fs::rename(desk.at("older"), desk.at("server")).unwrap();
    desk.start();
    let url = desk.url();
    let breach = desk.fails("admin", &["--server", &url, "person", "list"], 4);
    assert_eq!(breach["rule"], "checkpoint.went-back");
    assert!(breach["message"].as_str().unwrap().starts_with("BREACH"));
}

#[test]
fn the_log_is_the_one_that_was_pinned_or_none() {
    let desk = Desk::new();
    let seed = [7; 32];
    for (name, rule) in [
        ("other.holdfast.invalid/log", "log.other"),
        ("test.holdfast.invalid/log", "checkpoint.wrong"),
    ] {
        let key = custody::ledger::note::NoteKey::from_seed(name, 1, &seed).unwrap();
        std::fs::write(desk.at("wrong.vkey"), key.verifier().to_string()).unwrap();
        let words = desk.login_words("admin");
        let words: Vec<_> = words
            .iter()
            .map(|word| word.replace("server/log.vkey", "wrong.vkey"))
            .collect();
        let mut command = desk.person("wrong");
        let output = command
            .args(["--json", "--profile"])
            .arg(rule.replace('.', "-"))
            .args(&words)
            .output();
        assert_eq!(error(&output.unwrap(), 4)["rule"], rule);
        // A pin is never replaced.
        let output = desk
            .person("admin")
            .arg("--json")
            .args(&words)
            .output()
            .unwrap();
        assert_eq!(error(&output, 3)["rule"], "profile.pinned");
    }
}

fn order(desk: &Desk, more: &[&str]) -> Value {
    let mut words = vec![
        "order",
        "add",
        "--authority",
        "Court of X",
        "--reference",
        "4711",
    ];
    words.extend(more);
    desk.run("intake", &words)
}

#[test]
fn an_order_goes_through_its_life_and_its_receipt_verifies_without_us() {
    let desk = Desk::new();
    desk.add("intake", "intake");
    desk.add("legal", "legal");
    desk.add("claims", "claims");
    let added = order(
        &desk,
        &[
            "--kind",
            "us-2703f",
            "--received",
            "2026-08-18T09:30:00+02:00",
            "--include",
            "account:alice",
            "--include",
            "path:/srv/data/alice",
        ],
    );
    assert_eq!(
        (&added["holding"], &added["zone_minutes"]),
        (&"preserve".into(), &120.into())
    );
    assert_eq!(added["keep_until"]["earliest"], "2026-11-16T07:30:00.000Z");
    let id = added["id"].as_str().unwrap();
    // Any beginning that fits only one will do; other roles do not see the texts.
    let seen = desk.run("claims", &["order", "show", &id[..12]]);
    assert_eq!(
        (&seen["id"], &seen["authority"]),
        (&added["id"], &Value::Null)
    );
    assert_eq!(
        desk.run("intake", &["order", "show", id])["authority"],
        "Court of X"
    );

    desk.run("legal", &["order", "extend", id, "--reference", "4711-b"]);
    let no = desk.fails(
        "legal",
        &["order", "extend", id, "--reference", "4711-c"],
        3,
    );
    assert_eq!(no["rule"], "order.renewals-used");
    let narrowed = desk.run(
        "legal",
        &["order", "narrow", id, "--exclude", "path:/srv/data/alice/x"],
    );
    assert_eq!(narrowed["scope"].as_array().unwrap().len(), 3);
    assert_eq!(
        desk.fails("intake", &["order", "withdraw", id], 3)["rule"],
        "role"
    );
    assert_eq!(
        desk.run("legal", &["order", "withdraw", id])["status"],
        "withdrawn"
    );

    let out = desk.text("receipt");
    desk.run("intake", &["order", "receipt", id, "--out", &out]);
    let read = |name: &str| std::fs::read(desk.at("receipt").join(name)).unwrap();
    let key = VerifierKey::parse(std::str::from_utf8(&read("log.vkey")).unwrap()).unwrap();
    let proof = LogProof::parse(std::str::from_utf8(&read("order.tlog-proof")).unwrap()).unwrap();
    proof.verify(&read("order.entry"), &key).unwrap();
    let entry = Entry::parse(&read("order.entry")).unwrap();
    assert!(!entry.text().contains("4711") && !entry.text().contains("alice"));
    assert!(
        String::from_utf8(read("order.txt"))
            .unwrap()
            .contains("4711")
    );
}

#[test]
fn a_hold_that_would_stand_nowhere_is_refused() {
    let desk = Desk::new();
    desk.add("intake", "intake");
    desk.add("operator", "operator");
    let added = order(
        &desk,
        &[
            "--kind",
            "own-policy",
            "--received",
            "now",
            "--include",
            "account:alice",
        ],
    );
    let id = added["id"].as_str().unwrap();
    for words in [
        &["hold", "place", "--order", id][..],
        &["hold", "place", "--order", id, "--dry-run"],
    ] {
        assert_eq!(desk.fails("operator", words, 3)["rule"], "hold.targets");
    }
    assert_eq!(
        desk.run("operator", &["hold", "list"])["holds"],
        Value::Array(vec![])
    );
    let words = [
        "order",
        "add",
        "--authority",
        "A",
        "--reference",
        "R",
        "--kind",
        "own-policy",
        "--received",
        "now",
        "--include",
        "server:nowhere",
    ];
    assert_eq!(desk.fails("intake", &words, 3)["rule"], "unknown");
}

#[test]
fn a_mirror_is_the_log_and_notices_that_it_is_not() {
    let desk = Desk::new();
    desk.add("intake", "intake");
    let mirror = desk.text("mirror");
    let copied = desk.run("intake", &["ledger", "mirror", &mirror]);
    let size = copied["size"].as_u64().unwrap();
    let tile = format!("tile/entries/000.p/{size}");
    let bytes = |folder: &str| std::fs::read(desk.at(folder).join(&tile)).unwrap();
    assert_eq!(bytes("mirror"), bytes("server/log"));
    desk.add("legal", "legal");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let copied = desk.run("intake", &["ledger", "mirror", &mirror]);
    assert!(copied["new"].as_u64().unwrap() >= 1);

    // Someone swaps the mirror's checkpoint for one of another history.
    let checkpoint = std::fs::read_to_string(desk.at("mirror/checkpoint")).unwrap();
    let spoiled = checkpoint.replacen(&copied["size"].to_string(), "1", 1);
    std::fs::write(desk.at("mirror/checkpoint"), spoiled).unwrap();
    assert_eq!(
        desk.fails("intake", &["ledger", "mirror", &mirror], 4)["rule"],
        "mirror.checkpoint"
    );
}

#[test]
fn an_entry_is_shown_whole_and_its_proof_is_a_file() {
    let desk = Desk::new();
    let (proof, entry) = (desk.text("e.tlog-proof"), desk.text("e"));
    desk.run(
        "admin",
        &[
            "ledger",
            "prove",
            "0",
            "--out",
            &proof,
            "--entry-out",
            &entry,
        ],
    );
    let key =
        VerifierKey::parse(&std::fs::read_to_string(desk.at("server/log.vkey")).unwrap()).unwrap();
    let parsed = LogProof::parse(&std::fs::read_to_string(&proof).unwrap()).unwrap();
    parsed
        .verify(&std::fs::read(&entry).unwrap(), &key)
        .unwrap();
    let shown = desk.run("admin", &["ledger", "entry", "0"]);
    assert_eq!(shown["kind"], "log.opened");
    assert_eq!(
        shown["entry"].as_str().unwrap().as_bytes(),
        std::fs::read(&entry).unwrap()
    );
    assert_eq!(
        desk.fails("admin", &["ledger", "entry", "99"], 3)["exit"],
        3
    );
}

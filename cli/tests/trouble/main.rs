//! Bad input and bad luck: each is one clear sentence with the next step, the right exit code,
//! nothing half-done, and an entry in the log where outsiders should see that it was tried.
//!
//! What the tool sees by itself is tried in `usage.rs`; here it is told to the coordinator itself,
//! whatever the tool would have said.
#![allow(clippy::unwrap_used, missing_docs)]

mod agents;
mod approvals;
#[path = "../common/mod.rs"]
mod common;
mod full_disk;
mod statements;

use std::fs;

use cli::exit::{Exit, Trouble};
use common::Desk;
use serde_json::Value;
use tonic::Status;

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

fn is_clear(message: &str) {
    let sentences = message.matches(". ").count() + usize::from(message.ends_with('.'));
    let plain = !message.contains("..") && !message.contains("Error") && !message.contains('\n');
    assert!(sentences >= 2 && plain, "not clear: {message}");
}

/// What the log's newest entries say, from one on: kind, and the rule where it is a refusal.
fn news(desk: &Desk, from: usize) -> Vec<(String, String)> {
    let entries = desk.entries("admin");
    let read = |entry: &Value| {
        let rule = entry["statement"]["body"]["rule"].as_str();
        let kind = entry["kind"].as_str().unwrap();
        (kind.to_owned(), rule.unwrap_or_default().to_owned())
    };
    entries[from..].iter().map(read).collect()
}

/// Tries something that is refused; gives the rule. The log holds the refusal, or nothing of it.
fn refused(desk: &Desk, recorded: bool, attempt: impl FnOnce() -> Value) -> String {
    let before = desk.entries("admin").len();
    let no = attempt();
    is_clear(no["message"].as_str().unwrap());
    let rule = no["rule"].as_str().unwrap().to_owned();
    let expected = [("refused".to_owned(), rule.clone())];
    let found = news(desk, before);
    assert_eq!(found, &expected[..usize::from(recorded)], "{no}");
    rule
}

/// A status as the tool would end with it.
fn told(status: Status) -> Value {
    let trouble = Trouble::from(status);
    assert_eq!(trouble.exit, Exit::Refused, "{trouble}");
    serde_json::json!({ "rule": trouble.rule, "message": trouble.message })
}

/// A house with everybody in it.
fn house() -> Desk {
    house_on(Desk::new())
}

/// Everybody, in a house that was opened already.
fn house_on(desk: Desk) -> Desk {
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
    for path in ["store/alice/letter", "store/bob/letter"] {
        let path = desk.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "dear").unwrap();
    }
    desk
}

/// The words that add an order for one thing.
fn order_words(include: &str) -> [&str; 12] {
    [
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
        include,
    ]
}

fn order_for(desk: &Desk, include: &str) -> String {
    id(&desk.run("intake", &order_words(include))).to_owned()
}

fn hold(desk: &Desk, include: &str, wait: &[&str]) -> Value {
    let order = order_for(desk, include);
    let words = [&["hold", "place", "--order", &order], wait].concat();
    desk.run("operator", &words)
}

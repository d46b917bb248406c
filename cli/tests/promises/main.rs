//! The promises of the design that a whole house must keep, each tried on real processes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod alone;
mod canary;
#[path = "../common/mod.rs"]
mod common;
mod expired;
mod verbs;

use std::{fs, path::PathBuf};

use common::{Desk, until};
use serde_json::Value;

const CONTENT: &[u8] = b"as it was";

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

/// A house with everybody in it, and an agent with two customers' files.
fn house() -> Desk {
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
    for path in ["alice/letter", "alice/mail/1", "bob/letter"] {
        let path = desk.at("store").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, CONTENT).unwrap();
    }
    desk.agent("store");
    desk
}

/// Registers an order and holds what it names; gives both.
fn hold(desk: &Desk, include: &str, more: &[&str]) -> (Value, Value) {
    let mut words = vec!["order", "add", "--kind", "court-order"];
    words.extend(["--authority", "A", "--reference", "R", "--received", "now"]);
    words.extend(["--include", include]);
    words.extend(more);
    let order = desk.run("intake", &words);
    let words = ["hold", "place", "--order", id(&order), "--wait"];
    let held = desk.run("operator", &words);
    (order, held)
}

/// The one file of that name in the vault.
fn in_vault(desk: &Desk, held: &Value, name: &str) -> PathBuf {
    let target = held["targets"][0]["id"].as_str().unwrap();
    desk.at("store/.holdfast-vault")
        .join(target)
        .join("tree")
        .join(name)
}

/// Waits until everything that should be held is proved to be.
fn all_held(desk: &Desk) {
    until("everything is held", || {
        let output = desk.output("operator", &["hold", "check"]);
        output.status.success().then_some(())
    });
}

//! What can be told without a coordinator is told at once: the right code, one clear sentence.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{error, tool};
use serde_json::Value;

fn fails(words: &[&str], code: i32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = tool()
        .env("HOLDFAST_CONFIG", folder.path())
        .arg("--json")
        .args(words)
        .output()
        .unwrap();
    assert!(output.stdout.is_empty(), "results only on standard output");
    error(&output, code)
}

fn order(more: &[&str]) -> Vec<&'static str> {
    let words = ["order", "add", "--authority", "A", "--reference", "R"];
    let mut words: Vec<&'static str> = words.to_vec();
    words.extend(
        more.iter()
            .map(|word| &*Box::leak((*word).to_owned().into_boxed_str())),
    );
    words
}

#[test]
fn an_unknown_kind_of_order_is_refused_and_the_known_ones_are_named() {
    let words = [
        "--kind",
        "letter-from-a-friend",
        "--received",
        "now",
        "--include",
        "server:a",
    ];
    let error = fails(&order(&words), 3);
    assert_eq!(error["rule"], "order.unknown-kind");
    assert!(error["message"].as_str().unwrap().contains("us-2703f"));
}

#[test]
fn an_order_that_ends_before_it_begins_is_refused() {
    let words = [
        "--kind",
        "court-order",
        "--received",
        "2026-08-18T09:30:00Z",
        "--ends",
        "2026-08-17T09:30:00Z",
        "--include",
        "server:a",
    ];
    assert_eq!(fails(&order(&words), 3)["rule"], "order.end-before-begin");
}

#[test]
fn an_order_received_before_it_was_issued_or_in_the_future_is_refused() {
    let words = [
        "--kind",
        "court-order",
        "--received",
        "2026-08-18T09:30:00Z",
        "--issued",
        "2026-08-18T10:30",
        "--zone",
        "+00:00",
        "--include",
        "server:a",
    ];
    assert_eq!(
        fails(&order(&words), 3)["rule"],
        "order.received-before-issued"
    );
    let words = [
        "--kind",
        "court-order",
        "--received",
        "2999-01-01T00:00:00Z",
        "--include",
        "server:a",
    ];
    assert_eq!(fails(&order(&words), 3)["rule"], "order.received-in-future");
}

#[test]
fn an_order_that_names_nothing_is_refused() {
    let words = [
        "--kind",
        "court-order",
        "--received",
        "now",
        "--exclude",
        "server:a",
    ];
    assert_eq!(fails(&order(&words), 3)["rule"], "order.empty-scope");
}

#[test]
fn a_path_that_climbs_is_refused() {
    for path in ["path:/srv/../etc", "path:store:srv/data", "path:/srv//data"] {
        let words = [
            "--kind",
            "court-order",
            "--received",
            "now",
            "--include",
            path,
        ];
        assert_eq!(fails(&order(&words), 3)["rule"], "scope.path", "{path}");
    }
}

#[test]
fn what_makes_no_sense_is_usage() {
    for words in [
        &["frobnicate"][..],
        &["person", "add", "X", "--role", "king", "--key", "k.pub"],
        &["person", "add", "X", "--key", "k.pub"],
        &["agent", "invite", "X", "--out", "f", "--valid", "soon"],
        &["order", "show"],
        &["order", "withdraw", "ord-1", "--received", "yesterday"],
        &["hold", "lift"],
        &["hold", "lift", "--hold", "a", "--target", "b"],
        &["hold", "place", "--order", "o", "--wait=long"],
        &["snapshot", "take"],
        &[
            "claim",
            "file",
            "--recipient",
            "age1nonsense",
            "--item",
            "account:a",
            "--sworn",
        ],
        &[
            "claim",
            "file",
            "--recipient",
            "age1nonsense",
            "--item",
            "mailbox:a",
            "--sworn",
        ],
        &["whoami", "--profile", "../../etc/passwd"],
        &["whoami"],
        &["login"],
        &[
            "login",
            "--server",
            "http://x",
            "--authority",
            "a",
            "--vkey",
            "b",
            "--key",
            "c",
        ],
    ] {
        let said = tool().arg("--json").args(words).output().unwrap();
        let code = said.status.code().unwrap();
        // A file that is not there is the world's fault.
        assert!(matches!(code, 1 | 2), "{words:?} ended with {code}");
        assert!(said.stdout.is_empty());
        error(&said, code);
    }
    assert_eq!(fails(&["frobnicate"], 2)["rule"], "usage");
    assert_eq!(
        fails(&["person", "add", "X", "--role", "king", "--key", "k"], 2)["rule"],
        "usage"
    );
    assert_eq!(fails(&["whoami"], 2)["rule"], "usage");
}

#[test]
fn an_owners_secret_key_is_turned_away_before_it_goes_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.txt");
    std::fs::write(&file, "# public key: age1x\nAGE-SECRET-KEY-1QQQ\n").unwrap();
    let file = file.to_str().unwrap();
    let words = [
        "claim",
        "file",
        "--recipient",
        file,
        "--item",
        "account:a",
        "--sworn",
    ];
    assert_eq!(fails(&words, 3)["rule"], "claim.secret-key");
}

#[test]
fn a_claim_that_nobody_swore_to_is_refused() {
    let key = age::x25519::Identity::generate().to_public().to_string();
    let words = ["claim", "file", "--recipient", &key, "--item", "account:a"];
    assert_eq!(fails(&words, 3)["rule"], "claim.not-sworn");
}

#[test]
fn an_approval_counts_for_thirty_days_at_most() {
    let words = ["approve", "req-1", "--valid", "31d"];
    assert_eq!(fails(&words, 3)["rule"], "approval.too-long");
}

#[test]
fn the_kinds_of_order_are_listed_without_an_account() {
    let output = tool().args(["order", "kinds", "--json"]).output().unwrap();
    assert!(output.status.success());
    let kinds: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(kinds["kinds"][0]["id"], "us-2703f");
    assert_eq!(kinds["kinds"][0]["keep"]["amount"], 90);
    let plain = tool().args(["order", "kinds"]).output().unwrap();
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(
        text.lines()
            .any(|line| line.starts_with("us-2703f") && line.contains("90 days"))
    );
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn help_versions_completions_and_manual_pages_are_there() {
    for words in [
        &["--help"][..],
        &["--version"],
        &["hold", "place", "--help"],
        &["completions", "bash"],
    ] {
        let output = tool().args(words).output().unwrap();
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{words:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let output = tool()
        .args(["man", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(folder.path().join("holdfast-hold-place.1")).unwrap();
    assert!(page.contains("dry"));
}

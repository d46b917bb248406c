//! The verifier of logs asks the law: a tree that is whole does not make a wrong release right.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use custody::{
    digest::Digest,
    house::person::Role,
    statement::{Author, Body, PersonRetire, RequestExecuted, Seen},
    verify::{
        log::{Asked, Audited, audit},
        report::{Level, Verdict},
    },
};
use support::{AGENT, COORDINATOR, Log, Manifest, person, request};

type Files = BTreeMap<String, Vec<u8>>;

fn asked(log: &Log) -> Asked<'_> {
    Asked {
        key: Some(log.vkey()),
        key_is_from_outside: true,
        workers: 2,
        ..Asked::default()
    }
}

fn verdict(audited: &Audited) -> Verdict {
    audited.findings.verdict(audited.anchor.is_some())
}

fn places(audited: &Audited) -> Vec<String> {
    let broken = audited
        .findings
        .all()
        .iter()
        .filter(|f| f.level != Level::Note);
    broken.map(|f| f.place.clone()).collect()
}

fn check(files: &Files, log: &Log) -> (Verdict, Vec<String>, String) {
    let audited = audit(files, asked(log), &|_, _| {});
    let told = format!("{:#?}", audited.findings.all());
    (verdict(&audited), places(&audited), told)
}

fn story() -> Log {
    let manifest = Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")]);
    Log::story(&manifest, "age1owner", b"ciphertext")
}

/// Appends one statement that the law would refuse, and gives what the verifier says of it.
fn with_wrong(change: impl Fn(&mut Log)) -> (u64, String, Verdict) {
    let mut log = story();
    change(&mut log);
    let (verdict, _, told) = check(&log.files(), &log);
    (log.size() - 1, told, verdict)
}

#[test]
fn a_log_whose_coordinator_broke_the_law_is_valid_to_the_tree_and_not_to_the_verifier() {
    type Wrong = (&'static str, Box<dyn Fn(&mut Log)>);
    let by = |n: u8| Author::Person(person(n));
    let retire = |n: u8| Body::PersonRetire(PersonRetire { person: person(n) });
    let wrongs: Vec<Wrong> = vec![
        (
            "role",
            Box::new(move |log| {
                let said = log.statement(by(4), retire(5));
                log.force(&said, 4);
            }),
        ),
        (
            "entry.other-key",
            Box::new(move |log| {
                let said = log.statement(by(1), retire(5));
                log.force(&said, 2);
            }),
        ),
        (
            "entry.no-key",
            Box::new(move |log| {
                let said = log.statement(by(77), retire(5));
                log.force(&said, 77);
            }),
        ),
        (
            "entry.other-log",
            Box::new(move |log| {
                let mut said = log.statement(by(1), retire(5));
                said.log = "log.example/2".into();
                log.force(&said, 1);
            }),
        ),
        (
            "entry.repeated",
            Box::new(|log| {
                let again = log.entries[5].clone();
                log.push(again);
            }),
        ),
        (
            "agent.chain",
            Box::new(|log| {
                let again = log.entries[15].clone();
                log.push(again);
            }),
        ),
        (
            "entry.seen-ahead",
            Box::new(move |log| {
                let mut said = log.statement(by(1), retire(5));
                said.seen = Some(Seen {
                    size: 1000,
                    root: Digest::of(b"x"),
                });
                log.force(&said, 1);
            }),
        ),
        (
            "entry.seen-other",
            Box::new(move |log| {
                let mut said = log.statement(by(1), retire(5));
                said.seen = Some(Seen {
                    size: 9,
                    root: Digest::of(b"x"),
                });
                log.force(&said, 1);
            }),
        ),
        (
            "approval.executed",
            Box::new(|log| {
                let body = Body::RequestExecuted(RequestExecuted {
                    request: request(),
                    checkpoint: log.size(),
                });
                let said = log.statement(Author::Coordinator, body);
                log.force(&said, COORDINATOR);
            }),
        ),
        (
            "entry.malformed",
            Box::new(|log| {
                log.push(b"{}".to_vec());
            }),
        ),
        (
            "log.opened",
            Box::new(|log| {
                let body = log.body(0);
                let said = log.statement(Author::Coordinator, body);
                log.force(&said, COORDINATOR);
            }),
        ),
    ];
    for (code, wrong) in wrongs {
        let (index, told, verdict) = with_wrong(wrong);
        assert_eq!(verdict, Verdict::DoesNotVerify, "{code}");
        assert!(told.contains(code), "{code}: {told}");
        assert!(
            told.contains(&format!("\"entry {index}\"")),
            "{code}: {told}"
        );
    }
}

#[test]
fn a_release_that_one_person_or_the_asker_approved_does_not_verify() {
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    for voters in [vec![], vec![7], vec![7, 7], vec![6, 7], vec![2, 7]] {
        let mut log = Log::empty();
        log.held();
        log.sealed(&manifest);
        let asked = log.asked("age1owner", manifest.released());
        for voter in &voters {
            let vote = log.vote(asked);
            let said = log.statement(Author::Person(person(*voter)), vote);
            log.force(&said, *voter);
        }
        let checkpoint = log.size();
        let executed = RequestExecuted {
            request: request(),
            checkpoint,
        };
        let said = log.statement(Author::Coordinator, Body::RequestExecuted(executed));
        let index = log.force(&said, COORDINATOR);
        let (verdict, places, told) = check(&log.files(), &log);
        assert_eq!(verdict, Verdict::DoesNotVerify, "{voters:?}");
        assert!(
            places.contains(&format!("entry {index}")),
            "{voters:?}: {told}"
        );
        assert!(told.contains("approval.too-few"), "{voters:?}: {told}");
    }
}

#[test]
fn a_checkpoint_that_does_not_cover_the_votes_is_found() {
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    for (checkpoint, code) in [
        (3, "approval.no-checkpoint"),
        (500, "entry.checkpoint-ahead"),
    ] {
        let mut log = Log::empty();
        log.held();
        log.sealed(&manifest);
        let asked = log.asked("age1owner", manifest.released());
        for voter in [7, 8] {
            let vote = log.vote(asked);
            log.person(voter, vote);
        }
        let executed = RequestExecuted {
            request: request(),
            checkpoint,
        };
        let said = log.statement(Author::Coordinator, Body::RequestExecuted(executed));
        log.force(&said, COORDINATOR);
        let (verdict, _, told) = check(&log.files(), &log);
        assert_eq!(verdict, Verdict::DoesNotVerify);
        assert!(told.contains(code), "{told}");
    }
}

#[test]
fn what_this_build_does_not_understand_is_said_so_and_never_called_valid() {
    for (from, to) in [
        ("\"kind\":\"person.retire\"", "\"kind\":\"person.muzzle\""),
        ("\"v\":1", "\"v\":2"),
    ] {
        let mut log = story();
        let body = Body::PersonRetire(PersonRetire { person: person(5) });
        let said = log.statement(Author::Person(person(1)), body);
        let text = said.to_text().unwrap().replace(from, to);
        use custody::sign::Signer as _;
        let signature = support::secret(1)
            .sign(said.namespace(), text.as_bytes())
            .unwrap();
        let entry = custody::ledger::entry::Entry::seal(&text, &signature).unwrap();
        let index = log.push(entry.bytes().to_vec());
        let audited = audit(&log.files(), asked(&log), &|_, _| {});
        assert_eq!(verdict(&audited), Verdict::DoesNotVerify);
        let last = audited.findings.all().last().unwrap();
        assert_eq!(
            (last.level, last.place.clone()),
            (Level::NotUnderstood, format!("entry {index}"))
        );
    }
}

#[test]
fn an_agents_report_that_a_rule_turns_down_is_a_note_and_breaks_nothing() {
    let mut log = story();
    let body = log.body(15);
    let mut said = log.statement(Author::Agent(support::agent()), body);
    if let Body::HoldVerified(proof) = &mut said.body {
        proof.writers = 1;
    }
    log.force(&said, AGENT);
    let audited = audit(&log.files(), asked(&log), &|_, _| {});
    assert_eq!(verdict(&audited), Verdict::Valid, "{:?}", audited.findings);
    let noted = audited
        .findings
        .all()
        .iter()
        .any(|f| f.code == "entry.void");
    assert_eq!(noted, matches!(said.body, Body::HoldVerified(_)));
}

#[test]
fn a_release_from_what_an_order_keeps_from_leaving_is_found() {
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    let mut log = Log::empty();
    log.copies = custody::house::order::Copies::Forbidden;
    log.held();
    log.sealed(&manifest);
    let body = Body::RequestMake(custody::statement::RequestMake {
        request: request(),
        act: support::act(manifest.released()),
    });
    log.matched("age1owner", manifest.released());
    let said = log.statement(Author::Person(person(6)), body);
    let index = log.force(&said, 6);
    let (verdict, places, told) = check(&log.files(), &log);
    assert_eq!(verdict, Verdict::DoesNotVerify);
    assert_eq!(places, [format!("entry {index}")], "{told}");
    assert!(told.contains("release.copies-forbidden"), "{told}");
}

#[test]
fn everybody_in_the_tests_is_who_the_comments_say() {
    let log = story();
    let roles = |n| log.house.persons[&person(n)].roles.clone();
    assert_eq!(roles(6), [Role::Claims]);
    assert_eq!(roles(7), [Role::Approver]);
}

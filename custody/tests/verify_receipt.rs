//! Receipts: whole they verify, and with any byte of any part changed they do not.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use custody::{
    digest::Digest,
    ledger::note::NoteKey,
    statement::{Author, Body},
    verify::{
        receipt::{Receipt, Shown},
        report::Verdict,
        snapshot::{self, Card},
    },
};
use support::{COORDINATOR, Log, Manifest, person};

fn manifest() -> Manifest {
    Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")])
}

fn story() -> Log {
    Log::story(&manifest(), "age1owner", b"ciphertext")
}

fn verdict(shown: &Shown) -> Verdict {
    shown.findings.verdict(true)
}

#[test]
fn a_receipt_shows_who_approved_what_was_packed_and_for_whom() {
    let log = story();
    let bytes = serde_json::to_vec(&log.receipt()).unwrap();
    let shown = Receipt::parse(&bytes).unwrap().verify(Some(log.vkey()));
    assert_eq!(verdict(&shown), Verdict::Valid, "{:#?}", shown.findings);
    let parcel = shown.parcel.unwrap();
    assert_eq!(
        (parcel.digest, parcel.bytes),
        (Digest::of(b"ciphertext"), 10)
    );
    assert_eq!(shown.recipient.as_deref(), Some("age1owner"));
    assert_eq!(
        (shown.approvals, shown.demanded, shown.deliveries),
        (2, 2, 1)
    );
    assert_eq!(shown.roots, [(manifest().root, 3)]);
    // Without a key from outside it is consistent, and the caller knows that he gave none.
    let alone = Receipt::parse(&bytes).unwrap().verify(None);
    assert_eq!(alone.findings.verdict(false), Verdict::Unanchored);
}

#[test]
fn any_changed_byte_of_any_part_is_refused() {
    let log = story();
    let receipt = log.receipt();
    let bytes = serde_json::to_vec(&receipt).unwrap();
    let passes = |bytes: &[u8]| {
        let receipt = Receipt::parse(bytes);
        receipt.is_ok_and(|receipt| verdict(&receipt.verify(Some(log.vkey()))) == Verdict::Valid)
    };
    assert!(passes(&bytes));
    // Every part has its turn: a prime step walks through keys, entries, proofs and openings.
    for at in (0..bytes.len()).step_by(97) {
        for flip in [0x01, 0x20] {
            let mut other = bytes.clone();
            other[at] ^= flip;
            assert!(
                !passes(&other),
                "byte {at} flip {flip:#x}: {:?}",
                other[at] as char
            );
        }
    }
}

#[test]
fn every_entry_is_needed_and_none_may_be_exchanged() {
    let log = story();
    let receipt = log.receipt();
    let valid = |receipt: &Receipt| verdict(&receipt.verify(Some(log.vkey()))) == Verdict::Valid;
    for at in 0..receipt.entries.len() {
        let kind = log.body(receipt.entries[at].index).kind();
        let mut less = receipt.clone();
        let gone = less.entries.remove(at);
        // A person who neither asked, filed nor voted may be left out, and so may what only
        // says more: that it was spooled needs no delivery, but a delivery needs the spool.
        let silent = kind == "person.add" && !matches!(gone.index, 5..=7);
        assert_eq!(
            valid(&less),
            silent || kind == "release.delivered",
            "{kind} {}",
            gone.index
        );
        let mut twice = receipt.clone();
        twice.entries.push(gone.clone());
        assert!(!valid(&twice), "{kind} twice");
        let mut moved = receipt.clone();
        moved.entries[at].index += 1;
        assert!(!valid(&moved), "{kind} moved");
        let mut other = receipt.clone();
        other.entries[at].proof = receipt.entries[(at + 1) % receipt.entries.len()]
            .proof
            .clone();
        assert!(!valid(&other), "{kind} with another proof");
    }
}

#[test]
fn a_receipt_under_another_key_or_of_another_release_is_refused() {
    let log = story();
    let other = NoteKey::from_seed(support::ORIGIN, 1, &[1; 32]).unwrap();
    assert_eq!(
        verdict(&log.receipt().verify(Some(other.verifier()))),
        Verdict::DoesNotVerify
    );
    let mut receipt = log.receipt();
    receipt.release = custody::id::ReleaseId::from_random([7; 16]);
    assert_eq!(
        verdict(&receipt.verify(Some(log.vkey()))),
        Verdict::DoesNotVerify
    );
    let mut receipt = log.receipt();
    receipt.vkey = other.verifier().to_string();
    assert_eq!(
        verdict(&receipt.verify(Some(log.vkey()))),
        Verdict::DoesNotVerify
    );
}

#[test]
fn a_release_without_its_approvals_does_not_verify_though_every_proof_does() {
    for (voters, code) in [
        (vec![], "receipt.too-few"),
        (vec![7], "receipt.too-few"),
        (vec![6, 7, 8], "receipt.vote"),
        (vec![7, 7], "receipt.too-few"),
        (vec![4, 7, 8], "receipt.vote"),
    ] {
        let manifest = manifest();
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
        let request = support::request();
        let body = custody::statement::RequestExecuted {
            request,
            checkpoint,
        };
        let said = log.statement(Author::Coordinator, Body::RequestExecuted(body));
        log.force(&said, COORDINATOR);
        let release = support::release();
        let body = Body::ReleasePacked(custody::statement::ReleasePacked {
            release,
            parcel: Digest::of(b"p"),
            bytes: 1,
            files: 2,
        });
        let said = log.statement(Author::Agent(support::agent()), body);
        log.force(&said, support::AGENT);
        let shown = log.receipt().verify(Some(log.vkey()));
        assert_eq!(verdict(&shown), Verdict::DoesNotVerify, "{voters:?}");
        let told = format!("{:?}", shown.findings);
        assert!(told.contains(code), "{voters:?}: {told}");
    }
}

#[test]
fn a_snapshots_card_must_repeat_what_was_sealed_and_the_seal_must_be_in_the_log() {
    let manifest = manifest();
    let mut log = Log::empty();
    log.held();
    let index = log.sealed(&manifest);
    let entry = log.entries[index as usize].clone();
    let proof = log.proof_of(index);
    let card = Card {
        format: snapshot::FORMAT.into(),
        snapshot: support::snapshot(),
        agent: support::agent(),
        target: support::target(),
        root: manifest.root,
        rows: 3,
        bytes: 10,
        unreadable: 0,
        manifest: Digest::of(&manifest.file),
    };
    let check = |card: &Card, entry: &[u8], proof: Option<&str>| {
        let mut findings = custody::verify::report::Findings::default();
        snapshot::sealed(card, entry, proof, Some(log.vkey()), &mut findings);
        findings.is_clean()
    };
    assert!(check(&card, &entry, Some(&proof)));
    assert!(!check(&card, &entry, None));
    assert!(!check(&card, &entry, Some(&log.proof_of(index - 1))));
    for change in [
        |card: &mut Card| card.rows += 1,
        |card: &mut Card| card.bytes += 1,
        |card: &mut Card| card.unreadable += 1,
        |card: &mut Card| card.root = Digest::of(b"x"),
        |card: &mut Card| card.manifest = Digest::of(b"x"),
        |card: &mut Card| card.format = "holdfast-snapshot/2".into(),
    ] {
        let mut other = card.clone();
        change(&mut other);
        assert!(!check(&other, &entry, Some(&proof)));
    }
    for at in (0..entry.len()).step_by(41) {
        let mut other = entry.clone();
        other[at] ^= 1;
        assert!(!check(&card, &other, Some(&proof)), "byte {at}");
    }
}

//! The door: everything about a statement that can be checked before its turn comes.
//!
//! It runs in the caller's own task, so that signatures are checked on every core at once. What
//! depends on the statements before it is left to the writer, which also asks again whether the
//! key is still the author's.

use std::collections::BTreeSet;

use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{
        House,
        decide::commitments,
        refusal::{Kind, Refusal},
    },
    id::SubjectId,
    ledger::{
        entry::{Entry, EntryError},
        tile::LONGEST_ENTRY,
    },
    sign::{PublicKey, SignError},
    statement::{Body, Statement},
};

use super::Submission;

/// The words an opening's field may have.
const FIELDS: [&str; 11] = [
    "name",
    "authority",
    "reference",
    "document",
    "path",
    "account",
    "hash",
    "recipient",
    "salt-key",
    "process",
    "disk",
];

/// A statement that may come in: well formed, by the key of its author, with its openings.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) bytes: Vec<u8>,
    pub(super) statement: Statement,
    pub(super) leaf: Digest,
    pub(super) digest: Digest,
    /// The key that signed it.
    pub(super) key: PublicKey,
    pub(super) openings: Vec<(Commitment, Opening)>,
    pub(super) subject: Option<SubjectId>,
}

fn invalid(rule: &'static str, why: impl Into<String>, next: &'static str) -> Refusal {
    Refusal {
        rule,
        kind: Kind::Invalid,
        why: why.into(),
        next,
    }
}

/// Reads an entry's statement.
pub(super) fn read(bytes: &[u8]) -> Result<(Entry, Statement), Refusal> {
    if bytes.len() > LONGEST_ENTRY {
        return Err(invalid(
            "entry.too-long",
            format!(
                "The entry has {} bytes; at most {LONGEST_ENTRY} fit",
                bytes.len()
            ),
            "Split what it says into several statements",
        ));
    }
    let unreadable = |error: EntryError| {
        invalid(
            "entry.unreadable",
            capital(&error.to_string()),
            "Write it as custody/FORMAT.md says, or use the tool of the coordinator's version",
        )
    };
    let entry = Entry::parse(bytes).map_err(unreadable)?;
    let statement = entry.statement().map_err(unreadable)?;
    Ok((entry, statement))
}

/// Checks signature, openings and limits.
pub(super) fn check(
    entry: &Entry,
    statement: Statement,
    key: PublicKey,
    submission: Submission,
) -> Result<Checked, Refusal> {
    entry
        .verify(statement.namespace(), &key)
        .map_err(wrong_signature)?;
    let openings = check_openings(&statement.body, submission.openings)?;
    check_subject(&statement.body, submission.subject.as_ref())?;
    Ok(Checked {
        leaf: entry.leaf_hash(),
        digest: entry.digest(),
        bytes: submission.entry,
        statement,
        key,
        openings,
        subject: submission.subject,
    })
}

/// The key that must have signed.
pub(super) fn key_of(house: &House, statement: &Statement) -> Result<PublicKey, Refusal> {
    house.key_of(statement)
}

fn wrong_signature(error: EntryError) -> Refusal {
    let next = match &error {
        EntryError::Sign(SignError::Presence) => {
            "Use a hardware key that asks for its PIN, and touch it"
        }
        EntryError::Sign(SignError::OtherKey) => {
            "Sign with the key that was registered for you; `whoami` shows which"
        }
        _ => "Sign the statement again, exactly as it is sent",
    };
    Refusal {
        rule: "entry.signature",
        kind: Kind::Forbidden,
        why: capital(&error.to_string()),
        next,
    }
}

/// Openings must open exactly what the statement commits to: no more, no less, none twice.
fn check_openings(
    body: &Body,
    openings: Vec<Opening>,
) -> Result<Vec<(Commitment, Opening)>, Refusal> {
    let expected: BTreeSet<Commitment> = commitments(body).into_iter().collect();
    let mut opened = BTreeSet::new();
    let mut pairs = Vec::with_capacity(openings.len());
    for opening in openings {
        if !FIELDS.contains(&opening.field.as_str()) {
            return Err(invalid(
                "opening.field",
                "An opening is of a field that is not known",
                "Use the field words of custody/FORMAT.md",
            ));
        }
        let commitment = opening.commitment();
        // `opens` checks the lengths too.
        if !opening.opens(&commitment) || !expected.contains(&commitment) {
            return Err(invalid(
                "opening.extra",
                "An opening opens nothing that the statement commits to",
                "Send exactly the openings of the statement's commitments",
            ));
        }
        if !opened.insert(commitment) {
            return Err(invalid(
                "opening.twice",
                "An opening is sent twice",
                "Send each opening once",
            ));
        }
        pairs.push((commitment, opening));
    }
    // An agent that is asked again after the coordinator was restored may no longer have what
    // opens a finding's examples: it is a finding all the same.
    let may_lack = matches!(body, Body::Finding(_));
    if opened != expected && !may_lack {
        return Err(invalid(
            "opening.missing",
            "The statement commits to something that is not opened",
            "Send exactly the openings of the statement's commitments",
        ));
    }
    Ok(pairs)
}

/// A claim's openings are its subject's, and nothing else is kept under a subject.
fn check_subject(body: &Body, subject: Option<&SubjectId>) -> Result<(), Refusal> {
    let expected = match body {
        Body::ClaimFile(claim) => Some(&claim.subject),
        _ => None,
    };
    if expected == subject {
        return Ok(());
    }
    Err(invalid(
        "opening.subject",
        "The openings are to be kept under another subject than the statement names",
        "Name the claim's subject for a claim, and none for anything else",
    ))
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

//! A log under verification: one pass over its files, from the entries up to the signed root.
//!
//! Memory does not grow with the log but for the house itself, the ids of what people and the
//! coordinator said, and an eighth of a byte for each entry. Groups of 256 entries are read
//! and their signatures verified on all workers; the fold is in order.

use super::{
    Files,
    entries::EntryAudit,
    load::Extent,
    report::{Findings, Level},
    tree::Roots,
    walk::Walk,
};
use crate::ledger::{
    checkpoint::Checkpoint,
    note::{SignedNote, VerifierKey},
    policy::Policy,
};

/// Bytes of a note that are read.
const MOST_NOTE: usize = 1 << 20;

/// What a log is verified against, and how.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The log's key. Without one no signature of the log itself can be checked.
    pub key: Option<&'a VerifierKey>,
    /// Whether that key came from outside of what is verified.
    pub key_is_from_outside: bool,
    /// An older checkpoint or `.tlog-proof` from outside.
    pub older: Option<&'a [u8]>,
    /// Which witnesses must have cosigned.
    pub policy: Option<&'a Policy>,
    /// On how many cores to work; 0 is one.
    pub workers: usize,
}

/// What the verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The log's key, from outside.
    Key,
    /// An older checkpoint of that size, from outside, signed by the key that lies with the log.
    Checkpoint(u64),
}

/// What a log came to.
pub struct Audited {
    /// Everything found.
    pub findings: Findings,
    /// The log's checkpoint, if it can be read and no key speaks against it.
    pub checkpoint: Option<Checkpoint>,
    /// What anchors it.
    pub anchor: Option<Anchor>,
    /// The house that the entries make, and what was counted.
    pub entries: EntryAudit,
}

/// Verifies a log. `progress` hears how many entries of how many are done.
pub fn audit(files: &dyn Files, asked: Asked<'_>, progress: &dyn Fn(u64, u64)) -> Audited {
    let mut findings = Findings::default();
    let checkpoint = checkpoint(files, &asked, &mut findings);
    let extent = Extent::of(files, &mut findings);
    let size = match &checkpoint {
        Some(checkpoint) => checkpoint.size,
        None => extent.entries(files),
    };
    let named = checkpoint.as_ref().map(|c| c.origin.clone());
    let origin = asked.key.map(|key| key.name().to_owned()).or(named);
    let mut walk = Walk {
        files,
        size,
        root: checkpoint.as_ref().map(|c| c.root),
        extent,
        roots: Roots::default(),
        last: Vec::new(),
        whole: true,
        entries: EntryAudit::new(origin),
        findings,
    };
    walk.groups(asked.workers.max(1), progress);
    walk.finish();
    let anchor = walk.anchor(&asked);
    walk.check_seen();
    Audited {
        findings: walk.findings,
        checkpoint,
        anchor,
        entries: walk.entries,
    }
}

/// Reads the checkpoint; whatever is wrong with it is a finding.
fn checkpoint(files: &dyn Files, asked: &Asked<'_>, out: &mut Findings) -> Option<Checkpoint> {
    let place = "checkpoint";
    let bytes = match files.read(place, MOST_NOTE + 1) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            out.broken(
                "checkpoint.missing",
                place,
                "There is no checkpoint: nothing says how long the log is",
            );
            return None;
        }
        Err(why) => {
            out.add(Level::Unreadable, "checkpoint.unreadable", place, why);
            return None;
        }
    };
    let note = match SignedNote::parse(&bytes) {
        Ok(note) => note,
        Err(error) => {
            out.broken("checkpoint.malformed", place, sentence(&error));
            return None;
        }
    };
    if let Some(policy) = asked.policy
        && let Err(error) = policy.check(&note)
    {
        out.broken("checkpoint.no-quorum", place, sentence(&error));
    }
    match asked.key.map(|key| Checkpoint::open(&bytes, key)) {
        Some(Ok(checkpoint)) => return Some(checkpoint),
        Some(Err(error)) => {
            // What it says is not the log's word: nothing may be blamed by it.
            out.broken("checkpoint.signature", place, sentence(&error));
            return None;
        }
        None => {
            let what = "No key was given, so its signature was not checked";
            out.add(Level::Note, "checkpoint.unchecked", place, what);
        }
    }
    match Checkpoint::from_text(note.text()) {
        Ok(checkpoint) => Some(checkpoint),
        Err(error) => {
            out.broken("checkpoint.malformed", place, sentence(&error));
            None
        }
    }
}

/// An error as a sentence.
pub(super) fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

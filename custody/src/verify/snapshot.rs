//! Snapshot exports: a manifest, the statement that sealed it, and the proof that it was said.
//!
//! The export alone shows that this manifest is the one that the log holds under the key. That
//! the signing key was the agent's, and which target the snapshot is of, is shown by the log.

use serde::{Deserialize, Serialize};

use super::{receipt::prove, report::Findings};
use crate::{
    digest::Digest,
    id::{AgentId, SnapshotId, TargetId},
    ledger::{checkpoint::Checkpoint, entry::Entry, note::VerifierKey},
    manifest::file::Checked,
    statement::{Author, Body, SnapshotSealed},
};

/// What a snapshot export says that it is.
pub const FORMAT: &str = "holdfast-snapshot/1";

/// `snapshot.json` of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// [`FORMAT`].
    pub format: String,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which agent took it.
    pub agent: AgentId,
    /// Of which target.
    pub target: TargetId,
    /// The root of its manifest.
    pub root: Digest,
    /// Rows.
    pub rows: u64,
    /// Bytes of files hashed.
    pub bytes: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// SHA-256 of the manifest's file.
    pub manifest: Digest,
}

/// Verifies the sealed entry of an export: its signature, its place in the log where a key and
/// a proof are at hand, and that the card repeats it truly.
pub fn sealed(
    card: &Card,
    entry: &[u8],
    proof: Option<&str>,
    key: Option<&VerifierKey>,
    findings: &mut Findings,
) -> Option<(SnapshotSealed, Option<Checkpoint>)> {
    let place = "sealed.entry";
    let mut checkpoint = None;
    match (proof, key) {
        (Some(proof), Some(key)) => match prove(entry, proof, key) {
            Ok((_, found)) => checkpoint = Some(found),
            Err(why) => findings.broken("proof", "sealed.tlog-proof", why),
        },
        (None, _) => findings.broken("proof.missing", "sealed.tlog-proof", "There is no proof"),
        (_, None) => {
            let what = "There is no log key, so its place in the log cannot be verified";
            findings.broken("key.missing", "log.vkey", what);
        }
    }
    let read = Entry::parse(entry).and_then(|entry| entry.statement().map(|s| (entry, s)));
    let (entry, statement) = match read {
        Ok(read) => read,
        Err(error) => {
            findings.broken("entry.malformed", place, format!("It is no entry: {error}"));
            return None;
        }
    };
    if let Err(error) = entry.verify(statement.namespace(), entry.signature().public_key()) {
        findings.broken(
            "entry.signature",
            place,
            format!("Its signature fails: {error}"),
        );
    }
    let (Author::Agent(agent), Body::SnapshotSealed(body)) = (statement.author, statement.body)
    else {
        findings.broken("entry.other", place, "It does not seal a snapshot");
        return None;
    };
    let repeated = card.format == FORMAT
        && card.snapshot == body.snapshot
        && card.agent == agent
        && card.root == body.root
        && card.rows == body.rows
        && card.bytes == body.bytes
        && card.unreadable == body.unreadable
        && card.manifest == body.manifest;
    if !repeated {
        let what = "It does not say what the sealed statement says";
        findings.broken("card", "snapshot.json", what);
    }
    Some((body, checkpoint))
}

/// Compares a manifest's file, by its SHA-256 and length, with what was sealed.
pub fn file(
    sealed: &SnapshotSealed,
    place: &str,
    digest: &Digest,
    bytes: u64,
    findings: &mut Findings,
) {
    if bytes != sealed.manifest_bytes {
        let what = format!(
            "It has {bytes} bytes; {} were sealed",
            sealed.manifest_bytes
        );
        findings.broken("manifest.length", place, what);
    }
    if *digest != sealed.manifest {
        let what = format!("Its SHA-256 is {digest}; {} was sealed", sealed.manifest);
        findings.broken("manifest.digest", place, what);
    }
}

/// Compares what a manifest's rows came to with what was sealed. Where rows were erased their
/// bytes cannot be counted any more.
pub fn contents(sealed: &SnapshotSealed, place: &str, found: &Checked, findings: &mut Findings) {
    let counts =
        |found: u64, sealed: u64, erased: u64| found == sealed || (erased > 0 && found <= sealed);
    let right = found.rows == sealed.rows
        && counts(found.bytes, sealed.bytes, found.erased)
        && counts(found.unreadable, sealed.unreadable, found.erased);
    if !right {
        let what = format!(
            "It has {} rows, {} bytes and {} unreadable rows; {}, {} and {} were sealed",
            found.rows, found.bytes, found.unreadable, sealed.rows, sealed.bytes, sealed.unreadable
        );
        findings.broken("manifest.counts", place, what);
    }
}

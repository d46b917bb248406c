//! Receipts: one release with everything that made it right, checkable by itself for ever.
//!
//! A receipt carries the entries that matter with their proofs, so that its holder needs no
//! log. It shows what was done and by whom; what it cannot show is what is *not* in it: that a
//! voter had been retired, or that another claim was open. That is for the log.

use serde::{Deserialize, Serialize};

use super::{
    case::Case,
    report::{Findings, Level},
};
use crate::{
    commit::{Commitment, Opening},
    digest::Digest,
    id::ReleaseId,
    ledger::{
        checkpoint::Checkpoint, entry::Entry, note::VerifierKey, proof::LogProof, tree::leaf_hash,
    },
};

/// What a receipt says that it is.
pub const FORMAT: &str = "holdfast-receipt/1";

/// A receipt as its file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`FORMAT`].
    pub format: String,
    /// Which release.
    pub release: ReleaseId,
    /// The log's origin.
    pub origin: String,
    /// The log's key, as the receipt has it: it proves nothing by itself.
    pub vkey: String,
    /// A signed checkpoint; every proof is of its tree.
    pub checkpoint: String,
    /// The entries, each with its proof.
    pub entries: Vec<ProvedEntry>,
    /// What opens the claim's recipient.
    pub openings: Vec<ShownOpening>,
}

/// An entry with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvedEntry {
    /// Its index.
    pub index: u64,
    /// The entry, verbatim.
    pub entry: String,
    /// Its `.tlog-proof`.
    pub proof: String,
}

/// An opening as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownOpening {
    /// What it opens.
    pub commitment: Commitment,
    /// What kind of value it is.
    pub field: String,
    /// The 32 random bytes, hex.
    pub r: Digest,
    /// The value, base64.
    pub value: String,
}

impl ShownOpening {
    fn opening(&self) -> Option<Opening> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let value = STANDARD.decode(&self.value).ok()?;
        Some(Opening::new(self.field.clone(), value, *self.r.as_bytes()))
    }
}

/// The parcel that a receipt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// SHA-256 of the encrypted file.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
    /// Files inside.
    pub files: u64,
}

/// What a receipt shows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Everything found.
    pub findings: Findings,
    /// The parcel, once packed.
    pub parcel: Option<Parcel>,
    /// The owner's public encryption key, if it is shown.
    pub recipient: Option<String>,
    /// Approvals that count.
    pub approvals: u32,
    /// Approvals that the policy demands.
    pub demanded: u32,
    /// How often it was delivered, so far as the receipt shows.
    pub deliveries: u64,
    /// Roots of the snapshots that files were taken from, with their number of rows.
    pub roots: Vec<(Digest, u64)>,
}

impl Receipt {
    /// Reads a receipt's file.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let receipt: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if receipt.format != FORMAT {
            return Err(format!(
                "it is of format `{}`, not {FORMAT}",
                receipt.format
            ));
        }
        Ok(receipt)
    }

    /// Verifies all that the receipt shows. Without a key from outside its own is used, and
    /// then the caller must not call the result more than consistent.
    pub fn verify(&self, key: Option<&VerifierKey>) -> Shown {
        let mut shown = Shown::default();
        let Some(key) = self.key(key, &mut shown.findings) else {
            return shown;
        };
        if key.name() != self.origin {
            let what = "Its origin is not the name of the key";
            shown.findings.broken("receipt.origin", "receipt", what);
        }
        let checkpoint = match Checkpoint::open(self.checkpoint.as_bytes(), &key) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let what = format!("Its checkpoint fails: {error}");
                shown.findings.broken("receipt.checkpoint", "receipt", what);
                return shown;
            }
        };
        let mut proved: Vec<_> = self.entries.iter().collect();
        proved.sort_by_key(|proved| proved.index);
        let mut case = Case::new(self.origin.clone(), self.release);
        let mut before = None;
        for proved in proved {
            if before.replace(proved.index) == Some(proved.index) {
                let what = "It is in the receipt twice";
                let place = format!("entry {}", proved.index);
                shown.findings.broken("receipt.twice", place, what);
                continue;
            }
            if let Some(entry) = read(proved, &key, &checkpoint, &mut shown.findings) {
                case.take(proved.index, &entry, &mut shown.findings);
            }
        }
        case.conclude(&mut shown);
        self.open_recipient(&case, &mut shown);
        shown
    }

    fn key(&self, key: Option<&VerifierKey>, findings: &mut Findings) -> Option<VerifierKey> {
        let own = match VerifierKey::parse(&self.vkey) {
            // Written differently it is another text, though it may mean the same key.
            Ok(own) if own.to_string() == self.vkey => own,
            _ => {
                let what = "The key that it carries cannot be read";
                findings.broken("receipt.vkey", "receipt", what);
                return key.cloned();
            }
        };
        match key {
            Some(key) if *key != own => {
                let what = "It carries another log key than the one given: it is of another log, \
                            or forged";
                findings.broken("receipt.vkey", "receipt", what);
                Some(key.clone())
            }
            _ => Some(own),
        }
    }

    fn open_recipient(&self, case: &Case, shown: &mut Shown) {
        let findings = &mut shown.findings;
        for opening in &self.openings {
            let opens = opening.opening().filter(|o| o.opens(&opening.commitment));
            match opens {
                Some(opened)
                    if opened.field == "recipient"
                        && case.recipient() == Some(opening.commitment) =>
                {
                    shown.recipient = String::from_utf8(opened.value).ok();
                }
                Some(_) => {
                    let what = "It opens something that is not the claim's recipient";
                    findings.broken("receipt.opening", "openings", what);
                }
                None => {
                    let what = "An opening does not open its commitment: it was changed";
                    findings.broken("receipt.opening", "openings", what);
                }
            }
        }
        if self.openings.is_empty() {
            let what =
                "To which key the parcel was encrypted is not shown; it may have been erased";
            findings.add(Level::Note, "receipt.no-recipient", "openings", what);
        }
    }
}

/// Reads one entry and verifies its place in the checkpoint's tree.
fn read(
    proved: &ProvedEntry,
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    findings: &mut Findings,
) -> Option<Entry> {
    let place = format!("entry {}", proved.index);
    match prove(proved.entry.as_bytes(), &proved.proof, key) {
        Ok((index, tree)) if index == proved.index && tree == *checkpoint => {}
        Ok(_) => {
            let what = "Its proof is of another place or another tree than the receipt's";
            findings.broken("proof.other", &place, what);
        }
        Err(why) => findings.broken("proof", &place, why),
    }
    match Entry::parse(proved.entry.as_bytes()) {
        Ok(entry) => Some(entry),
        Err(error) => {
            findings.broken("entry.malformed", place, format!("It is no entry: {error}"));
            None
        }
    }
}

/// Verifies that an entry, by its bytes, is in the log of this key; where, and in which tree.
pub fn prove(entry: &[u8], proof: &str, key: &VerifierKey) -> Result<(u64, Checkpoint), String> {
    let read = LogProof::parse(proof).map_err(|error| format!("Its proof is {error}"))?;
    match read.verify(entry, key) {
        Ok(checkpoint) => Ok((read.index, checkpoint)),
        Err(error) => Err(format!(
            "Its proof fails for leaf {}: {error}",
            leaf_hash(entry)
        )),
    }
}

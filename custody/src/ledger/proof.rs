//! `.tlog-proof` files (C2SP tlog-proof): one entry's place in a log, checkable for ever.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    note::VerifierKey,
    tree::{self, ProofError},
};
use crate::digest::Digest;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof that an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The entry's index.
    pub index: u64,
    /// The hashes, leaf's sibling first; at most 63.
    pub hashes: Vec<Digest>,
    /// The signed checkpoint, as it was published.
    pub checkpoint: String,
}

/// What can be wrong with a log proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProofError {
    /// Not a `.tlog-proof`.
    #[error("not a tlog-proof file")]
    Malformed,
    /// Its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its hashes.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl LogProof {
    /// Reads the text form. An `extra` line is passed over.
    pub fn parse(text: &str) -> Result<Self, LogProofError> {
        let wrong = || LogProofError::Malformed;
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(wrong)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(wrong());
        }
        if let Some(extra) = lines.next_if(|line| line.starts_with("extra ")) {
            STANDARD
                .decode(&extra["extra ".len()..])
                .map_err(|_| wrong())?;
        }
        let digits = lines
            .next()
            .and_then(|l| l.strip_prefix("index "))
            .ok_or_else(wrong)?;
        let index: u64 = digits.parse().map_err(|_| wrong())?;
        if index.to_string() != digits {
            return Err(wrong());
        }
        let mut hashes = Vec::new();
        for line in lines {
            let bytes = STANDARD.decode(line).map_err(|_| wrong())?;
            hashes.push(Digest::from_bytes(bytes.try_into().map_err(|_| wrong())?));
            if hashes.len() > 63 {
                return Err(wrong());
            }
        }
        Ok(Self {
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// Verifies that an entry, by its bytes, is in the log of this key.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, LogProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let leaf = tree::leaf_hash(entry);
        let Checkpoint { size, root, .. } = &checkpoint;
        tree::verify_inclusion(&leaf, self.index, *size, &self.hashes, root)?;
        Ok(checkpoint)
    }
}

impl std::fmt::Display for LogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

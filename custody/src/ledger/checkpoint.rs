//! Checkpoints (C2SP tlog-checkpoint): origin, size, root, signed as a note.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::note::{NoteError, NoteKey, SignedNote, VerifierKey};
use crate::digest::Digest;

/// What a log says of itself at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The tree's root.
    pub root: Digest,
}

/// What can be wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note or its signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its three lines.
    #[error("not a checkpoint: expected origin, size and root, a line each")]
    Malformed,
    /// It is of another log.
    #[error("the checkpoint is of log {found}, not {expected}")]
    OtherLog {
        /// The origin that was expected.
        expected: String,
        /// The origin it has.
        found: String,
    },
}

impl Checkpoint {
    /// The three lines that are signed.
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }

    /// Reads the three lines; lines behind them are refused, since none is understood.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) = (
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
        ) else {
            return Err(CheckpointError::Malformed);
        };
        let number: u64 = size.parse().map_err(|_| CheckpointError::Malformed)?;
        let bytes = STANDARD
            .decode(root)
            .map_err(|_| CheckpointError::Malformed)?;
        let root = Digest::from_bytes(bytes.try_into().map_err(|_| CheckpointError::Malformed)?);
        if origin.is_empty() || number.to_string() != size {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }

    /// Signs it with the log's key.
    pub fn sign(&self, key: &NoteKey) -> SignedNote {
        let text = self.to_text();
        let signature = key.sign(&text);
        SignedNote::new(text, vec![signature])
    }

    /// Reads a signed checkpoint and verifies that the log's key signed it.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        note.verify(key)?;
        let checkpoint = Self::from_text(note.text())?;
        if checkpoint.origin != key.name() {
            let expected = key.name().to_owned();
            return Err(CheckpointError::OtherLog {
                expected,
                found: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }
}

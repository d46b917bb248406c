//! What can go wrong with the journal.

use std::io;

use custody::{ledger::entry::EntryError, sign::SignError};

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refused. Nothing was said: try again once it has room or is well.
    #[error("the journal cannot be written or read: {0}")]
    Io(#[from] io::Error),
    /// A flush failed, so what is on disk is not known. Only a restart reads it anew.
    #[error(
        "the journal's disk failed while flushing ({0}); what is on disk is not known. \
         Nothing more is said until the agent is restarted"
    )]
    Unknown(String),
    /// A record that is not the last one is damaged.
    #[error(
        "the journal is damaged in {segment} at byte {at}: {what}. Nothing was changed. Keep a \
         copy of the folder, then restore the file or enrol again with a new invitation into \
         a fresh folder"
    )]
    Damaged {
        /// The file's name.
        segment: String,
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The journal is of another agent or log.
    #[error("the journal in this folder belongs to {found}, not to {expected}")]
    Other {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The statement could not be sealed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The statement could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The statement could not be written as canonical JSON.
    #[error(transparent)]
    Json(#[from] custody::json::JsonError),
}

impl JournalError {
    /// Whether the process must stop, since it no longer knows its own state.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Damaged { .. })
    }
}

//! The ledger: publishes what the journal committed, as a C2SP tlog-tiles log.
//!
//! The order is always the same ([`Step`]): tiles and bundles are written and flushed; they are
//! read back and the root is recomputed from them; only a larger and consistent tree is signed;
//! the signed checkpoint is recorded; witnesses are asked; it is kept for ever; it is published.
//! A crash between any two steps is taken up at the next start. Entries are never put in another
//! order, and no file of the log is ever written over.
//!
//! It trusts the journal for what was said, and nothing for what is on disk.

mod compare;
mod edge;
mod publish;
mod read;
mod start;
mod tiles;

use std::path::PathBuf;

pub use compare::Comparing;
pub use publish::{Publisher, Step};
pub use read::Disk;

/// A promise is broken: stop, and look at it before anything else is published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A file of the log is not what the journal says.
    #[error(
        "{} is not what the journal gives: the file or the journal was changed. Compare both with \
         a mirror before anything else",
        .0.display()
    )]
    FileDiffers(PathBuf),
    /// The log's files go further than the journal.
    #[error(
        "the log's files hold more than the {journal} entries of the journal ({} is there): the \
         journal is an older copy. Restore the newest one; never start from this one",
        found.display()
    )]
    TilesAhead {
        /// Entries in the journal.
        journal: u64,
        /// A file that goes further.
        found: PathBuf,
    },
    /// A checkpoint goes further than the journal or than what was recorded.
    #[error(
        "a checkpoint of size {checkpoint} was signed, but the journal knows of {known}: it is an \
         older copy. Restore the newest one; never start from this one"
    )]
    CheckpointAhead {
        /// The size that was signed.
        checkpoint: u64,
        /// What the journal has, in entries or in recorded checkpoints.
        known: u64,
    },
    /// The journal's entries do not give the root that was signed.
    #[error(
        "the entries do not give the root that was signed at size {0}: the journal was changed. \
         Compare it with a mirror before anything else"
    )]
    RootsDiffer(u64),
    /// A checkpoint is not by this log's key, or cannot be read.
    #[error("the checkpoint in {place} is not one of this log: {why}")]
    Checkpoint {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else recorded a checkpoint.
    #[error(
        "another process recorded a checkpoint after size {0}: two coordinators share one journal. \
         Stop both and keep one"
    )]
    Raced(u64),
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// A promise is broken.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// The world broke; the next try starts where this one ended.
    #[error("the log could not be written: {0}")]
    Failed(#[from] std::io::Error),
    /// The journal could not be read or written.
    #[error("the journal could not be used for publishing: {0}")]
    Journal(#[from] sqlx::Error),
}

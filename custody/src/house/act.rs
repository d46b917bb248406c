//! Acts: what needs several people.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::{
    commit::Commitment,
    id::{ClaimId, ReleaseId, SnapshotId, TargetId},
};

/// Rows of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which of its rows.
    pub rows: Ranges,
}

/// What one target loses: places below it, by their absolute paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// Which target.
    pub target: TargetId,
    /// What leaves it.
    pub leave: Vec<Commitment>,
}

/// The most places that one request may let leave: an approval repeats them all, and an entry
/// has at most 64 KiB.
pub const MOST_LEAVE: usize = 500;

/// What is asked for and approved, whole and readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase", deny_unknown_fields)]
pub enum Act {
    /// Release rows of snapshots to the owner who claimed them.
    Release {
        /// The new release.
        release: ReleaseId,
        /// The claim it answers.
        claim: ClaimId,
        /// What is released.
        files: Vec<Rows>,
    },
    /// Lift one reason from targets; other reasons stay.
    Lift {
        /// The targets, all of one hold or of several.
        targets: Vec<TargetId>,
    },
    /// Lift one reason from parts of targets; the rest of each stays, and so do other reasons.
    Narrow {
        /// The targets, each once.
        targets: Vec<Narrowing>,
    },
}

impl Act {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Act::Release { .. } => "release",
            Act::Lift { .. } => "lift",
            Act::Narrow { .. } => "narrow",
        }
    }

    /// The word of the policy that governs it: a part leaves no more easily than the whole.
    pub const fn policy(&self) -> &'static str {
        match self {
            Act::Release { .. } => "release",
            Act::Lift { .. } | Act::Narrow { .. } => "lift",
        }
    }

    /// The commitments that it makes.
    pub fn commitments(&self) -> Vec<Commitment> {
        match self {
            Act::Release { .. } | Act::Lift { .. } => Vec::new(),
            Act::Narrow { targets } => targets.iter().flat_map(|t| t.leave.clone()).collect(),
        }
    }
}

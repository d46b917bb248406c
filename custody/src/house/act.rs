//! Acts: what needs several people.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::id::{ClaimId, ReleaseId, SnapshotId, TargetId};

/// Rows of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which of its rows.
    pub rows: Ranges,
}

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
}

impl Act {
    /// The word for the policy that governs it.
    pub const fn word(&self) -> &'static str {
        match self {
            Act::Release { .. } => "release",
            Act::Lift { .. } => "lift",
        }
    }
}

//! Claims: an owner says what is his; the manifests say where it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::{
    id::{ClaimId, SnapshotId},
    statement::ClaimFile,
};

/// The most items one claim may name.
pub const MOST_ITEMS: usize = 200;

/// Body of `claim.matched`: what a claim matches in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matched {
    /// Which claim.
    pub claim: ClaimId,
    /// Against which snapshot.
    pub snapshot: SnapshotId,
    /// The rows that match, less those on an exclusion list.
    pub rows: Ranges,
    /// Their bytes.
    pub bytes: u64,
    /// How many matching rows an exclusion list keeps back.
    pub excluded: u64,
    /// The revision of the exclusion lists that was used.
    pub lists: u64,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It stands.
    Open,
    /// Withdrawn: it contests nothing any more.
    Withdrawn,
}

/// A claim as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// As it was filed.
    #[serde(flatten)]
    pub filed: ClaimFile,
    /// Where it stands.
    pub status: Status,
    /// What it matches, by snapshot.
    pub matches: BTreeMap<SnapshotId, Matched>,
    /// Index of the entry that filed it.
    pub entry: u64,
}

impl Claim {
    /// The rows it matches in a snapshot; `None` while it was not matched against it.
    pub fn rows(&self, snapshot: &SnapshotId) -> Option<&Matched> {
        self.matches.get(snapshot)
    }
}

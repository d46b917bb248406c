//! Snapshots: one sealed manifest a target.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentId, SnapshotId, TargetId},
    statement::SnapshotSealed,
};

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Asked for.
    Requested,
    /// Its agent sealed the manifest; it is on its way.
    Sealed,
    /// The coordinator has the manifest and recomputed its root.
    Received,
    /// Its agent could not take it.
    Failed,
}

/// A snapshot as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// What it was taken of.
    pub target: TargetId,
    /// By which agent.
    pub agent: AgentId,
    /// Where it stands.
    pub state: State,
    /// What the agent sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SnapshotSealed>,
    /// Index of the entry that sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_entry: Option<u64>,
    /// The last trouble, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Index of the entry that asked for it.
    pub entry: u64,
}

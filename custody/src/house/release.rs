//! Releases: the right bytes to the right person, checked again at every step.

use serde::{Deserialize, Serialize};

use super::act::Rows;
use crate::{
    id::{AgentId, ClaimId, ReleaseId, RequestId},
    statement::ReleasePacked,
};

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Approved; its agent is to re-read, check, pack and encrypt it.
    Ordered,
    /// Packed by its agent.
    Packed,
    /// The coordinator holds the ciphertext.
    Spooled,
    /// Handed out at least once.
    Delivered,
    /// Its agent could not pack it.
    Failed,
}

/// A release as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The claim it answers.
    pub claim: ClaimId,
    /// The request that was approved.
    pub request: RequestId,
    /// The one agent that has the bytes.
    pub agent: AgentId,
    /// What is released.
    pub files: Vec<Rows>,
    /// Where it stands.
    pub state: State,
    /// What its agent packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<ReleasePacked>,
    /// Index of the entry that packed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_entry: Option<u64>,
    /// How often it was handed out.
    pub deliveries: u64,
    /// The last trouble, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Index of the entry that ordered it.
    pub entry: u64,
}

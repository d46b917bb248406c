//! The house: everything that is known, and the one road by which it changes.
//!
//! [`decide`](decide::decide) says whether a statement may stand; [`apply`](apply::apply) folds
//! one that does. Both are pure. The state is nothing but the fold of the ledger's statements:
//! delete every projection, fold again, get the same.

pub mod act;
pub mod agent;
pub mod apply;
pub mod approval;
pub mod claim;
pub mod clearance;
pub mod clock;
pub mod decide;
pub mod finding;
pub mod hold;
pub mod limits;
pub mod mechanism;
pub mod order;
pub mod person;
pub mod ranges;
pub mod reasons;
pub mod refusal;
pub mod regime;
pub mod release;
pub mod replay;
pub mod scope;
pub mod snapshot;
pub mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    commit::Commitment,
    digest::Digest,
    id::{
        AgentId, ClaimId, ClearanceId, HoldId, OrderId, PersonId, ReleaseId, RequestId, SnapshotId,
        TargetId,
    },
    sign::PublicKey,
};

/// What the commitments in statements stand for. Erasure leaves a commitment unopened, and
/// every decision treats an unopened one in the safe way.
pub trait Openings {
    /// The committed value, if it is still there.
    fn open(&self, commitment: &Commitment) -> Option<Vec<u8>>;
}

impl Openings for BTreeMap<Commitment, Vec<u8>> {
    fn open(&self, commitment: &Commitment) -> Option<Vec<u8>> {
        self.get(commitment).cloned()
    }
}

/// What entry 0 said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The log's origin.
    pub origin: String,
    /// The coordinator's key.
    pub coordinator: PublicKey,
    /// Who must agree to what.
    pub policies: approval::Policies,
}

/// An exclusion list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusionList {
    /// Its name.
    pub id: String,
    /// The legal basis.
    pub basis: String,
    /// What may not be released.
    pub hashes: BTreeSet<Digest>,
    /// Index of the entry that last changed it.
    pub changed: u64,
}

macro_rules! house {
    ($($(#[$doc:meta])* $field:ident: $id:ty => $record:ty;)*) => {
        /// Everything that is known.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct House {
            /// What entry 0 said; `None` before it.
            pub opened: Option<Opened>,
            /// Rises with each change of an exclusion list.
            pub lists_revision: u64,
            $($(#[$doc])* pub $field: BTreeMap<$id, $record>,)*
        }

        impl House {
            /// The kinds of record there are, besides `opened` and `lists_revision`.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// One record as JSON.
            pub fn record(&self, key: &Key) -> Option<serde_json::Value> {
                match key.kind {
                    "opened" => serde_json::to_value(self.opened.as_ref()?).ok(),
                    "lists_revision" => serde_json::to_value(self.lists_revision).ok(),
                    $(stringify!($field) => {
                        let record = self.$field.get(&key.id.parse::<$id>().ok()?)?;
                        serde_json::to_value(record).ok()
                    })*
                    _ => None,
                }
            }

            /// The ids of every record of a kind, in their order.
            pub fn ids(&self, kind: &str) -> Vec<String> {
                match kind {
                    $(stringify!($field) => {
                        self.$field.keys().map(ToString::to_string).collect()
                    })*
                    _ => Vec::new(),
                }
            }

            /// Every record of a kind as JSON, in the order of ids.
            pub fn records(&self, kind: &str) -> Vec<(String, serde_json::Value)> {
                match kind {
                    $(stringify!($field) => self.$field.iter().filter_map(|(id, record)| {
                        Some((id.to_string(), serde_json::to_value(record).ok()?))
                    }).collect(),)*
                    _ => Vec::new(),
                }
            }

            /// Every record there is, with its key.
            pub fn all(&self) -> Vec<(Key, serde_json::Value)> {
                let mut all = Vec::new();
                for kind in ["opened", "lists_revision"] {
                    let key = Key { kind, id: String::new() };
                    if let Some(record) = self.record(&key) {
                        all.push((key, record));
                    }
                }
                $(all.extend(self.records(stringify!($field)).into_iter().map(|(id, record)| {
                    (Key { kind: stringify!($field), id }, record)
                }));)*
                all
            }

            /// Puts back one record that [`House::record`] gave.
            pub fn restore(
                &mut self, kind: &str, id: &str, record: serde_json::Value,
            ) -> Result<(), Unreadable> {
                let wrong = || Unreadable { kind: kind.to_owned(), id: id.to_owned() };
                match kind {
                    "opened" => self.opened =
                        Some(serde_json::from_value(record).map_err(|_| wrong())?),
                    "lists_revision" => self.lists_revision =
                        serde_json::from_value(record).map_err(|_| wrong())?,
                    $(stringify!($field) => {
                        let id = id.parse::<$id>().map_err(|_| wrong())?;
                        let record = serde_json::from_value(record).map_err(|_| wrong())?;
                        self.$field.insert(id, record);
                    })*
                    _ => return Err(wrong()),
                }
                Ok(())
            }
        }
    };
}

house! {
    /// People.
    persons: PersonId => person::Person;
    /// Agents.
    agents: AgentId => agent::Agent;
    /// Orders.
    orders: OrderId => order::Order;
    /// Holds.
    holds: HoldId => hold::Hold;
    /// The targets of holds.
    targets: TargetId => hold::HeldTarget;
    /// Snapshots.
    snapshots: SnapshotId => snapshot::Snapshot;
    /// Claims.
    claims: ClaimId => claim::Claim;
    /// Requests.
    requests: RequestId => approval::Request;
    /// Releases.
    releases: ReleaseId => release::Release;
    /// Exclusion lists.
    lists: String => ExclusionList;
    /// Clearances.
    clearances: ClearanceId => clearance::Clearance;
    /// Findings, by the index of their entry.
    findings: u64 => finding::Noted;
}

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The kind of record.
    pub kind: &'static str,
    /// Its id; empty for what there is only one of.
    pub id: String,
}

/// A stored record that this build cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {kind} record `{id}` cannot be read by this version")]
pub struct Unreadable {
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
}

//! Clearances: may this server, disk or path be wiped and used again?
//!
//! Someone asks, the coordinator answers at once from the holds that stand, and asks the same
//! again when the clearance is used. A clearance is used once.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentId, HoldId, PersonId},
    statement::ClearanceAsk,
    time::Time,
};

/// What is to be wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The whole server.
    Server,
    /// One disk, with every place on it.
    Disk,
    /// One path.
    Path,
}

/// The most places that one clearance names.
pub const MOST_PLACES: usize = 100;

/// Where a clearance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum State {
    /// Asked for; the coordinator has not answered.
    Asked,
    /// Nothing stood in the way when it was given.
    Given {
        /// After this it is refused.
        expires: Time,
    },
    /// These holds stand there.
    Refused {
        /// The references to name to whoever asks why.
        holds: Vec<HoldId>,
    },
    /// It was used.
    Used,
}

/// A clearance as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearance {
    /// As it was asked for.
    #[serde(flatten)]
    pub asked: ClearanceAsk,
    /// Who asked.
    pub by: PersonId,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// Index of the entry that asked.
    pub entry: u64,
    /// Index of the entry that last changed it.
    pub changed: u64,
}

impl Clearance {
    /// The server it is about.
    pub const fn agent(&self) -> AgentId {
        self.asked.agent
    }
}

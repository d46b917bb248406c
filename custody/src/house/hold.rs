//! Holds: a set of reasons, each backed by one order, on targets that agents enforce.

use serde::{Deserialize, Serialize};

use super::{Openings, mechanism::Mechanism, regime::Holding, scope};
use crate::{
    commit::Commitment,
    id::{AgentId, HoldId, ItemId, OrderId, RequestId, TargetId},
    statement::{CopyMade, FixityChecked, HoldRaised},
    time::Time,
};

/// The most targets one statement may place.
pub const MOST_TARGETS: usize = 300;

/// The most places that may ever leave one target.
pub const MOST_LEFT: usize = 1000;

/// One place that a hold is to stand on, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its id.
    pub target: TargetId,
    /// The scope item of the order that it comes from.
    pub item: ItemId,
    /// On which server.
    pub agent: AgentId,
    /// Where: an absolute path.
    pub path: Commitment,
}

/// Where a target stands. Only `Verified` may be called held without a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Asked for; its agent has not answered. It may not be held at all.
    Requested,
    /// Its agent has it and is raising it, or has raised it and has not proved it.
    Acknowledged,
    /// Its agent tried to write, rename and unlink, and was refused each time.
    Verified,
    /// It was held, and something is not as it was.
    Drifted,
    /// Its agent could not raise it; it is tried again when the agent comes back.
    Failed,
    /// Lifted by approvals; its agent has not lowered it yet.
    Lifting,
    /// Free of this reason.
    Lifted,
}

impl State {
    /// Whether this reason still holds.
    pub const fn holds(self) -> bool {
        !matches!(self, State::Lifting | State::Lifted)
    }
}

/// How an agent holds a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Means {
    /// What keeps it.
    pub mechanism: Mechanism,
    /// The file system.
    pub file_system: String,
    /// What it does not prevent.
    pub does_not_prevent: Vec<String>,
    /// Files held.
    pub files: u64,
    /// Folders held.
    pub folders: u64,
    /// Bytes held.
    pub bytes: u64,
}

/// A target as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTarget {
    /// As it was asked for.
    #[serde(flatten)]
    pub wish: Target,
    /// The hold it belongs to.
    pub hold: HoldId,
    /// What the hold does.
    pub holding: Holding,
    /// Where it stands.
    pub state: State,
    /// How it is held, once raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<Means>,
    /// When its agent said that it was raised as it stands: what is held is of no later moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The last trouble, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Attempts to change it that were refused at the last proof.
    pub attempts: u64,
    /// Writers left at the last proof.
    pub writers: u64,
    /// The last round of reading it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixity: Option<FixityChecked>,
    /// Its second copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyMade>,
    /// Places below it that approvals let go and its agent has not freed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Commitment>,
    /// Places below it that have left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Commitment>,
    /// Index of the entry that last changed it.
    pub changed: u64,
}

impl HeldTarget {
    /// Takes up that it was raised. A second report of the same, such as with new counts, leaves
    /// the moment as it was.
    pub(super) fn raised(&mut self, said: HoldRaised, time: Time) {
        let same = self.means.as_ref().is_some_and(|means| {
            means.mechanism == said.mechanism && means.file_system == said.file_system
        });
        let undisturbed = matches!(self.state, State::Acknowledged | State::Verified);
        if !(same && undisturbed) {
            self.since = Some(time);
        }
        self.state = State::Acknowledged;
        self.trouble = None;
        self.means = Some(Means {
            mechanism: said.mechanism,
            file_system: said.file_system,
            does_not_prevent: said.does_not_prevent,
            files: said.files,
            folders: said.folders,
            bytes: said.bytes,
        });
    }

    /// Whether approvals took a place below this target out of it, freed yet or not. What was
    /// erased cannot be told: in doubt it is held.
    pub fn let_go(&self, openings: &dyn Openings, path: &[u8]) -> bool {
        covered(self.left.iter().chain(&self.leaving), openings, path)
    }

    /// Whether a place below this target has left it, as its agent says.
    pub fn has_left(&self, openings: &dyn Openings, path: &[u8]) -> bool {
        covered(self.left.iter(), openings, path)
    }

    /// Whether this reason stands on a place of its server.
    pub fn stands_on(&self, openings: &dyn Openings, path: &[u8]) -> bool {
        let covers = openings
            .open(&self.wish.path)
            .is_none_or(|place| scope::covers(&place, path));
        self.state.holds() && covers && !self.let_go(openings, path)
    }
}

fn covered<'a>(
    mut places: impl Iterator<Item = &'a Commitment>,
    openings: &dyn Openings,
    path: &[u8],
) -> bool {
    places.any(|place| {
        openings
            .open(place)
            .is_some_and(|place| scope::covers(&place, path))
    })
}

/// A hold: one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// The order behind it.
    pub order: OrderId,
    /// Its targets.
    pub targets: Vec<TargetId>,
    /// The weakest mechanism that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Mechanism>,
    /// The request that lifted the last of its targets, if none is held any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<RequestId>,
    /// Index of the entry that placed it.
    pub entry: u64,
}

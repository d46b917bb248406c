//! Clearances: may this server, disk or path be wiped and used again?
//!
//! Someone asks, the coordinator answers at once from the holds that stand, and asks the same
//! again when the clearance is used. A clearance is used once.

use serde::{Deserialize, Serialize};

use super::{
    House, Openings,
    hold::{self, HeldTarget},
    order::{Order, Status},
    scope::{self, Rule, Selector},
};
use crate::{
    id::{HoldId, OrderId, PersonId},
    statement::ClearanceAsk,
    time::{Span, Time},
};

/// How long a clearance may be used after it was given.
pub const VALID: Span = Span::days(1);

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
        /// The holds that stand there: the references to name to whoever asks why.
        holds: Vec<HoldId>,
        /// Orders that may concern it and back no hold yet.
        orders: Vec<OrderId>,
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

/// What stands in the way of a wipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InTheWay {
    /// Holds, in the order of ids.
    pub holds: Vec<HoldId>,
    /// Orders that back no hold yet, in the order of ids.
    pub orders: Vec<OrderId>,
}

impl InTheWay {
    /// Whether nothing does.
    pub const fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.orders.is_empty()
    }
}

impl House {
    /// What stands in the way of wiping what was asked about, now.
    ///
    /// A target counts until its agent has lowered it. Between an order and its hold lies the time
    /// in which a server is lost: an order that backs no hold yet counts too, where it may
    /// concern the place. What was erased, and so cannot be told apart, counts.
    pub fn in_the_way(&self, openings: &dyn Openings, asked: &ClearanceAsk) -> InTheWay {
        let places: Option<Vec<Vec<u8>>> = match asked.what {
            What::Server => None,
            // Nobody named what lies on the disk: then it may be anything.
            What::Disk if asked.places.is_empty() => None,
            What::Disk | What::Path => asked.places.iter().map(|p| openings.open(p)).collect(),
        };
        let touches = |path: Option<Vec<u8>>| match (&places, path) {
            (Some(places), Some(path)) => places.iter().any(|p| scope::overlap(p, &path)),
            _ => true,
        };
        // What its agent says it has freed is in nobody's way any more.
        let free = |target: &HeldTarget| {
            let mut places = places.iter().flatten().peekable();
            places.peek().is_some() && places.all(|place| target.has_left(openings, place))
        };
        let stands = |target: &&HeldTarget| {
            target.wish.agent == asked.agent && target.state != hold::State::Lifted
        };
        let targets = self.targets.values().filter(stands);
        let mut holds: Vec<_> = targets
            .filter(|target| touches(openings.open(&target.wish.path)) && !free(target))
            .map(|target| target.hold)
            .collect();
        holds.sort_unstable();
        holds.dedup();
        let concerns = |order: &&Order| {
            let mut items = order.served.scope.iter();
            items.any(|item| {
                item.rule == Rule::Include
                    && item.agent.is_none_or(|agent| agent == asked.agent)
                    && (item.selector != Selector::Path
                        || touches(item.value.and_then(|value| openings.open(&value))))
            })
        };
        let bare = |order: &&Order| {
            order.status != Status::Withdrawn
                && !self.holds.values().any(|h| h.order == order.served.order)
        };
        let orders = self.orders.values().filter(bare).filter(concerns);
        InTheWay {
            holds,
            orders: orders.map(|order| order.served.order).collect(),
        }
    }
}

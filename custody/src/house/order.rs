//! Orders: what was served, when it ends, and what changed it since.

use serde::{Deserialize, Serialize};

use super::{
    clock::{self, Ends},
    refusal::{Refusal, conflict, invalid},
    regime::{self, Anchor, Holding},
    scope::{Rule, ScopeItem, Selector},
};
use crate::{
    commit::Commitment,
    id::OrderId,
    time::{Span, Time},
};

/// The most items one order's scope may name in one statement.
pub const MOST_ITEMS: usize = 500;

/// Whether copies may leave to their owners while the order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Copies {
    /// A copy may be released; the evidence stays.
    Permitted,
    /// Nothing under this order may be released.
    Forbidden,
}

/// Body of `order.add`: an order as it was served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Its id here.
    pub order: OrderId,
    /// Which regime's clocks and defaults apply.
    pub regime: String,
    /// What its holds do to a living system.
    pub holding: Holding,
    /// Whether copies may be released.
    pub copies: Copies,
    /// When it was issued.
    pub issued: Time,
    /// When it was received.
    pub received: Time,
    /// Minutes east of UTC where it was received.
    pub zone_minutes: i32,
    /// The end it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Time>,
    /// It says that life or limb is at stake.
    pub emergency: bool,
    /// Who gave it.
    pub authority: Commitment,
    /// The authority's reference.
    pub reference: Commitment,
    /// SHA-256 of the document as served, committed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Commitment>,
    /// What it names.
    pub scope: Vec<ScopeItem>,
}

/// Where an order stands. No state frees anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It stands.
    Active,
    /// Its clock ran out; what it held awaits disposition.
    Expired,
    /// Who gave it took it back; what it held awaits disposition.
    Withdrawn,
}

/// One renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// When it was received.
    pub received: Time,
    /// Received after the end it renews.
    pub late: bool,
    /// Beyond what the regime allows, accepted by legal.
    pub beyond_regime: bool,
    /// Index of its entry.
    pub entry: u64,
}

/// An order as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// As it was served; the scope includes later narrowings.
    #[serde(flatten)]
    pub served: NewOrder,
    /// Where it stands.
    pub status: Status,
    /// When keeping ends, by both readings; absent: when it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Ends>,
    /// By when the provider must have acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act_until: Option<Ends>,
    /// Its renewals.
    pub renewals: Vec<Renewal>,
    /// Index of the entry that added it.
    pub entry: u64,
}

/// Checks an order as served.
pub fn check(new: &NewOrder, now: Time) -> Result<(), Refusal> {
    let regime = regime::find(&new.regime)?;
    if new.scope.is_empty() || new.scope.iter().all(|item| item.rule == Rule::Exclude) {
        return Err(invalid(
            "order.empty-scope",
            "The order names nothing to hold",
            "Name at least one server, path, account or hash",
        ));
    }
    check_items(&new.scope)?;
    if new.received < new.issued {
        return Err(invalid(
            "order.received-before-issued",
            "The order was received before it was issued",
            "Check both dates and their zones",
        ));
    }
    check_received(new.received, now)?;
    if !(-14 * 60..=14 * 60).contains(&new.zone_minutes) {
        return Err(invalid(
            "order.zone",
            "The zone of receipt is further than 14 hours from UTC",
            "Give the zone as minutes east of UTC",
        ));
    }
    if new.ends.is_some_and(|ends| ends <= new.issued) {
        return Err(invalid(
            "order.end-before-begin",
            "The order ends before it begins",
            "Check the end; leave it out to let the regime's clock decide",
        ));
    }
    let _ = regime;
    Ok(())
}

/// Checks a date of receipt: a slip of the pen would keep data for another century. A day is
/// left for zones and clocks.
pub fn check_received(received: Time, now: Time) -> Result<(), Refusal> {
    if received > now + Span::hours(24) {
        return Err(invalid(
            "order.received-in-future",
            "It is dated as received in the future",
            "Check the date and its zone",
        ));
    }
    Ok(())
}

/// Checks that each item of a scope is whole.
pub fn check_items(items: &[ScopeItem]) -> Result<(), Refusal> {
    if items.len() > MOST_ITEMS {
        return Err(invalid(
            "scope.too-many-items",
            format!("The scope names more than {MOST_ITEMS} items in one statement"),
            "Split it into several orders or name larger places",
        ));
    }
    for (at, item) in items.iter().enumerate() {
        let whole = match item.selector {
            Selector::Server => item.value.is_none() && item.agent.is_some(),
            Selector::Path | Selector::Account | Selector::Hash => item.value.is_some(),
        };
        if !whole || items[..at].iter().any(|other| other.item == item.item) {
            return Err(invalid(
                "scope.broken-item",
                "A scope item names nothing, or its id is used twice",
                "A server item needs a server; every other item needs a value",
            ));
        }
    }
    Ok(())
}

impl Order {
    /// Takes up an order as served.
    pub fn new(served: NewOrder, entry: u64) -> Self {
        let regime = regime::find(&served.regime).ok();
        let anchor = match regime.map(|regime| regime.anchor) {
            Some(Anchor::Issued) => served.issued,
            _ => served.received,
        };
        let count = |duration| clock::ends(anchor, served.zone_minutes, duration);
        let by_rule = regime.and_then(|regime| regime.keep).map(count);
        // How long we must keep: the later of what the order says and what the rule says.
        let keep_until = match (by_rule, served.ends) {
            (Some(rule), Some(end)) => Some(Ends {
                earliest: rule.earliest.min(end),
                latest: rule.latest.max(end),
            }),
            (None, Some(end)) => Some(Ends {
                earliest: end,
                latest: end,
            }),
            (rule, None) => rule,
        };
        let act_until = regime
            .and_then(|regime| {
                if served.emergency {
                    regime.act_emergency
                } else {
                    regime.act
                }
            })
            .map(count);
        Self {
            served,
            status: Status::Active,
            keep_until,
            act_until,
            renewals: vec![],
            entry,
        }
    }

    /// Checks a renewal.
    pub fn check_extend(&self, received: Time, beyond_regime: bool) -> Result<(), Refusal> {
        if self.status == Status::Withdrawn {
            return Err(conflict(
                "order.withdrawn",
                "The order was withdrawn and cannot be renewed",
                "Register the new order on its own",
            ));
        }
        if received < self.served.received {
            return Err(invalid(
                "order.renewal-before-order",
                "The renewal is dated before the order",
                "Check the date of receipt",
            ));
        }
        let regime = regime::find(&self.served.regime)?;
        if self.renewals.len() >= regime.renewals as usize && !beyond_regime {
            return Err(conflict(
                "order.renewals-used",
                format!(
                    "{} allows {} renewal(s) and all are used",
                    regime.source, regime.renewals
                ),
                "Legal can accept one more with --beyond-regime; it will be flagged",
            ));
        }
        if regime.renewal.is_none() && self.served.ends.is_none() {
            return Err(conflict(
                "order.no-clock",
                "The order has no end, so there is nothing to renew",
                "Nothing needs doing: it stands until it is withdrawn",
            ));
        }
        Ok(())
    }

    /// Renews: the new end counts from the old one, or from receipt where that came later.
    pub fn extend(&mut self, received: Time, beyond_regime: bool, entry: u64) {
        let Some(old) = self.keep_until else { return };
        let late = received > old.latest;
        if let Some(duration) = regime::find(&self.served.regime)
            .ok()
            .and_then(|r| r.renewal)
        {
            let zone = self.served.zone_minutes;
            let earliest = clock::ends(old.earliest.max(received), zone, duration).earliest;
            let latest = clock::ends(old.latest.max(received), zone, duration).latest;
            self.keep_until = Some(Ends { earliest, latest });
        } else {
            let days = Span::days(90);
            self.keep_until = Some(Ends {
                earliest: old.earliest.max(received) + days,
                latest: old.latest.max(received) + days,
            });
        }
        self.status = Status::Active;
        self.renewals.push(Renewal {
            received,
            late,
            beyond_regime,
            entry,
        });
    }

    /// Whether its clock has run out by the later reading.
    pub fn has_run_out(&self, now: Time) -> bool {
        self.status == Status::Active && self.keep_until.is_some_and(|ends| ends.latest < now)
    }
}

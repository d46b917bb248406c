//! What a hold may stand on, and what scopes may name.

use super::{Context, fresh};
use crate::{
    commit::Commitment,
    house::{
        House, Openings,
        hold::{self, Target},
        order::Status,
        refusal::{Refusal, conflict, invalid, unknown},
        scope::{self, Rule, ScopeItem, Selector},
    },
    id::AgentId,
    statement::HoldPlace,
};

/// Every server that is named must be known.
pub(super) fn known_agents<'a>(
    house: &House,
    agents: impl Iterator<Item = &'a AgentId>,
) -> Result<(), Refusal> {
    for agent in agents {
        house.agents.get(agent).ok_or_else(|| unknown(agent))?;
    }
    Ok(())
}

/// Every path that is named must be a plain one.
pub(super) fn check_values(items: &[ScopeItem], openings: &dyn Openings) -> Result<(), Refusal> {
    items
        .iter()
        .try_for_each(|item| check_path(item.selector, item.value.as_ref(), openings))
}

/// What is named by a path must be a plain one, and open.
pub(super) fn check_path(
    selector: Selector,
    value: Option<&Commitment>,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    let path = value.and_then(|value| openings.open(value));
    if selector == Selector::Path && !path.as_deref().is_some_and(scope::is_plain_path) {
        return Err(not_plain());
    }
    Ok(())
}

fn not_plain() -> Refusal {
    invalid(
        "scope.path",
        "A path must be absolute and have no empty, `.` or `..` parts",
        "Write it as the server knows it, for example /srv/data/alice",
    )
}

/// Checks a hold as it is placed: each target lies inside what the order names.
pub(super) fn check_place(
    house: &House,
    place: &HoldPlace,
    context: &Context,
) -> Result<(), Refusal> {
    fresh(&house.holds, &place.hold)?;
    let order = house
        .orders
        .get(&place.order)
        .ok_or_else(|| unknown(place.order))?;
    if order.status == Status::Withdrawn {
        return Err(conflict(
            "order.withdrawn",
            "The order was withdrawn and cannot back a hold",
            "Register the order that now applies",
        ));
    }
    if place.targets.is_empty() || place.targets.len() > hold::MOST_TARGETS {
        return Err(invalid(
            "hold.targets",
            "The scope matches nothing on any server, or more than 300 places",
            "Check the accounts, paths and servers that the order names",
        ));
    }
    for (at, target) in place.targets.iter().enumerate() {
        fresh(&house.targets, &target.target)?;
        if place.targets[..at]
            .iter()
            .any(|other| other.target == target.target)
        {
            return Err(conflict(
                "id.in-use",
                "A target is named twice",
                "Use fresh ids",
            ));
        }
        let agent = house
            .agents
            .get(&target.agent)
            .ok_or_else(|| unknown(target.agent))?;
        if agent.retired {
            return Err(conflict(
                "agent.retired",
                "The agent is retired",
                "Name a server that is in the fleet",
            ));
        }
        let path = context.openings.open(&target.path).ok_or_else(not_plain)?;
        if !scope::is_plain_path(&path) {
            return Err(not_plain());
        }
        let openings = context.openings;
        let Some(item) = names(&order.served.scope, target, &path, openings) else {
            return Err(conflict(
                "hold.out-of-scope",
                "A target lies outside what the order names",
                "Place the hold from the order's scope",
            ));
        };
        if excludes(&order.served.scope, item, target, &path, openings) {
            return Err(conflict(
                "hold.excluded",
                "A target lies in what the order leaves out",
                "Place the hold on the rest of the order's scope",
            ));
        }
    }
    Ok(())
}

fn value(item: &ScopeItem, openings: &dyn Openings) -> Option<Vec<u8>> {
    item.value.as_ref().and_then(|value| openings.open(value))
}

fn is_on(item: &ScopeItem, target: &Target) -> bool {
    item.agent.is_none_or(|agent| agent == target.agent)
}

/// The item that a target comes from, if it names the place.
fn names<'a>(
    scope: &'a [ScopeItem],
    target: &Target,
    path: &[u8],
    openings: &dyn Openings,
) -> Option<&'a ScopeItem> {
    let item = scope.iter().find(|item| item.item == target.item)?;
    let covers = item.selector != Selector::Path
        || value(item, openings).is_some_and(|place| scope::covers(&place, path));
    (item.rule == Rule::Include && is_on(item, target) && covers).then_some(item)
}

/// Whether a scope leaves out a place that one of its items names. What an erased exclusion
/// named cannot be told: in doubt it excludes nothing, and the place may be held.
fn excludes(
    scope: &[ScopeItem],
    included: &ScopeItem,
    target: &Target,
    path: &[u8],
    openings: &dyn Openings,
) -> bool {
    let mut out = scope.iter().filter(|item| item.rule == Rule::Exclude);
    out.any(|item| {
        is_on(item, target)
            && match item.selector {
                Selector::Server => true,
                Selector::Path => {
                    value(item, openings).is_some_and(|place| scope::covers(&place, path))
                }
                // An account or a file, named in and out alike.
                Selector::Account | Selector::Hash => {
                    item.selector == included.selector
                        && value(item, openings)
                            .is_some_and(|out| value(included, openings) == Some(out))
                }
            }
    })
}

//! What a hold may stand on, and what scopes may name.

use super::{Context, fresh};
use crate::{
    house::{
        House, Openings, hold,
        order::Status,
        refusal::{Refusal, conflict, invalid, unknown},
        scope,
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
pub(super) fn check_values(
    items: &[scope::ScopeItem],
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    for item in items
        .iter()
        .filter(|item| item.selector == scope::Selector::Path)
    {
        let path = item.value.as_ref().and_then(|value| openings.open(value));
        if !path.as_deref().is_some_and(scope::is_plain_path) {
            return Err(not_plain());
        }
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
        let item = order
            .served
            .scope
            .iter()
            .find(|item| item.item == target.item);
        let item = item.filter(|item| item.rule == scope::Rule::Include);
        let fits = item.is_some_and(|item| {
            let server = item.agent.is_none_or(|agent| agent == target.agent);
            let place = match item.selector {
                scope::Selector::Path => item
                    .value
                    .as_ref()
                    .and_then(|value| context.openings.open(value))
                    .is_some_and(|named| scope::covers(&named, &path)),
                _ => true,
            };
            server && place
        });
        if !fits {
            return Err(conflict(
                "hold.out-of-scope",
                "A target lies outside what the order names",
                "Place the hold from the order's scope",
            ));
        }
    }
    Ok(())
}

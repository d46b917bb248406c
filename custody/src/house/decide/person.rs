//! What people may say.

use std::collections::BTreeSet;

use super::{
    Context,
    act::check_act,
    clearance::check_ask,
    fresh,
    place::{check_path, check_place, check_values, known_agents},
};
use crate::{
    house::{
        House, claim, hold,
        order::{self, Status},
        person::{self, Role},
        refusal::{Refusal, conflict, forbidden, invalid, unknown},
        scope,
    },
    id::PersonId,
    statement::{Body, Statement},
};

/// Asks every rule about what a person says.
pub(super) fn by_person(
    house: &House,
    id: &PersonId,
    statement: &Statement,
    context: &Context,
) -> Result<(), Refusal> {
    let person = house.person(id)?;
    let kind = statement.body.kind();
    let allowed = person::may(kind);
    if person.retired || !person.has_any(allowed) {
        let who: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        return Err(forbidden(
            "role",
            match who.is_empty() {
                true => format!("No person may say {kind}"),
                false => format!(
                    "Your roles do not allow {kind}; it takes {}",
                    who.join(" or ")
                ),
            },
            "Ask someone who has the role",
        ));
    }
    match &statement.body {
        Body::PersonAdd(new) => {
            fresh(&house.persons, &new.person)?;
            house.key_is_free(&new.key)?;
            if new.roles.is_empty() {
                return Err(invalid(
                    "person.no-roles",
                    "A person without a role could do nothing",
                    "Give at least one role",
                ));
            }
            Ok(())
        }
        Body::PersonRetire(gone) => {
            house.person(&gone.person)?;
            let admins = house.persons.values().filter(|p| p.has_any(&[Role::Admin]));
            if admins.map(|p| p.id).eq([gone.person]) {
                return Err(conflict(
                    "person.last-admin",
                    "This is the last administrator",
                    "Add another administrator first",
                ));
            }
            Ok(())
        }
        Body::AgentInvite(new) => match house.agents.get(&new.agent) {
            Some(agent) if agent.retired => Err(conflict(
                "agent.retired",
                "A retired agent does not come back under its old id",
                "Invite it as a new agent",
            )),
            _ if new.expires <= context.received => Err(invalid(
                "agent.invite-expired",
                "The invitation would already be over",
                "Give it a later end",
            )),
            _ => Ok(()),
        },
        Body::AgentRetire(gone) => {
            house
                .agents
                .get(&gone.agent)
                .ok_or_else(|| unknown(gone.agent))?;
            if house
                .targets
                .values()
                .any(|t| t.wish.agent == gone.agent && t.state.holds())
            {
                return Err(conflict(
                    "agent.holds",
                    "This agent still holds data",
                    "Lift its holds first, or move them",
                ));
            }
            Ok(())
        }
        Body::AgentLimit(said) => {
            house
                .agents
                .get(&said.agent)
                .ok_or_else(|| unknown(said.agent))?;
            said.limits.check()
        }
        Body::ClearanceAsk(ask) => check_ask(house, ask, context.openings),
        Body::OrderAdd(new) => {
            fresh(&house.orders, &new.order)?;
            order::check(new, context.received)?;
            check_values(&new.scope, context.openings)?;
            known_agents(
                house,
                new.scope.iter().filter_map(|item| item.agent.as_ref()),
            )
        }
        Body::OrderExtend(more) => {
            let order = house
                .orders
                .get(&more.order)
                .ok_or_else(|| unknown(more.order))?;
            order::check_received(more.received, context.received)?;
            order.check_extend(more.received, more.beyond_regime)
        }
        Body::OrderNarrow(less) => {
            let order = house
                .orders
                .get(&less.order)
                .ok_or_else(|| unknown(less.order))?;
            order::check_received(less.received, context.received)?;
            order::check_items(&less.exclude)?;
            check_values(&less.exclude, context.openings)?;
            let excludes = less
                .exclude
                .iter()
                .all(|item| item.rule == scope::Rule::Exclude);
            let clash = less
                .exclude
                .iter()
                .any(|item| order.served.scope.iter().any(|old| old.item == item.item));
            if less.exclude.is_empty() || !excludes || clash {
                return Err(invalid(
                    "order.narrow",
                    "Narrowing excludes items and nothing else",
                    "Name what leaves the scope",
                ));
            }
            known_agents(
                house,
                less.exclude.iter().filter_map(|item| item.agent.as_ref()),
            )
        }
        Body::OrderWithdraw(end) => {
            let order = house
                .orders
                .get(&end.order)
                .ok_or_else(|| unknown(end.order))?;
            order::check_received(end.received, context.received)?;
            if order.status == Status::Withdrawn {
                return Err(conflict(
                    "order.withdrawn",
                    "The order is withdrawn already",
                    "Nothing more is needed",
                ));
            }
            Ok(())
        }
        Body::HoldPlace(place) => check_place(house, place, context),
        Body::SnapshotTake(take) => {
            if take.snapshots.is_empty() || take.snapshots.len() > hold::MOST_TARGETS {
                return Err(invalid(
                    "snapshot.targets",
                    "Ask for between 1 and 300 snapshots at a time",
                    "Name targets that are held",
                ));
            }
            let ids: BTreeSet<_> = take.snapshots.iter().map(|wish| wish.snapshot).collect();
            if ids.len() != take.snapshots.len() {
                return Err(conflict(
                    "id.in-use",
                    "A snapshot is named twice",
                    "Use fresh ids",
                ));
            }
            for wish in &take.snapshots {
                fresh(&house.snapshots, &wish.snapshot)?;
                let target = house
                    .targets
                    .get(&wish.target)
                    .ok_or_else(|| unknown(wish.target))?;
                if !target.state.holds() {
                    return Err(conflict(
                        "snapshot.not-held",
                        "Evidence is taken of what is held, and this target is not",
                        "Place a hold first",
                    ));
                }
            }
            Ok(())
        }
        Body::ClaimFile(new) => {
            fresh(&house.claims, &new.claim)?;
            let server = new
                .items
                .iter()
                .any(|item| item.selector == scope::Selector::Server);
            if new.items.is_empty() || new.items.len() > claim::MOST_ITEMS || server {
                return Err(invalid(
                    "claim.items",
                    "A claim names between 1 and 200 items, and never a whole server",
                    "Name accounts, paths or hashes",
                ));
            }
            if !new.sworn {
                return Err(invalid(
                    "claim.not-sworn",
                    "The claimant has not sworn to the claim",
                    "Have the statement sworn and file with --sworn",
                ));
            }
            for item in &new.items {
                check_path(item.selector, Some(&item.value), context.openings)?;
            }
            known_agents(
                house,
                new.items.iter().filter_map(|item| item.agent.as_ref()),
            )
        }
        Body::ClaimWithdraw(end) => house
            .claims
            .get(&end.claim)
            .map(|_| ())
            .ok_or_else(|| unknown(end.claim)),
        Body::SubjectErase(gone) => {
            let theirs = |c: &&claim::Claim| c.filed.subject == gone.subject;
            if !house.claims.values().any(|c| theirs(&c)) {
                return Err(unknown(gone.subject));
            }
            let open = |c: &claim::Claim| c.status == claim::Status::Open;
            if house.claims.values().filter(theirs).any(open) {
                return Err(conflict(
                    "subject.claim-open",
                    "A claim of this subject is still open",
                    "Decide or withdraw the claim first",
                ));
            }
            Ok(())
        }
        Body::ListImport(list) => {
            let word = |text: &str| {
                (1..=64).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !word(&list.list) || !word(&list.basis) || !(1..=500).contains(&list.hashes.len()) {
                return Err(invalid(
                    "list.import",
                    "A list has a short name and basis of letters, digits and hyphens, and 1 to \
                     500 hashes at a time",
                    "Split it into several imports",
                ));
            }
            Ok(())
        }
        Body::RequestMake(ask) => {
            fresh(&house.requests, &ask.request)?;
            house.policies()?.of(&ask.act)?;
            check_act(house, person, &ask.act, context.openings)
        }
        Body::Approve(vote) => {
            let request = house
                .requests
                .get(&vote.request)
                .ok_or_else(|| unknown(vote.request))?;
            let policy = house.policies()?.of(&request.act)?;
            request.check_vote(
                person,
                policy,
                &vote.entry,
                &vote.act,
                vote.expires,
                context.received,
            )
        }
        Body::Reject(vote) => {
            let request = house
                .requests
                .get(&vote.request)
                .ok_or_else(|| unknown(vote.request))?;
            request.check_reject(person, &vote.entry)
        }
        _ => Err(forbidden(
            "role",
            format!("No person may say {kind}"),
            "Nothing to do",
        )),
    }
}

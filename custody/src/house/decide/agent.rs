//! What agents may say.

use super::{Context, not_enrolled};
use crate::{
    house::{
        House, finding, hold,
        refusal::{Refusal, conflict, forbidden, invalid, unknown},
        release, snapshot,
    },
    id::{AgentId, ReleaseId, SnapshotId, TargetId},
    ledger::chain::{self, ChainError},
    statement::{Body, SnapshotSealed, Statement},
};

/// Whether an agent's statement is the next of its chain. Only this keeps one out of the log.
pub(super) fn follows(
    house: &House,
    id: &AgentId,
    statement: &Statement,
    context: &Context,
) -> Result<(), Refusal> {
    let agent = house.agents.get(id).ok_or_else(|| unknown(id))?;
    let enrolment = agent.enrolment.as_ref().ok_or_else(|| not_enrolled(id))?;
    if agent.retired {
        return Err(forbidden(
            "agent.retired",
            "The agent is retired",
            "Nothing to do",
        ));
    }
    let link = statement.link.as_ref().ok_or_else(|| {
        invalid(
            "agent.no-link",
            "An agent's statement needs its place in the chain",
            "Send it",
        )
    })?;
    chain::follow(&enrolment.head, link, &context.entry).map_err(|error| match error {
        ChainError::Duplicate => conflict(
            "agent.duplicate",
            "This is in the ledger already",
            "Go on with the next",
        ),
        error => conflict(
            "agent.chain",
            error.to_string(),
            "Look at the agent's findings",
        ),
    })
}

/// Asks every rule about what an agent says. None of them needs an opening or a clock.
pub(in crate::house) fn by_agent(
    house: &House,
    id: &AgentId,
    statement: &Statement,
) -> Result<(), Refusal> {
    let target = |target| house.target_of(id, target).map(|_| ());
    match &statement.body {
        Body::HoldAcknowledged(said) => target(&said.target),
        Body::HoldRaised(said) => target(&said.target),
        Body::HoldVerified(said) => {
            if house.target_of(id, &said.target)?.means.is_none() {
                return Err(conflict(
                    "hold.not-raised",
                    "Nothing says how this target is held, so it cannot be called held",
                    "Report it as raised first",
                ));
            }
            if said.attempts == 0 || said.refused != said.attempts || said.writers != 0 {
                return Err(invalid(
                    "hold.not-proved",
                    "A hold is verified when attempts were made, all were refused and no writer \
                     is left",
                    "Report it as unproved",
                ));
            }
            Ok(())
        }
        Body::HoldUnproved(said) => target(&said.target),
        Body::HoldFailed(said) => target(&said.id),
        Body::HoldLowered(said) => {
            if house.target_of(id, &said.target)?.state != hold::State::Lifting {
                return Err(conflict(
                    "hold.not-lifting",
                    "Nobody has lifted this target",
                    "Raise it again",
                ));
            }
            Ok(())
        }
        Body::HoldNarrowed(said) => {
            let target = house.target_of(id, &said.target)?;
            let (left, leaving) = (target.left.len() as u64, target.leaving.len() as u64);
            if said.places <= left || said.places > left + leaving {
                return Err(conflict(
                    "hold.not-leaving",
                    "Nobody has let so many places of this target go",
                    "Hold them",
                ));
            }
            Ok(())
        }
        Body::Finding(said) => {
            if said.places.len() > finding::MOST_PLACES {
                return Err(invalid(
                    "finding.places",
                    "A finding names at most 8 places as examples",
                    "Say how many there are in its count",
                ));
            }
            said.target.as_ref().map_or(Ok(()), target)
        }
        Body::FixityChecked(said) => {
            let sealed = held_snapshot(house, id, &said.target, &said.snapshot)?;
            let amiss = said.differ.checked_add(said.unreadable);
            if said.rows > sealed.rows || amiss.is_none_or(|amiss| amiss > said.rows) {
                return Err(invalid(
                    "fixity.rows",
                    "A round reads at most the manifest's rows, and each is amiss once at most",
                    "Count again",
                ));
            }
            Ok(())
        }
        Body::CopyMade(said) => held_snapshot(house, id, &said.target, &said.snapshot).map(|_| ()),
        Body::CopyRepaired(said) => {
            let sealed = held_snapshot(house, id, &said.target, &said.snapshot)?;
            if !said.rows.is_well_formed() || said.rows.end() > sealed.rows {
                return Err(invalid(
                    "copy.rows",
                    "Rows were repaired that the manifest does not have",
                    "Name rows of the manifest",
                ));
            }
            Ok(())
        }
        Body::SnapshotSealed(said) => own_snapshot(house, id, &said.snapshot),
        Body::SnapshotFailed(said) => own_snapshot(house, id, &said.id),
        Body::ReleasePacked(said) => own_release(house, id, &said.release),
        Body::ReleaseFailed(said) => own_release(house, id, &said.id),
        other => Err(forbidden(
            "role",
            format!("No agent may say {}", other.kind()),
            "Nothing to do",
        )),
    }
}

/// A sealed snapshot of a target, both this agent's.
fn held_snapshot<'a>(
    house: &'a House,
    agent: &AgentId,
    target: &TargetId,
    id: &SnapshotId,
) -> Result<&'a SnapshotSealed, Refusal> {
    house.target_of(agent, target)?;
    let found = house.snapshots.get(id).filter(|s| s.target == *target);
    let sealed = found.and_then(|s| s.sealed.as_ref());
    sealed.ok_or_else(|| unknown(id))
}

fn own_snapshot(house: &House, agent: &AgentId, id: &SnapshotId) -> Result<(), Refusal> {
    let found = house
        .snapshots
        .get(id)
        .filter(|s| s.agent == *agent)
        .ok_or_else(|| unknown(id))?;
    if found.state != snapshot::State::Requested {
        return Err(conflict(
            "snapshot.done",
            "This snapshot is sealed already",
            "Go on",
        ));
    }
    Ok(())
}

fn own_release(house: &House, agent: &AgentId, id: &ReleaseId) -> Result<(), Refusal> {
    let found = house
        .releases
        .get(id)
        .filter(|r| r.agent == *agent)
        .ok_or_else(|| unknown(id))?;
    if found.state != release::State::Ordered {
        return Err(conflict(
            "release.done",
            "This release is packed already",
            "Go on",
        ));
    }
    Ok(())
}

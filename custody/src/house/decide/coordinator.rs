//! What the coordinator may say: what follows from what others said, and nothing of its own will.

use super::{
    Context,
    act::check_room,
    check_policies,
    clearance::{check_given, check_refused},
    fresh, key_in_use, not_enrolled,
};
use crate::{
    house::{
        House,
        act::Act,
        claim,
        person::Role,
        refusal::{Refusal, conflict, forbidden, unknown},
        release, snapshot,
    },
    id::AgentId,
    statement::{Body, Statement},
};

/// Asks every rule about what the coordinator says. For a release that is carried out it
/// answers with the agent that has the bytes.
pub(super) fn by_coordinator(
    house: &House,
    statement: &Statement,
    context: &Context,
) -> Result<Option<AgentId>, Refusal> {
    let not_now = |rule, why: &str| Err(conflict(rule, why, "Nothing to do"));
    match &statement.body {
        Body::LogOpened(opened) => {
            if house.opened.is_some() {
                return not_now("log.opened", "The log is open already");
            }
            if opened.key.ed25519_bytes() == opened.coordinator.ed25519_bytes() {
                return Err(key_in_use());
            }
            check_policies(&opened.policies)?;
        }
        Body::AgentEnrolled(said) => {
            let agent = house
                .agents
                .get(&said.agent)
                .ok_or_else(|| unknown(said.agent))?;
            house.key_is_free(&said.key)?;
            let next = agent.enrolment.as_ref().map_or(0, |e| e.head.epoch + 1);
            let invited = agent
                .invitation
                .as_ref()
                .is_some_and(|i| context.received < i.expires);
            if agent.retired || !invited || said.epoch != next {
                return not_now(
                    "agent.no-invitation",
                    "There is no open invitation for this agent",
                );
            }
        }
        Body::AgentCertified(said) => {
            let agent = house
                .agents
                .get(&said.agent)
                .ok_or_else(|| unknown(said.agent))?;
            if agent.retired || agent.enrolment.is_none() {
                return Err(not_enrolled(&said.agent));
            }
        }
        Body::OrderExpired(said) => {
            let order = house
                .orders
                .get(&said.order)
                .ok_or_else(|| unknown(said.order))?;
            let ended = order
                .keep_until
                .is_some_and(|ends| ends.latest == said.ended);
            if !ended || !order.has_run_out(context.received) {
                return not_now("order.not-run-out", "The order's clock has not run out");
            }
        }
        Body::SnapshotReceived(said) => {
            let shot = house
                .snapshots
                .get(&said.snapshot)
                .ok_or_else(|| unknown(said.snapshot))?;
            if shot.state != snapshot::State::Sealed
                || shot
                    .sealed
                    .as_ref()
                    .is_none_or(|sealed| sealed.root != said.root)
            {
                return not_now(
                    "snapshot.not-sealed",
                    "The manifest is not the one that was sealed",
                );
            }
        }
        Body::ClaimMatched(said) => {
            let claim = house
                .claims
                .get(&said.claim)
                .ok_or_else(|| unknown(said.claim))?;
            let shot = house
                .snapshots
                .get(&said.snapshot)
                .ok_or_else(|| unknown(said.snapshot))?;
            let rows = shot.sealed.as_ref().map_or(0, |sealed| sealed.rows);
            if claim.status != claim::Status::Open
                || !said.rows.is_well_formed()
                || said.rows.end() > rows
                || said.lists != house.lists_revision
            {
                return not_now(
                    "claim.match",
                    "The match does not fit the claim or the snapshot",
                );
            }
        }
        Body::RequestExecuted(said) => {
            let request = house
                .requests
                .get(&said.request)
                .ok_or_else(|| unknown(said.request))?;
            request.check_open()?;
            house.check_due(request, context.received)?;
            let newest = request
                .votes
                .values()
                .map(|vote| vote.entry)
                .max()
                .unwrap_or(u64::MAX);
            if said.checkpoint <= newest {
                return not_now(
                    "approval.no-checkpoint",
                    "No checkpoint covers the approvals yet",
                );
            }
            if let Act::Release {
                release,
                claim,
                files,
            } = &request.act
            {
                // Another request for the same release may have been carried out meanwhile.
                fresh(&house.releases, release)?;
                return house.may_release(context.openings, claim, files).map(Some);
            }
            if let Act::Narrow { targets } = &request.act {
                check_room(house, targets)?;
            }
        }
        Body::ReleaseSpooled(said) => {
            let found = house
                .releases
                .get(&said.release)
                .ok_or_else(|| unknown(said.release))?;
            if found.state != release::State::Packed {
                return not_now("release.not-packed", "The release is not packed");
            }
        }
        Body::ReleaseDelivered(said) => {
            let found = house
                .releases
                .get(&said.release)
                .ok_or_else(|| unknown(said.release))?;
            if !matches!(
                found.state,
                release::State::Spooled | release::State::Delivered
            ) {
                return not_now("release.not-spooled", "The parcel is not here yet");
            }
            if !house.person(&said.to)?.has_any(&[Role::Claims]) {
                return Err(forbidden(
                    "role",
                    "A parcel goes to a claims officer, who hands it to its owner",
                    "Ask someone who has the role",
                ));
            }
            house.may_release(context.openings, &found.claim, &found.files)?;
            let request = house
                .requests
                .get(&found.request)
                .ok_or_else(|| unknown(found.request))?;
            house.check_due(request, context.received)?;
        }
        Body::ClearanceGiven(said) => check_given(house, said, context)?,
        Body::ClearanceRefused(said) => check_refused(house, said, context.openings)?,
        Body::ClearanceUsed(said) => {
            house.may_wipe(context.openings, &said.clearance, context.received)?;
        }
        Body::Finding(_) | Body::Refused(_) => {}
        other => {
            return Err(forbidden(
                "role",
                format!("The coordinator may not say {}", other.kind()),
                "Nothing to do",
            ));
        }
    }
    Ok(None)
}

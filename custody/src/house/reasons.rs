//! Reasons: which holds stand on a place, and why a release may not go ahead.

use std::collections::BTreeSet;

use super::{
    House, Openings,
    act::Rows,
    approval::Request,
    claim::{Claim, Status},
    hold::HeldTarget,
    order::Copies,
    refusal::{Refusal, conflict, unknown},
    scope,
    snapshot::Snapshot,
};
use crate::id::{AgentId, ClaimId, HoldId};

impl House {
    /// The holds that stand on a place of a server: those with a target that covers it and that
    /// it was not taken out of.
    ///
    /// A target whose path was erased counts for every place of its server: in doubt, held.
    pub fn reasons(
        &self,
        openings: &dyn Openings,
        agent: &AgentId,
        path: &[u8],
    ) -> BTreeSet<HoldId> {
        self.standing(agent)
            .filter(|target| target.stands_on(openings, path))
            .map(|target| target.hold)
            .collect()
    }

    fn standing<'a>(&'a self, agent: &'a AgentId) -> impl Iterator<Item = &'a HeldTarget> {
        self.targets
            .values()
            .filter(move |t| t.wish.agent == *agent && t.state.holds())
    }

    /// Whether a copy of these rows may go to the owner who made this claim, now.
    ///
    /// Asked when the release is requested, when it is carried out and at each delivery:
    /// every row is claimed and matched under today's exclusion lists, no other open claim
    /// contests it, and no hold on it forbids copies.
    pub fn may_release(
        &self,
        openings: &dyn Openings,
        claim: &ClaimId,
        files: &[Rows],
    ) -> Result<AgentId, Refusal> {
        let claim = self.claims.get(claim).ok_or_else(|| unknown(claim))?;
        if claim.status != Status::Open {
            return Err(conflict(
                "release.claim-over",
                "The claim was withdrawn",
                "File a new claim",
            ));
        }
        let mut agents = BTreeSet::new();
        for rows in files {
            let snapshot = self.received(&rows.snapshot)?;
            agents.insert(snapshot.agent);
            self.check_rows(claim, snapshot, rows)?;
            self.check_copies(openings, snapshot)?;
        }
        match (agents.len(), agents.first()) {
            (1, Some(agent)) => Ok(*agent),
            _ => Err(conflict(
                "release.one-server",
                "A release takes files from exactly one server",
                "Make one request for each server",
            )),
        }
    }

    fn received(&self, id: &crate::id::SnapshotId) -> Result<&Snapshot, Refusal> {
        let snapshot = self.snapshots.get(id).ok_or_else(|| unknown(id))?;
        if snapshot.state != super::snapshot::State::Received {
            return Err(conflict(
                "release.snapshot-not-received",
                "The snapshot's manifest is not here yet",
                "Wait until `snapshot show` says received",
            ));
        }
        Ok(snapshot)
    }

    fn check_rows(&self, claim: &Claim, snapshot: &Snapshot, rows: &Rows) -> Result<(), Refusal> {
        let matched = claim
            .rows(&snapshot.id)
            .filter(|m| m.lists == self.lists_revision);
        let Some(matched) = matched else {
            return Err(conflict(
                "release.not-screened",
                "The claim has not been matched under today's exclusion lists",
                "Run `claim match` again",
            ));
        };
        if rows.rows.is_empty()
            || !rows.rows.is_well_formed()
            || !rows.rows.is_within(&matched.rows)
        {
            return Err(conflict(
                "release.not-claimed",
                "The request names files that the claim does not cover or that may not leave",
                "Ask only for what `claim show` lists as matched",
            ));
        }
        let others = self.claims.values().filter(|c| c.status == Status::Open);
        for other in others.filter(|other| other.filed.claim != claim.filed.claim) {
            let theirs = other.rows(&snapshot.id).ok_or_else(|| {
                conflict(
                    "release.other-claim-open",
                    "Another claim has not been matched against this snapshot yet",
                    "Try again in a moment",
                )
            })?;
            if !rows.rows.intersection(&theirs.rows).is_empty() {
                return Err(conflict(
                    "release.contested",
                    "Another claim covers some of these files, so they are frozen",
                    "Ask for the rest, or wait until one of the claims is decided",
                ));
            }
        }
        Ok(())
    }

    fn check_copies(&self, openings: &dyn Openings, snapshot: &Snapshot) -> Result<(), Refusal> {
        let ours = self
            .targets
            .get(&snapshot.target)
            .map(|t| openings.open(&t.wish.path));
        for target in self.standing(&snapshot.agent) {
            let apart = match (&ours, openings.open(&target.wish.path)) {
                (Some(Some(ours)), Some(theirs)) => {
                    !scope::overlap(ours, &theirs) || target.let_go(openings, ours)
                }
                _ => false,
            };
            let order = self
                .holds
                .get(&target.hold)
                .and_then(|h| self.orders.get(&h.order));
            if !apart && order.is_none_or(|order| order.served.copies == Copies::Forbidden) {
                return Err(conflict(
                    "release.copies-forbidden",
                    "A hold on this data does not allow copies to leave",
                    "Ask legal counsel; nothing can be released while it stands",
                ));
            }
        }
        Ok(())
    }

    /// Whether a request may be carried out at `now`, but for the checkpoint that must cover it.
    pub fn check_due(&self, request: &Request, now: crate::time::Time) -> Result<(), Refusal> {
        let policy = self.policies()?.of(&request.act)?;
        let counted = request.counted(policy, now, |id| self.persons.get(id));
        if counted < policy.approvals {
            return Err(conflict(
                "approval.too-few",
                format!("{counted} of {} approvals count", policy.approvals),
                "Ask another approver",
            ));
        }
        if now < request.earliest(policy) {
            return Err(conflict(
                "approval.notice",
                "The notice period is not over",
                "Wait for it to end; nothing else is needed",
            ));
        }
        Ok(())
    }

    pub(crate) fn policies(&self) -> Result<&super::approval::Policies, Refusal> {
        match &self.opened {
            Some(opened) => Ok(&opened.policies),
            None => Err(conflict(
                "log.not-opened",
                "The log has not been opened",
                "Run `holdfast-server init`",
            )),
        }
    }
}

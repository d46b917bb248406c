//! Tasks: what each agent, and the coordinator itself, has left to do.
//!
//! Nothing queues tasks: they are read off the state, so a crash cannot lose one, and an
//! agent that comes back after weeks is told all that is left, holds first.

use super::{House, approval, clearance, hold, order, release, snapshot};
use crate::{
    id::{AgentId, ClearanceId, OrderId, ReleaseId, RequestId, SnapshotId, TargetId},
    time::Time,
};

/// One thing an agent is to do. Doing it twice must be the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Raise and prove a hold on a target.
    Raise(TargetId),
    /// Take a snapshot of a target.
    Capture(SnapshotId),
    /// Send a manifest that the coordinator does not have.
    SendManifest(SnapshotId),
    /// Re-read, check, pack and encrypt a release.
    Pack(ReleaseId),
    /// Send a parcel that the coordinator does not have.
    SendParcel(ReleaseId),
    /// Free the places that left a target, and go on holding the rest.
    Narrow(TargetId),
    /// Lower a hold that was lifted.
    Lower(TargetId),
}

/// One thing the coordinator is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// An order's clock has run out.
    Expire(OrderId, Time),
    /// A request's approvals stand and its notice is over.
    Execute(RequestId),
    /// Somebody asks whether something may be wiped.
    Answer(ClearanceId),
}

impl House {
    /// What an agent has left to do, in the order in which it is to do it.
    pub fn tasks(&self, agent: &AgentId) -> Vec<Task> {
        let mut tasks = Vec::new();
        for target in self.targets.values().filter(|t| t.wish.agent == *agent) {
            match target.state {
                hold::State::Requested
                | hold::State::Acknowledged
                | hold::State::Drifted
                | hold::State::Failed => tasks.push(Task::Raise(target.wish.target)),
                hold::State::Lifting => tasks.push(Task::Lower(target.wish.target)),
                hold::State::Verified | hold::State::Lifted => {}
            }
            if target.state.holds() && !target.leaving.is_empty() {
                tasks.push(Task::Narrow(target.wish.target));
            }
        }
        for shot in self.snapshots.values().filter(|s| s.agent == *agent) {
            match shot.state {
                snapshot::State::Requested => tasks.push(Task::Capture(shot.id)),
                snapshot::State::Sealed => tasks.push(Task::SendManifest(shot.id)),
                snapshot::State::Received | snapshot::State::Failed => {}
            }
        }
        for release in self.releases.values().filter(|r| r.agent == *agent) {
            match release.state {
                release::State::Ordered => tasks.push(Task::Pack(release.id)),
                release::State::Packed => tasks.push(Task::SendParcel(release.id)),
                release::State::Spooled | release::State::Delivered | release::State::Failed => {}
            }
        }
        tasks.sort_unstable();
        tasks
    }

    /// What the coordinator has to say at `now`.
    pub fn due(&self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        for order in self.orders.values().filter(|o| o.has_run_out(now)) {
            if let Some(ends) = order.keep_until {
                due.push(Due::Expire(order.served.order, ends.latest));
            }
        }
        let asked = self.clearances.values();
        let asked = asked.filter(|c| c.state == clearance::State::Asked);
        due.extend(asked.map(|c| Due::Answer(c.asked.clearance)));
        let open = self
            .requests
            .values()
            .filter(|r| r.status == approval::Status::Open);
        due.extend(
            open.filter(|r| self.check_due(r, now).is_ok())
                .map(|r| Due::Execute(r.id)),
        );
        due
    }

    /// Whether anything of an order still holds something.
    pub fn still_holds(&self, order: &order::Order) -> bool {
        self.targets.values().any(|target| {
            target.state.holds()
                && self
                    .holds
                    .get(&target.hold)
                    .is_some_and(|h| h.order == order.served.order)
        })
    }
}

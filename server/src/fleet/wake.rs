//! Wakes the streams of agents that have something to do, once for many changes.
//!
//! One pass over the state a change at most every [`GATHER`], whatever the number of agents:
//! the work grows with the records that are open, not with the fleet times the records.

use std::{collections::HashSet, sync::Arc, time::Duration};

use custody::{
    house::{House, hold, release, snapshot},
    id::AgentId,
};

use super::limits;
use crate::app::Coordinator;

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(50);

fn busy(house: &House) -> HashSet<AgentId> {
    let targets = house.targets.values().filter(|target| {
        let settled = matches!(target.state, hold::State::Verified | hold::State::Lifted);
        !settled || (target.state.holds() && !target.leaving.is_empty())
    });
    let snapshots = house.snapshots.values().filter(|snapshot| {
        matches!(
            snapshot.state,
            snapshot::State::Requested | snapshot::State::Sealed
        )
    });
    let releases = house.releases.values().filter(|release| {
        matches!(
            release.state,
            release::State::Ordered | release::State::Packed
        )
    });
    targets
        .map(|target| target.wish.agent)
        .chain(snapshots.map(|snapshot| snapshot.agent))
        .chain(releases.map(|release| release.agent))
        .collect()
}

/// Runs until the coordinator stops.
pub async fn run(coordinator: Arc<Coordinator>) {
    let mut changed = coordinator.desk.changed();
    loop {
        tokio::select! {
            () = coordinator.stop.cancelled() => return,
            more = changed.changed() => if more.is_err() { return },
        }
        let connected = coordinator.fleet.connected();
        if !connected.is_empty() {
            let (busy, retired, limited) = {
                let house = coordinator.desk.house();
                let retired = house.agents.values().filter(|agent| agent.retired);
                let limited = connected
                    .iter()
                    .filter(|session| limits::due(&house, session).is_some());
                (
                    busy(&house),
                    retired.map(|a| a.id).collect::<HashSet<_>>(),
                    limited.map(|s| s.agent).collect::<HashSet<_>>(),
                )
            };
            for session in connected {
                if [&busy, &retired, &limited]
                    .iter()
                    .any(|some| some.contains(&session.agent))
                {
                    session.wake.notify_one();
                }
            }
        }
        tokio::time::sleep(GATHER).await;
    }
}

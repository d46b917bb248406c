//! Folds a request that is carried out.

use super::{Changes, hold::target};
use crate::{
    house::{
        House,
        act::Act,
        approval::Status,
        hold::State,
        release::{Release, State as ReleaseState},
    },
    id::{AgentId, RequestId, TargetId},
    statement::RequestExecuted,
};

/// Carries a request out: a release is ordered from its agent, targets are lifted.
pub(super) fn carry_out(
    house: &mut House,
    changes: &mut Changes,
    index: u64,
    b: &RequestExecuted,
    agent: Option<AgentId>,
) {
    let Some(request) = house.requests.get_mut(&b.request) else {
        return;
    };
    request.status = Status::Executed;
    changes.note("requests", b.request);
    match (request.act.clone(), agent) {
        (
            Act::Release {
                release,
                claim,
                files,
            },
            Some(agent),
        ) => {
            let record = Release {
                id: release,
                claim,
                request: b.request,
                agent,
                files,
                state: ReleaseState::Ordered,
                packed: None,
                packed_entry: None,
                deliveries: 0,
                trouble: None,
                entry: index,
            };
            house.releases.insert(release, record);
            changes.note("releases", release);
        }
        (Act::Lift { targets }, _) => {
            for id in targets {
                target(house, changes, index, id, |target| {
                    if target.state.holds() {
                        // What was never asked of a server needs no lowering there.
                        target.state = State::Lifting;
                    }
                });
                lifted(house, changes, id, b.request);
            }
        }
        (Act::Narrow { targets }, _) => {
            for narrowing in targets {
                target(house, changes, index, narrowing.target, |target| {
                    // What was lifted meanwhile has let everything go.
                    if target.state.holds() {
                        target.leaving.extend(narrowing.leave);
                    }
                });
            }
        }
        (Act::Release { .. }, None) => {}
    }
}

/// A hold is lifted when the last of its targets is.
fn lifted(house: &mut House, changes: &mut Changes, target: TargetId, by: RequestId) {
    let Some(hold) = house.targets.get(&target).map(|target| target.hold) else {
        return;
    };
    let Some(hold) = house.holds.get_mut(&hold) else {
        return;
    };
    let stands = |id: &TargetId| house.targets.get(id).is_some_and(|t| t.state.holds());
    if hold.lifted_by.is_none() && !hold.targets.iter().any(stands) {
        hold.lifted_by = Some(by);
        changes.note("holds", hold.id);
    }
}

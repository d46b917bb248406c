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
    id::AgentId,
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
                let hold = house.targets.get(&id).map(|t| t.hold);
                if let Some(hold) = hold.and_then(|id| house.holds.get_mut(&id)) {
                    hold.lifted_by = Some(b.request);
                    changes.note("holds", hold.id);
                }
            }
        }
        (Act::Release { .. }, None) => {}
    }
}

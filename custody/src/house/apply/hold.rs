//! Folds what happens to holds and their targets.

use super::Changes;
use crate::{
    house::{
        House,
        hold::{HeldTarget, Hold, State},
    },
    id::TargetId,
    statement::{HoldNarrowed, HoldPlace},
};

/// Takes up a hold that is placed, with all its targets.
pub(super) fn place(house: &mut House, changes: &mut Changes, index: u64, b: HoldPlace) {
    let Some(order) = house.orders.get(&b.order) else {
        return;
    };
    let holding = order.served.holding;
    let targets = b.targets.iter().map(|target| target.target).collect();
    for wish in b.targets {
        changes.note("targets", wish.target);
        house.targets.insert(
            wish.target,
            HeldTarget {
                wish,
                hold: b.hold,
                holding,
                state: State::Requested,
                means: None,
                since: None,
                trouble: None,
                attempts: 0,
                writers: 0,
                fixity: None,
                copy: None,
                leaving: Vec::new(),
                left: Vec::new(),
                changed: index,
            },
        );
    }
    let hold = Hold {
        id: b.hold,
        order: b.order,
        targets,
        at_least: b.at_least,
        lifted_by: None,
        entry: index,
    };
    house.holds.insert(b.hold, hold);
    changes.note("holds", b.hold);
}

/// Takes up that places have left a target: those that were the first to be let go.
pub(super) fn narrowed(house: &mut House, changes: &mut Changes, index: u64, b: &HoldNarrowed) {
    target(house, changes, index, b.target, |target| {
        let known = target.left.len();
        let new = usize::try_from(b.places)
            .unwrap_or(usize::MAX)
            .saturating_sub(known);
        let new = new.min(target.leaving.len());
        target.left.extend(target.leaving.drain(..new));
    });
}

/// Changes one target, if it is there.
pub(super) fn target(
    house: &mut House,
    changes: &mut Changes,
    index: u64,
    id: TargetId,
    change: impl FnOnce(&mut HeldTarget),
) {
    if let Some(target) = house.targets.get_mut(&id) {
        // A report that was on its way when the target was lifted must not bring it back.
        let over = !target.state.holds();
        let before = target.state;
        change(target);
        if over && target.state != State::Lifted {
            target.state = before;
        }
        target.changed = index;
        changes.note("targets", id);
    }
}

//! Folds what happens to clearances.

use super::Changes;
use crate::{
    house::{
        House,
        clearance::{Clearance, State},
    },
    id::ClearanceId,
    statement::{Author, ClearanceAsk},
};

/// Takes up a question.
pub(super) fn ask(
    house: &mut House,
    changes: &mut Changes,
    index: u64,
    author: Author,
    b: ClearanceAsk,
) {
    let Author::Person(by) = author else {
        return;
    };
    changes.note("clearances", b.clearance);
    let clearance = Clearance {
        by,
        state: State::Asked,
        entry: index,
        changed: index,
        asked: b,
    };
    house
        .clearances
        .insert(clearance.asked.clearance, clearance);
}

/// Takes up where it stands now.
pub(super) fn set(
    house: &mut House,
    changes: &mut Changes,
    index: u64,
    id: ClearanceId,
    state: State,
) {
    if let Some(clearance) = house.clearances.get_mut(&id) {
        clearance.state = state;
        clearance.changed = index;
        changes.note("clearances", id);
    }
}

//! What may be asked for: a release, a lift, a narrowing.

use std::collections::BTreeSet;

use super::fresh;
use crate::{
    commit::Commitment,
    house::{
        House, Openings,
        act::{Act, MOST_LEAVE, Narrowing},
        hold::{HeldTarget, MOST_LEFT, MOST_TARGETS},
        person::{Person, Role},
        refusal::{Refusal, conflict, forbidden, invalid, unknown},
        scope,
    },
    id::TargetId,
};

/// Checks what is asked for, and that this person may ask for it.
pub(super) fn check_act(
    house: &House,
    person: &Person,
    act: &Act,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    match act {
        Act::Release {
            release,
            claim,
            files,
        } => {
            if !person.has_any(&[Role::Claims]) {
                return Err(forbidden(
                    "role",
                    "Only a claims officer asks for a release",
                    "Ask someone who has the role",
                ));
            }
            fresh(&house.releases, release)?;
            house.may_release(openings, claim, files).map(|_| ())
        }
        Act::Lift { targets } => {
            check_asker(person)?;
            check_count(targets.len())?;
            targets
                .iter()
                .try_for_each(|id| held(house, id).map(|_| ()))
        }
        Act::Narrow { targets } => {
            check_asker(person)?;
            check_count(targets.len())?;
            check_room(house, targets)?;
            targets
                .iter()
                .try_for_each(|narrowing| check_narrowing(house, narrowing, openings))
        }
    }
}

fn check_asker(person: &Person) -> Result<(), Refusal> {
    if person.has_any(&[Role::Legal]) {
        return Ok(());
    }
    Err(forbidden(
        "role",
        "Only legal counsel asks for a lift",
        "Ask someone who has the role",
    ))
}

fn check_count(targets: usize) -> Result<(), Refusal> {
    if (1..=MOST_TARGETS).contains(&targets) {
        return Ok(());
    }
    Err(invalid(
        "hold.targets",
        "A lift names between 1 and 300 targets",
        "Split it into several requests",
    ))
}

fn held<'a>(house: &'a House, id: &TargetId) -> Result<&'a HeldTarget, Refusal> {
    let target = house.targets.get(id).ok_or_else(|| unknown(id))?;
    if !target.state.holds() {
        return Err(conflict(
            "hold.lifted",
            format!("{id} is lifted already"),
            "Leave it out",
        ));
    }
    Ok(target)
}

/// Whether so much may leave: asked again when it is carried out, since other requests may have
/// been carried out meanwhile.
pub(super) fn check_room(house: &House, targets: &[Narrowing]) -> Result<(), Refusal> {
    let all: usize = targets.iter().map(|narrowing| narrowing.leave.len()).sum();
    if all > MOST_LEAVE {
        return Err(invalid(
            "hold.too-many-places",
            format!("One request lets at most {MOST_LEAVE} places leave"),
            "Split it into several requests",
        ));
    }
    for narrowing in targets {
        let Some(target) = house.targets.get(&narrowing.target) else {
            return Err(unknown(narrowing.target));
        };
        if target.left.len() + target.leaving.len() + narrowing.leave.len() > MOST_LEFT {
            return Err(conflict(
                "hold.too-narrow",
                format!("More than {MOST_LEFT} places would have left one target"),
                "Place a hold on what stays, then lift this one whole",
            ));
        }
    }
    Ok(())
}

fn check_narrowing(
    house: &House,
    narrowing: &Narrowing,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    let target = held(house, &narrowing.target)?;
    let places: BTreeSet<&Commitment> = narrowing.leave.iter().collect();
    let known = |place: &&Commitment| target.left.contains(place) || target.leaving.contains(place);
    if places.is_empty() || places.len() != narrowing.leave.len() || places.iter().any(known) {
        return Err(invalid(
            "hold.leave",
            "A narrowing names the places that leave, each once",
            "Name at least one place below each target",
        ));
    }
    // What cannot be opened cannot be told to lie below: in doubt it stays.
    let whole = openings.open(&target.wish.path);
    let below = |place: &Commitment| {
        let (Some(whole), Some(place)) = (&whole, openings.open(place)) else {
            return false;
        };
        scope::is_plain_path(&place) && scope::covers(whole, &place) && !same(whole, &place)
    };
    if !narrowing.leave.iter().all(below) {
        return Err(conflict(
            "hold.not-below",
            format!(
                "A place that is to leave {} does not lie below it",
                narrowing.target
            ),
            "Name absolute paths below the target; lift the target to free the whole of it",
        ));
    }
    Ok(())
}

fn same(one: &[u8], other: &[u8]) -> bool {
    scope::covers(one, other) && scope::covers(other, one)
}

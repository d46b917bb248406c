//! Whether something may be wiped: what may be asked, and how it must be answered.

use super::{Context, fresh};
use crate::{
    house::{
        House, Openings,
        clearance::{self, Clearance, State, What},
        refusal::{Refusal, conflict, invalid, unknown},
        scope,
    },
    id::ClearanceId,
    statement::{ClearanceAsk, ClearanceGiven, ClearanceRefused},
    time::Time,
};

/// Checks a question.
pub(super) fn check_ask(
    house: &House,
    ask: &ClearanceAsk,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    fresh(&house.clearances, &ask.clearance)?;
    house
        .agents
        .get(&ask.agent)
        .ok_or_else(|| unknown(ask.agent))?;
    let (disk, places) = (ask.disk.is_some(), ask.places.len());
    let sound = match ask.what {
        What::Server => !disk && places == 0,
        What::Disk => disk && places <= clearance::MOST_PLACES,
        What::Path => !disk && places == 1,
    };
    if !sound {
        return Err(invalid(
            "clearance.places",
            "A clearance is for a server, for a disk with what lies on it, or for one path",
            "Ask for one of them",
        ));
    }
    let plain = |path: Vec<u8>| scope::is_plain_path(&path);
    if !ask
        .places
        .iter()
        .all(|place| openings.open(place).is_some_and(plain))
    {
        return Err(invalid(
            "scope.path",
            "A path must be absolute and have no empty, `.` or `..` parts",
            "Write it as the server knows it, for example /srv/data/alice",
        ));
    }
    Ok(())
}

fn asked<'a>(house: &'a House, id: &ClearanceId) -> Result<&'a Clearance, Refusal> {
    let found = house.clearances.get(id).ok_or_else(|| unknown(id))?;
    if found.state != State::Asked {
        return Err(conflict(
            "clearance.answered",
            "This was answered already",
            "Nothing to do",
        ));
    }
    Ok(found)
}

/// A yes must be true, and short-lived.
pub(super) fn check_given(
    house: &House,
    said: &ClearanceGiven,
    context: &Context,
) -> Result<(), Refusal> {
    let found = asked(house, &said.clearance)?;
    free(house, found, context.openings)?;
    let latest = context.received + clearance::VALID;
    if said.expires <= context.received || said.expires > latest {
        return Err(conflict(
            "clearance.too-long",
            "A clearance holds for a day at most",
            "Nothing to do",
        ));
    }
    Ok(())
}

/// A no names exactly what stands in the way.
pub(super) fn check_refused(
    house: &House,
    said: &ClearanceRefused,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    let found = asked(house, &said.clearance)?;
    let way = house.in_the_way(openings, &found.asked);
    if way.is_empty() || way.holds != said.holds || way.orders != said.orders {
        return Err(conflict(
            "clearance.not-so",
            "That is not what stands in the way",
            "Look again",
        ));
    }
    Ok(())
}

fn free(house: &House, found: &Clearance, openings: &dyn Openings) -> Result<(), Refusal> {
    if house.in_the_way(openings, &found.asked).is_empty() {
        return Ok(());
    }
    Err(conflict(
        "clearance.held",
        "What is to be wiped is held, or an order names it",
        "Do not wipe it. `holdfast clearance ask` names the holds",
    ))
}

impl House {
    /// Whether a clearance may be used at `now`: it was given, has not run out, was not used
    /// before, and nothing stands in the way that has come since.
    pub fn may_wipe(
        &self,
        openings: &dyn Openings,
        id: &ClearanceId,
        now: Time,
    ) -> Result<&Clearance, Refusal> {
        let found = self.clearances.get(id).ok_or_else(|| unknown(id))?;
        let no = |rule, why: &str| Err(conflict(rule, why, "Ask for a clearance again"));
        match &found.state {
            State::Asked => return no("clearance.asked", "The clearance is not answered yet"),
            State::Used => return no("clearance.used", "The clearance was used before"),
            State::Refused { .. } => return no("clearance.refused", "The clearance was refused"),
            State::Given { expires } if *expires <= now => {
                return no("clearance.over", "The clearance has run out");
            }
            State::Given { .. } => {}
        }
        free(self, found, openings)?;
        Ok(found)
    }
}

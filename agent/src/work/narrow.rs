//! Narrowing: frees the places that the house let go of a target, says how many are free, and
//! proves that the rest is held still.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use custody::{
    id::TargetId,
    statement::{Body, HoldNarrowed},
};

use super::{
    Context, Done, Undone,
    gauge::Gauge,
    hold::{known, on_its_way, prove, say_raised},
};
use crate::{
    enforce::{HoldTrouble, Lowered, Phase, job::is_below, job::path_of},
    journal::known::Stage,
};

/// Frees those of these places that are held still. `None` when none is.
pub(super) fn free(
    context: &Context,
    target: TargetId,
    left: &[PathBuf],
    gauge: &Gauge,
) -> Result<Option<Lowered>, HoldTrouble> {
    if left.is_empty() {
        return Ok(None);
    }
    let all = context.keeper.all();
    let record = all.iter().find(|record| record.target == target);
    let record = record.ok_or(HoldTrouble::UnknownTarget)?;
    let path = path_of(record);
    let gone = |place: &Path| {
        let inside = place.strip_prefix(&path).unwrap_or(place);
        let inside = inside.as_os_str().as_bytes();
        record.left.iter().any(|left| is_below(inside, left))
    };
    let held: Vec<_> = left.iter().filter(|place| !gone(place)).cloned().collect();
    if held.is_empty() && record.phase == Phase::Raised {
        return Ok(None);
    }
    // With nothing new, it ends what a crash has interrupted.
    let leave = if held.is_empty() { left } else { &held };
    context.keeper.narrow(target, leave, &gauge.hold).map(Some)
}

/// Frees what the house let go of a target. `leave` is all that ever left it.
pub(super) fn narrow(
    context: &Context,
    target: TargetId,
    leave: &[PathBuf],
    gauge: &Gauge,
) -> Result<Done, Undone> {
    let places = leave.len() as u64;
    let before = known(context, target);
    let said = before.as_ref().is_some_and(|known| known.places >= places);
    let lowered = before.is_some_and(|known| known.stage == Stage::Lowered);
    if lowered || (said && on_its_way(context)) {
        return Ok(Done::All);
    }
    let freed = match free(context, target, leave, gauge) {
        Ok(freed) => freed.unwrap_or_else(|| last(context, target)),
        Err(HoldTrouble::Stopped) => return Ok(Done::Stopped),
        Err(trouble) => {
            // It goes on holding: that is not for the ledger to call a failed hold.
            tracing::error!(%target, reason = trouble.word(), "cannot narrow: {trouble}");
            return Ok(Done::Again);
        }
    };
    let body = HoldNarrowed {
        target,
        places,
        freed: freed.freed,
        kept: freed.kept,
    };
    context.book.say(Body::HoldNarrowed(body), &[])?;
    tracing::info!(%target, places, freed = freed.freed, kept = freed.kept, "hold narrowed");
    again(context, target, gauge)
}

/// What the last narrowing came to: it was done, and a crash kept it from being said.
fn last(context: &Context, target: TargetId) -> Lowered {
    let all = context.keeper.all();
    let record = all.into_iter().find(|record| record.target == target);
    let narrowed = record.and_then(|record| record.narrowed);
    narrowed.map_or_else(Lowered::default, |(_, lowered)| lowered)
}

/// Says how much is held now, and proves it.
fn again(context: &Context, target: TargetId, gauge: &Gauge) -> Result<Done, Undone> {
    let all = context.keeper.all();
    let Some(record) = all.into_iter().find(|record| record.target == target) else {
        return Ok(Done::All);
    };
    let path = path_of(&record);
    let raising =
        context
            .keeper
            .raise_at_least(target, &path, record.holding, record.at_least, &gauge.hold);
    match raising {
        Ok(raised) => {
            say_raised(context, target, raised)?;
            prove(context, target, gauge)
        }
        Err(trouble) => {
            // The next check looks at it, and says what is amiss.
            tracing::error!(%target, reason = trouble.word(), "the rest is not looked at: {trouble}");
            context.raise_again(&record);
            Ok(Done::All)
        }
    }
}

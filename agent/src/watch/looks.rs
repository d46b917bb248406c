//! Looks: what the hands of the watch do, each on a thread of its own: look, say what is found,
//! and have it made true again.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, PoisonError},
};

use custody::id::TargetId;

use super::{
    ear::Shared,
    found, glance,
    held::Held,
    marks::{self, Marked},
    rounds::Round,
};
use crate::{
    enforce::{Found, Phase, Progress, Record},
    work::{Context, check::check_one, finding::say_found},
};

/// Marks by target: of which raising, and what they came to.
pub(super) type Marks = BTreeMap<TargetId, ((i64, usize), Marked)>;

/// Whether a target can be looked at now: nobody works on it, and it is reached.
pub(super) fn may(context: &Context, target: TargetId) -> bool {
    !context.is_worked_on(target) && context.watch.is_amiss(target).is_none()
}

/// A target as it is held at this moment: a part may have left it since it was taken in.
fn fresh(context: &Context, held: &Held) -> Held {
    let all = context.keeper.all();
    let same = |record: &&Record| {
        record.target == held.target() && record.since_ns == held.record.since_ns
    };
    let record = all.iter().find(same).unwrap_or(&held.record);
    Held {
        record: record.clone(),
        ..held.clone()
    }
}

/// Looks at what was touched in one target, and says what is found.
pub(super) fn closely(context: &Context, held: &Held, round: &Round) {
    let held = &fresh(context, held);
    let mut found = match glance::things(&context.keeper, held, &round.things) {
        Ok(found) => found,
        Err(errno) => {
            tracing::warn!(target = %held.target(), %errno, "what was touched cannot be looked at");
            Vec::new()
        }
    };
    if round.whole && found.is_empty() {
        let checked = context.keeper.check(held.target(), &Progress::default());
        found = checked.unwrap_or_default();
    }
    name(&mut found, round);
    say(context, held, &found);
}

/// What was found of targets.
pub(super) type AllFound = Vec<(Arc<Held>, Vec<Found>)>;

/// Glances at a root; gives what is not as it was.
pub(super) fn at_root(context: &Context, held: Vec<Arc<Held>>) -> AllFound {
    let may = |held: &Arc<Held>| may(context, held.target());
    let held: Vec<_> = held.into_iter().filter(may).collect();
    let Some(first) = held.first() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (at, looked) in glance::root(&context.keeper, &first.root, &held) {
        match (looked, held.get(at)) {
            (Ok(found), Some(held)) if !found.is_empty() => all.push((Arc::clone(held), found)),
            (Err(errno), Some(held)) => {
                tracing::debug!(target = %held.target(), %errno, "cannot be glanced at");
            }
            _ => {}
        }
    }
    all
}

/// Names who did what was found, where that was heard.
pub(super) fn name(found: &mut [Found], round: &Round) {
    for one in found {
        let places = one.places.iter();
        one.by = round.by(places.map(|place| Path::new(OsStr::from_bytes(place))));
    }
}

/// Says what was found of a target, unless somebody of ours worked on it meanwhile, and has it
/// raised again. What was said before and stands is already being raised, in the time that takes.
pub(super) fn say(context: &Context, held: &Held, found: &[Found]) {
    if found.is_empty() || !may(context, held.target()) {
        return;
    }
    let all = context.keeper.all();
    let record = all.iter().find(|record| record.target == held.target());
    let stands =
        |record: &&Record| record.phase == Phase::Raised && record.since_ns == held.record.since_ns;
    let Some(record) = record.filter(stands) else {
        return;
    };
    let mut news = false;
    for one in found {
        match say_found(context, held.target(), one, true) {
            Ok(said) => news |= said,
            Err(error) => {
                tracing::error!(target = %held.target(), %error, "a finding cannot be said");
            }
        }
    }
    if news {
        context.raise_again(record);
    }
}

/// Looks at the mounts and says what is amiss; gives what can be reached again.
pub fn at_mounts(context: &Context) -> Vec<TargetId> {
    let (amiss, cured) = match context.watch.look_at_mounts(&context.keeper) {
        Ok(looked) => looked,
        Err(error) => {
            tracing::error!(%error, "the table of mounts cannot be read");
            return Vec::new();
        }
    };
    for (target, one) in &amiss {
        if let Err(error) = say_found(context, *target, &found(one), true) {
            tracing::error!(%target, %error, "a finding cannot be said");
        }
    }
    cured
}

/// Checks what can be reached again, and has it proved again.
pub(super) fn again(context: &Context, cured: TargetId) {
    let all = context.keeper.all();
    let Some(record) = all.iter().find(|record| record.target == cured) else {
        return;
    };
    tracing::info!(target = %cured, "what is held can be reached again");
    if let Err(error) = check_one(context, record, &Progress::default()) {
        tracing::error!(target = %cured, %error, "cannot be checked");
    }
}

/// Marks targets.
pub(super) fn set_marks(context: &Context, ear: &Shared, new: &[Arc<Held>], clear: bool) -> Marks {
    let mut all = BTreeMap::new();
    let Some(marks) = &ear.marks else { return all };
    if clear {
        marks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
    for held in new {
        let marked = marks::mark(marks, &context.keeper, held);
        let lock = marks.read().unwrap_or_else(PoisonError::into_inner);
        let names = lock.names;
        drop(lock);
        match marked {
            Ok(marked) => {
                all.insert(held.target(), (held.state(), marked));
                if marked.left > 0 {
                    ear.note("there are more folders than can be marked".to_owned());
                }
            }
            Err(error) => {
                ear.note(format!("some of what is held cannot be marked ({error})"));
                let none = Marked {
                    folders: 0,
                    left: 1,
                };
                all.insert(held.target(), (held.state(), none));
            }
        }
        if !names {
            ear.note(
                "it does not say which process made them (CAP_SYS_ADMIN is missing)".to_owned(),
            );
        }
    }
    all
}

//! Findings as they are said: once while they stand, and with examples that only the coordinator
//! can open.

use custody::{
    commit::{LONGEST_VALUE, Opening},
    house::finding::FindingKind,
    id::TargetId,
    statement::{Body, Finding},
};

use super::{Context, Undone};
use crate::{edge::now, enforce::Found, journal::known::TargetKnown};

/// Says a finding about a target; gives whether it was news.
///
/// Until a hold was proved again the same finding stands, and is not said a second time. After
/// that, what was seen as it happened (`live`) is a new one; what a check finds is new where it
/// can come again, as a protection that was put back or a writer, and else only when there is
/// more or less of it: what has changed stays changed.
pub fn say_found(
    context: &Context,
    target: TargetId,
    found: &Found,
    live: bool,
) -> Result<bool, Undone> {
    let known = context
        .book
        .known(|known| known.targets.get(&target).cloned());
    if !is_news(&known.unwrap_or_default(), found, live) {
        return Ok(false);
    }
    tracing::warn!(%target, what = ?found.what, count = found.count, "held data is not as it was");
    say(context, Some(target), found)?;
    Ok(true)
}

/// Says a finding about this server and no target.
pub fn say_own(context: &Context, found: &Found) -> Result<(), Undone> {
    tracing::warn!(what = ?found.what, count = found.count, "something is not as it should be here");
    say(context, None, found)
}

fn is_news(known: &TargetKnown, found: &Found, live: bool) -> bool {
    let comes_again = matches!(
        found.what,
        FindingKind::ProtectionGone
            | FindingKind::WriterLeft
            | FindingKind::Unmounted
            | FindingKind::MountedOver
            | FindingKind::SnapshotGone
    );
    let same = |said: Option<&u64>| said == Some(&found.count);
    if same(known.standing.get(&found.what)) {
        // Each time somebody is left who can write it is said who.
        return found.what == FindingKind::WriterLeft;
    }
    live || comes_again || !same(known.found.get(&found.what))
}

fn say(context: &Context, target: Option<TargetId>, found: &Found) -> Result<(), Undone> {
    let edge = context.book.edge();
    let fresh = |field, value: &[u8]| Ok::<_, Undone>(Opening::new(field, value, edge.random()?));
    // A longer path can be committed to by nobody; the count says that there is more.
    let short = |place: &&Vec<u8>| place.len() <= LONGEST_VALUE;
    let places = found.places.iter().filter(short);
    let places = places.map(|place| fresh("path", place));
    let mut openings = places.collect::<Result<Vec<_>, _>>()?;
    let places = openings.iter().map(Opening::commitment).collect();
    let by = found.by.as_ref().map(|by| fresh("process", by.as_bytes()));
    let by = by.transpose()?;
    let body = Finding {
        what: found.what,
        target,
        count: found.count,
        evidence: Vec::new(),
        entry: None,
        places,
        by: by.as_ref().map(Opening::commitment),
        noticed: Some(now()),
    };
    openings.extend(by);
    context.book.say(Body::Finding(body), &openings)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(standing: Option<u64>, found: Option<u64>, what: FindingKind) -> TargetKnown {
        TargetKnown {
            standing: standing.map(|count| (what, count)).into_iter().collect(),
            found: found.map(|count| (what, count)).into_iter().collect(),
            ..TargetKnown::default()
        }
    }

    #[test]
    fn a_finding_that_stands_is_said_once_and_one_that_comes_again_is_new() {
        use FindingKind::{HeldChanged, ProtectionGone, Unmounted};
        for what in [HeldChanged, ProtectionGone, Unmounted] {
            let one = Found::new(what, 3);
            for live in [false, true] {
                assert!(is_news(&known(None, None, what), &one, live), "the first");
                let stands = known(Some(3), Some(3), what);
                assert!(!is_news(&stands, &one, live), "it stands");
                assert!(is_news(&known(Some(2), Some(2), what), &one, live), "more");
            }
            let cured = known(None, Some(3), what);
            assert!(is_news(&cured, &one, true), "seen as it happened");
            assert_eq!(is_news(&cured, &one, false), what != HeldChanged);
        }
    }
}

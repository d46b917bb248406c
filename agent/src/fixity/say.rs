//! What is said of reading again: findings, and the end of each round. Paths are opened for those
//! who may see them; in the ledger stand salted leaves and commitments alone.

use std::io;

use custody::{
    commit::{LONGEST_VALUE, Opening},
    house::finding::{FindingKind, MOST_PLACES},
    statement::{Body, Finding, FixityChecked},
    time::Span,
};

use super::{
    register::{Item, Register, Wrong},
    state::Told,
    worker::{Held, Worker},
};

/// Leaves that a finding names.
const MOST_LEAVES: usize = 16;

/// Whether it is time to say it: at once when there is something, again when there is twice as much,
/// and what else has changed when a round ends. A disk that dies row by row does not fill the
/// ledger.
fn is_due(now: Told, said: Option<Told>, round_ends: bool) -> bool {
    match said {
        _ if now.count == 0 => false,
        None => true,
        Some(said) if said == now => false,
        Some(said) => round_ends || now.count >= said.count.saturating_mul(2),
    }
}

/// Says what is wrong, where that is not said yet.
pub(super) fn found(worker: &Worker, held: &mut Held, round_ends: bool) -> io::Result<()> {
    if held.register.is_empty()
        && held.state.said.differ.is_none()
        && held.state.said.unreadable.is_none()
    {
        return Ok(());
    }
    for wrong in [Wrong::Differs, Wrong::Unreadable] {
        let now = held.register.told(wrong);
        let said = match wrong {
            Wrong::Differs => held.state.said.differ,
            Wrong::Unreadable => held.state.said.unreadable,
        };
        let after = if is_due(now, said, round_ends) {
            say(worker, held, wrong, now)?;
            Some(now)
        } else if said.is_some_and(|said| now.count < said.count) {
            // Some are well again: who comes next is news.
            (now.count > 0).then_some(now)
        } else {
            said
        };
        if after != said {
            held.dirty = true;
        }
        match wrong {
            Wrong::Differs => held.state.said.differ = after,
            Wrong::Unreadable => held.state.said.unreadable = after,
        }
    }
    Ok(())
}

fn say(worker: &Worker, held: &mut Held, wrong: Wrong, now: Told) -> io::Result<()> {
    held.register.flush()?;
    let (target, snapshot) = (held.state.target, held.state.snapshot);
    let items = Register::items(worker.shelf(), &snapshot)?;
    // The newest first: these are the news.
    let mut items: Vec<&Item> = items
        .iter()
        .filter(|item| item.wrong == Some(wrong))
        .collect();
    items.sort_by_key(|item| (std::cmp::Reverse(item.noticed), item.row));
    let book = worker.house.book();
    let mut openings = Vec::new();
    for item in items.iter().take(MOST_PLACES) {
        let raw = hex::decode(&item.path_hex).unwrap_or_default();
        let place = worker.house.keeper().place(target, &raw);
        if let Some(place) = place.filter(|place| place.len() <= LONGEST_VALUE) {
            openings.push(Opening::new("path", place, book.edge().random()?));
        }
    }
    let what = match wrong {
        Wrong::Differs => FindingKind::FixityDiffers,
        Wrong::Unreadable => FindingKind::Unreadable,
    };
    tracing::error!(
        %target, %snapshot, what = ?what, count = now.count,
        "held data was read again and is not as it was; see holdfast-agent fixity"
    );
    let body = Finding {
        what,
        target: Some(target),
        count: now.count,
        evidence: items
            .iter()
            .filter_map(|item| item.leaf)
            .take(MOST_LEAVES)
            .collect(),
        entry: None,
        places: openings.iter().map(Opening::commitment).collect(),
        by: None,
        noticed: items.iter().map(|item| item.noticed).min(),
    };
    book.say(Body::Finding(body), &openings)
        .map_err(io::Error::other)?;
    Ok(())
}

/// Says, once, that a manifest is not the one that was sealed.
pub(super) fn manifest(worker: &Worker, held: &mut Held) -> io::Result<()> {
    if held.state.said.manifest {
        return Ok(());
    }
    let body = Finding {
        what: FindingKind::ManifestDiffers,
        target: Some(held.state.target),
        count: 1,
        evidence: Vec::new(),
        entry: None,
        places: Vec::new(),
        by: None,
        noticed: None,
    };
    worker
        .house
        .book()
        .say(Body::Finding(body), &[])
        .map_err(io::Error::other)?;
    held.state.said.manifest = true;
    held.dirty = true;
    Ok(())
}

/// Says that a round ended, and opens the next.
pub(super) fn checked(worker: &Worker, held: &mut Held, period: Span) -> io::Result<()> {
    let ended = (worker.clock)();
    let round = &mut held.state.round;
    round.ended = Some(ended);
    let body = FixityChecked {
        target: held.state.target,
        snapshot: held.state.snapshot,
        round: round.number,
        rows: round.rows,
        bytes: round.bytes,
        differ: round.differ,
        unreadable: round.unreadable,
        began: round.began.unwrap_or(ended),
        ended,
    };
    tracing::info!(
        snapshot = %body.snapshot, round = body.round, rows = body.rows, bytes = body.bytes,
        differ = body.differ, unreadable = body.unreadable, "all of it was read again"
    );
    let number = round.number;
    worker
        .house
        .book()
        .say(Body::FixityChecked(body), &[])
        .map_err(io::Error::other)?;
    held.register.compact(number)?;
    held.state.turn(held.state.window().next(ended, period));
    held.portion = super::portion::Portion::default();
    held.copies.clear();
    held.dirty = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use custody::digest::Digest;

    use super::*;

    #[test]
    fn a_disk_that_dies_row_by_row_is_said_a_few_times_and_each_change_once_a_round() {
        let told = |count: u64| Told {
            count,
            rows: Digest::of(&count.to_be_bytes()),
        };
        let (mut said, mut times) = (None, 0);
        for count in 1..=1_000_000 {
            if is_due(told(count), said, false) {
                said = Some(told(count));
                times += 1;
            }
        }
        assert_eq!(times, 20);
        assert!(is_due(told(1_000_000), said, true));
        assert!(
            !is_due(told(1_000_000), Some(told(1_000_000)), true),
            "said once"
        );
        assert!(
            !is_due(told(0), said, true),
            "a round that finds nothing says so itself"
        );
    }
}

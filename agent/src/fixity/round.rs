//! Rounds: the rows of a manifest, one after the other, read again and compared.

use std::io;

use custody::{
    house::ranges::Ranges,
    time::{Span, Time},
};
use rustix::io::Errno;

use super::{
    plan::ROW,
    portion::{self, Item, Sealed},
    read::{self, Expected, Outcome},
    register::{self, Wrong},
    say,
    store::Store,
    stream,
    worker::{Guard, Held, RETRY, Worker},
};
use crate::{
    capture::trouble::errno_word,
    release::reread::{Base, is_swapped},
};

/// Contents of a second copy that are remembered.
pub(super) const MOST_COPIES: usize = 16_384;
/// Lost rows that are put back at a time.
const MOST_LOST: usize = 256;

/// A row that is lost in its place, and stands in the second copy.
pub(super) struct Lost {
    pub(super) item: Item,
}

pub(super) fn expected(item: &Item) -> Expected {
    Expected {
        row: item.row.index,
        size: item.row.size,
        sha256: item.sha256,
    }
}

impl Worker {
    /// Reads on in a snapshot, about so much; gives the work that was done.
    pub(super) fn read(&mut self, held: &mut Held, budget: u64, period: Span) -> u64 {
        let now = (self.clock)();
        let opened = self.open(held);
        let base = match opened {
            Ok(base) => base,
            Err(why) => {
                self.trouble(held, Some(why), now);
                return 0;
            }
        };
        held.state.round.began.get_or_insert(now);
        let store = self.copy_of(held);
        let (mut work, mut lost, mut read) = (0, Vec::new(), false);
        let went = loop {
            // At least one file, however slow the pace.
            if self.is_stopped() || (read && work >= budget) || lost.len() >= MOST_LOST {
                break Ok(());
            }
            read |= !held.portion.items.is_empty();
            let left = budget.saturating_sub(work);
            match self.row(held, &base, store.as_ref(), left, &mut lost) {
                Ok(Some(did)) => work += did,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        held.dirty |= work > 0;
        let ended = went.is_ok() && held.state.round.next >= held.state.rows;
        let went = went.and_then(|()| {
            self.mend(held, store.as_ref(), &lost)?;
            say::found(self, held, ended)?;
            if ended {
                say::checked(self, held, period)?;
            }
            self.note(held, ended || !lost.is_empty())
        });
        self.trouble(held, went.err().map(|error| error.to_string()), now);
        work
    }

    /// Opens what is held, and looks once whether its manifest is the one that was sealed.
    fn open(&mut self, held: &mut Held) -> Result<Base, String> {
        let (target, snapshot) = (held.state.target, held.state.snapshot);
        if !self.stands(target) {
            return Err("it is not held just now".to_owned());
        }
        if !held.trusted {
            let manifest = self.house.evidence().manifest(&snapshot);
            let sealed = Sealed {
                path: &manifest,
                key: &held.key,
            };
            let right = portion::is_the_sealed(sealed, &held.sealed)
                .map_err(|error| format!("its manifest cannot be read ({error})"))?;
            if !right {
                say::manifest(self, held).map_err(|error| error.to_string())?;
                return Err("its manifest is not the one that was sealed".to_owned());
            }
            held.trusted = true;
        }
        super::base(self.house.as_ref(), target)
    }

    fn trouble(&self, held: &mut Held, trouble: Option<String>, now: Time) {
        if let Some(why) = &trouble {
            held.read_after = now + RETRY;
            if held.state.trouble != trouble {
                let snapshot = held.state.snapshot;
                tracing::warn!(%snapshot, "cannot be read again just now: {why}");
            }
        }
        held.dirty |= held.state.trouble != trouble;
        held.state.trouble = trouble;
    }

    /// Reads the next row with content; gives the work, or none where there is no further row, or
    /// it was stopped.
    fn row(
        &mut self,
        held: &mut Held,
        base: &Base,
        store: Option<&Store>,
        budget: u64,
        lost: &mut Vec<Lost>,
    ) -> io::Result<Option<u64>> {
        let round = &mut held.state.round;
        if held.portion.items.is_empty() {
            round.next = round.next.max(held.portion.end);
            if round.next >= held.state.rows {
                return Ok(None);
            }
            let manifest = self.house.evidence().manifest(&held.state.snapshot);
            let sealed = Sealed {
                path: &manifest,
                key: &held.key,
            };
            let portion = portion::next(sealed, round.next).map_err(io::Error::other)?;
            let passed = portion
                .items
                .front()
                .map_or(portion.end, |item| item.row.index);
            let work = passed.saturating_sub(round.next).saturating_mul(ROW);
            if portion.end == round.next {
                // The file says that it has more rows than it has.
                round.next = held.state.rows;
            }
            held.portion = portion;
            return Ok(Some(work));
        }
        let Some(item) = held.portion.items.front().cloned() else {
            return Ok(None);
        };
        let before = held.state.inside.as_ref().map_or(0, |inside| inside.at);
        let outcome = if self
            .house
            .keeper()
            .has_left(held.state.target, &item.row.path)
        {
            None
        } else {
            Some(self.reread(held, base, &item, budget)?)
        };
        if let Some(Outcome::Stopped(inside)) = outcome {
            let at = inside.as_ref().map_or(0, |inside| inside.at);
            held.dirty |= held.state.inside != inside;
            held.state.inside = inside;
            let did = at.saturating_sub(before);
            return Ok((did > 0).then_some(did));
        }
        if outcome.as_ref().is_some_and(|o| *o != Outcome::Same) && !self.stands(held.state.target)
        {
            // It was let go while it was read: whoever owns it may do with it what he likes.
            return Err(io::Error::other("it is not held any more"));
        }
        held.state.inside = None;
        held.portion.items.pop_front();
        let next = held.portion.items.front().map(|item| item.row.index);
        held.state.round.next = next.unwrap_or(held.portion.end);
        let passed = held.state.round.next - item.row.index;
        if let Some(outcome) = outcome {
            held.state.round.rows += 1;
            held.state.round.bytes += item.row.size;
            self.take(held, base, store, item.clone(), outcome, lost);
        }
        held.state.round.passed += item.row.size;
        Ok(Some(passed * ROW + item.row.size.saturating_sub(before)))
    }

    /// Reads the content of a row in its place. Errs where what is in the way says nothing of what is
    /// held: then it is tried again.
    fn reread(
        &mut self,
        held: &Held,
        base: &Base,
        item: &Item,
        budget: u64,
    ) -> io::Result<Outcome> {
        let mut guard = Guard {
            house: self.house.as_ref(),
            stop: &self.stop,
            left: budget.max(read::LONG / 2),
        };
        let expected = expected(item);
        match base.file(&item.row.path) {
            Some(Ok(file)) => {
                let from = held.state.inside.as_ref();
                let buffer = &mut self.buffer;
                Ok(read::file(&file, &expected, from, buffer, &mut guard))
            }
            Some(Err(errno)) => not_opened(errno, item),
            None => {
                let outcome = match base.content(&item.row) {
                    Ok(content) => stream::stream(content, &expected, &mut self.buffer, &mut guard),
                    Err(errno) if is_swapped(errno) => Outcome::Differs,
                    Err(errno) => return Err(errno.into()),
                };
                match outcome {
                    // A network that fails, or a store that is down, has lost nothing.
                    Outcome::Unreadable { reason, .. } => Err(io::Error::other(format!(
                        "its store does not give it ({reason}); it is asked again"
                    ))),
                    outcome => Ok(outcome),
                }
            }
        }
    }

    /// Takes what reading a row came to, and looks at its second copy.
    fn take(
        &mut self,
        held: &mut Held,
        base: &Base,
        store: Option<&Store>,
        item: Item,
        outcome: Outcome,
        lost: &mut Vec<Lost>,
    ) {
        let (round, now) = (held.state.round.number, (self.clock)());
        let copied = store.is_some_and(|store| {
            let whole = outcome == Outcome::Same;
            self.copy_stands(held, base, store, &item, whole)
        });
        let Some(mut entry) = entry(&item, outcome, round, now) else {
            let well = register::Item::well(item.row.index, round, now);
            return held.register.note(well);
        };
        match entry.wrong {
            Some(Wrong::Differs) => held.state.round.differ += 1,
            _ => held.state.round.unreadable += 1,
        }
        entry.copy = copied;
        held.register.note(entry);
        if copied {
            lost.push(Lost { item });
        }
    }

    /// Whether the second copy of a row is good. One that is not is made anew, where the row itself
    /// is whole.
    fn copy_stands(
        &mut self,
        held: &mut Held,
        base: &Base,
        store: &Store,
        item: &Item,
        whole: bool,
    ) -> bool {
        let Some(copy) = held.state.copy.as_mut() else {
            return false;
        };
        if item.row.index >= copy.next || (whole && held.copies.contains(&item.sha256)) {
            return false;
        }
        let mut guard = Guard {
            house: self.house.as_ref(),
            stop: &self.stop,
            left: u64::MAX,
        };
        let (snapshot, expected) = (held.state.snapshot, expected(item));
        let found = store.check(&snapshot, &expected, &mut self.buffer, &mut guard);
        let mut good = found == Outcome::Same;
        if let (false, true, Some(Ok(file))) = (good, whole, base.file(&item.row.path)) {
            if matches!(found, Outcome::Stopped(_)) {
                return false;
            }
            let put = store.put(&snapshot, &expected, &file, &mut self.buffer, &mut guard);
            good = matches!(put, super::store::Put::Kept) && store.flush().is_ok();
            copy.remade += u64::from(good);
            tracing::warn!(%snapshot, row = item.row.index, good, "a second copy was lost and is made anew");
        }
        copy.lost += u64::from(!good && !whole);
        if good && held.copies.len() < MOST_COPIES {
            held.copies.insert(item.sha256);
        }
        good
    }
}

/// What it says of a row that its file could not be opened.
pub(super) fn not_opened(errno: Errno, item: &Item) -> io::Result<Outcome> {
    match errno {
        errno if is_our_own(errno) => Err(errno.into()),
        errno if is_swapped(errno) => Ok(Outcome::Differs),
        errno => Ok(Outcome::Unreadable {
            reason: errno_word(errno),
            ranges: vec![(0, item.row.size)],
            gave_up: true,
        }),
    }
}

/// Whether an error is about this process and not about what it reads: no descriptors or memory
/// left, or a lease that somebody has on the file.
fn is_our_own(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR
    )
}

/// What the register says of a row, if anything is wrong with it.
pub(super) fn entry(
    item: &Item,
    outcome: Outcome,
    round: u64,
    now: Time,
) -> Option<register::Item> {
    let (wrong, reason, ranges, gave_up) = match outcome {
        Outcome::Same | Outcome::Stopped(_) => return None,
        Outcome::Differs => (Wrong::Differs, None, Vec::new(), false),
        Outcome::Unreadable {
            reason,
            ranges,
            gave_up,
        } => (Wrong::Unreadable, Some(reason), ranges, gave_up),
    };
    Some(register::Item {
        wrong: Some(wrong),
        path: String::from_utf8_lossy(&item.row.path).into_owned(),
        path_hex: hex::encode(&item.row.path),
        leaf: Some(item.leaf),
        size: item.row.size,
        reason,
        ranges,
        gave_up,
        ..register::Item::well(item.row.index, round, now)
    })
}

/// A set of rows.
pub(super) fn ranges(rows: impl Iterator<Item = u64>) -> Ranges {
    Ranges::from_unsorted(rows.map(|row| (row, row + 1)).collect())
}

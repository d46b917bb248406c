//! Second copies: made from what is held, compared with the manifest on the way, and drawn on when
//! the first is lost.

use std::io;

use custody::{
    id::SnapshotId,
    statement::{Body, CopyMade},
    time::{Span, Time},
};

use super::{
    plan::ROW,
    portion::{self, Item, Sealed},
    read::Outcome,
    round::{MOST_COPIES, entry, expected, not_opened},
    settings::SecondCopy,
    state::Copied,
    store::{Put, Store},
    worker::{Guard, Held, Step, Worker},
};
use crate::{disks, release::reread::Base};

/// How long a place that fails, or is full, is left alone.
const RETRY: Span = Span::seconds(300);
/// How long a target that is worked on is left alone.
const PAUSE: Span = Span::seconds(10);

/// Why copying stands still.
enum Halt {
    /// The agent stops, or the target is let go.
    Stopped,
    /// The place, in a sentence.
    Place(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Place(error.to_string())
    }
}

impl Worker {
    /// Copies on, where a copy is wanted and not whole. None where there is nothing to copy.
    pub(super) fn copy(&mut self, now: Time) -> Option<Step> {
        let wanted = |held: &Held| {
            // What could not be had is tried again once a round, and not day after day.
            let (rows, round) = (held.state.rows, held.state.round.number);
            let is_done = |copy: &Copied| copy.whole || (copy.next >= rows && copy.round == round);
            let whole = held.state.copy.as_ref().is_some_and(is_done);
            // None waits longer than that, but for a clock that was set back.
            let waits = |after: Time| after > now && after <= now + RETRY;
            let waits = waits(held.copy_after) || waits(held.read_after);
            !whole && !waits && self.place_of(held).is_some()
        };
        let mut all: Vec<_> = self.held.values().filter(|held| wanted(held)).collect();
        all.sort_by_key(|held| std::cmp::Reverse(self.risk(held)));
        let snapshot = all.first()?.state.snapshot;
        let did = self.with(snapshot, |worker, held| {
            let place = worker.place_of(held)?;
            let copied = worker.copy_on(held, &place);
            let trouble = match copied {
                Ok(work) => return Some(work),
                Err(Halt::Stopped) => {
                    held.copy_after = now + PAUSE;
                    return Some(0);
                }
                Err(Halt::Place(trouble)) => trouble,
            };
            held.copy_after = now + RETRY;
            if held.state.copy_trouble.as_ref() != Some(&trouble) {
                tracing::error!(%snapshot, "no second copy: {trouble}");
                held.state.copy_trouble = Some(trouble);
                held.dirty = true;
                let _ = worker.note(held, true);
            }
            Some(0)
        });
        Some(Step::Did {
            work: did.flatten()?,
            pace: None,
        })
    }

    fn copy_on(&mut self, held: &mut Held, place: &SecondCopy) -> Result<u64, Halt> {
        let (target, snapshot) = (held.state.target, held.state.snapshot);
        if !self.stands(target) {
            return Err(Halt::Stopped);
        }
        let base = super::base(self.house.as_ref(), target).map_err(Halt::Place)?;
        let store = open_place(self, held, place).map_err(Halt::Place)?;
        let mut copy = match held.state.copy.take() {
            Some(copy) if copy.path == place.path => copy,
            _ => fresh(place, &store, held.state.round.number),
        };
        if copy.next > 0 && !store.has(&snapshot) {
            let why = gone(place, &snapshot);
            held.state.copy = Some(copy);
            return Err(Halt::Place(why));
        }
        if copy.next >= held.state.rows {
            // Some rows could not be had the last time.
            copy = fresh(place, &store, held.state.round.number);
        }
        let copied = self.copy_portion(held, &base, &store, &mut copy);
        let ended = copy.next >= held.state.rows;
        let made = ended && copy.missing == 0 && copied.is_ok();
        let (files, bytes) = (copy.files, copy.bytes);
        copy.whole = made;
        held.state.copy = Some(copy);
        held.dirty = true;
        let work = copied?;
        if made {
            held.copies.clear();
            self.house
                .book()
                .say(
                    Body::CopyMade(CopyMade {
                        target,
                        snapshot,
                        files,
                        bytes,
                    }),
                    &[],
                )
                .map_err(io::Error::other)?;
            tracing::info!(%snapshot, files, bytes, "a second copy is whole");
        }
        held.state.copy_trouble = None;
        self.note(held, true)?;
        Ok(work)
    }

    /// Copies the rows of one portion.
    fn copy_portion(
        &mut self,
        held: &mut Held,
        base: &Base,
        store: &Store,
        copy: &mut Copied,
    ) -> Result<u64, Halt> {
        let manifest = self.house.evidence().manifest(&held.state.snapshot);
        let sealed = Sealed {
            path: &manifest,
            key: &held.key,
        };
        let portion = portion::next(sealed, copy.next).map_err(io::Error::other)?;
        let (mut work, mut files, mut bytes, mut missing) = (0, 0, 0, 0);
        for item in &portion.items {
            let left = self
                .house
                .keeper()
                .has_left(held.state.target, &item.row.path);
            if left {
                continue;
            }
            work += ROW + item.row.size;
            match self.copy_one(held, base, store, item)? {
                true => {
                    files += 1;
                    bytes += item.row.size;
                }
                false => missing += 1,
            }
        }
        let flushing = |errno| Halt::Place(format!("the copies cannot be flushed ({errno})"));
        store.flush().map_err(flushing)?;
        copy.files += files;
        copy.bytes += bytes;
        copy.missing += missing;
        copy.next = match portion.end == copy.next {
            true => held.state.rows,
            false => portion.end,
        };
        Ok(work)
    }

    /// Copies one row; false where its content could not be had.
    fn copy_one(
        &mut self,
        held: &mut Held,
        base: &Base,
        store: &Store,
        item: &Item,
    ) -> Result<bool, Halt> {
        if held.copies.contains(&item.sha256) {
            return Ok(true);
        }
        let mut guard = Guard {
            house: self.house.as_ref(),
            stop: &self.stop,
            left: u64::MAX,
        };
        let (snapshot, expected) = (held.state.snapshot, expected(item));
        let is_there = store.content(&snapshot, &item.sha256).is_ok();
        let there = is_there
            && store.check(&snapshot, &expected, &mut self.buffer, &mut guard) == Outcome::Same;
        if there {
            remember(held, item);
            return Ok(true);
        }
        let put = match base.file(&item.row.path) {
            Some(Ok(file)) => store.put(&snapshot, &expected, &file, &mut self.buffer, &mut guard),
            Some(Err(errno)) => Put::Original(not_opened(errno, item)?),
            // What a store keeps under a legal hold is on other machines already.
            None => return Ok(false),
        };
        if self.is_stopped() || !self.stands(held.state.target) {
            return Err(Halt::Stopped);
        }
        match put {
            Put::Kept => {
                remember(held, item);
                Ok(true)
            }
            Put::Original(Outcome::Stopped(_)) => Err(Halt::Stopped),
            Put::Original(outcome) => {
                let (round, now) = (held.state.round.number, (self.clock)());
                if let Some(entry) = entry(item, outcome, round, now) {
                    held.register.note(entry);
                    held.dirty = true;
                }
                Ok(false)
            }
            Put::Full => Err(Halt::Place(
                "its place has no room. Make room there, or name another place in agent.toml; it \
                 is tried again"
                    .to_owned(),
            )),
            Put::Place(errno) => Err(Halt::Place(format!(
                "its place cannot be written ({errno}). Look at that disk; it is tried again"
            ))),
        }
    }

    /// Opens the second copy of a snapshot, if there is one.
    pub(super) fn copy_of(&self, held: &Held) -> Option<Store> {
        let copy = held.state.copy.as_ref()?;
        let store = Store::open(&copy.path).ok()?;
        store.has(&held.state.snapshot).then_some(store)
    }
}

/// Notes that content was read or made in this process, as far as there is room.
fn remember(held: &mut Held, item: &Item) {
    if held.copies.len() < MOST_COPIES {
        held.copies.insert(item.sha256);
    }
}

fn fresh(place: &SecondCopy, store: &Store, round: u64) -> Copied {
    Copied {
        path: place.path.clone(),
        next: 0,
        files: 0,
        bytes: 0,
        missing: 0,
        round,
        whole: false,
        sealed: store.seals,
        remade: 0,
        lost: 0,
        left: 0,
    }
}

fn gone(place: &SecondCopy, snapshot: &SnapshotId) -> String {
    let shown = place.path.display();
    format!(
        "the copy in {shown} is not there any more. Mount its disk; if that copy is lost, make the \
         folder {shown}/{snapshot} anew, and all is copied again"
    )
}

/// Opens a place, if it is one where a copy is worth having.
fn open_place(worker: &Worker, held: &Held, place: &SecondCopy) -> Result<Store, String> {
    let store = Store::open(&place.path)?;
    let shown = place.path.display();
    let source = worker.house.keeper().source(held.state.target);
    let source = source.map_err(|trouble| trouble.to_string())?;
    let device = rustix::fs::fstat(&source.root).ok().map(|stat| stat.st_dev);
    if device.is_none() || device == store.device() {
        return Err(format!(
            "{shown} lies on the file system that it would be a copy of. Name a folder on another \
             disk in agent.toml"
        ));
    }
    let mine = disks::below(&source.root_path).unwrap_or_default();
    let its = disks::below(&place.path).unwrap_or_default();
    let shared: Vec<_> = mine.intersection(&its).cloned().collect();
    if !shared.is_empty() && !place.same_disk {
        return Err(format!(
            "{shown} lies on a disk that what it would be a copy of lies on, too ({}): both would be \
             lost together. Name a folder on another disk in agent.toml, or say same_disk = true \
             there",
            shared.join(", ")
        ));
    }
    Ok(store)
}

//! The worker: what is to be read again, step by step.
//!
//! It does not sleep and asks no clock but the one it was given: whoever runs it waits between
//! its steps as long as the plan says. What it has done is on disk in portions; after a crash
//! some rows are read a second time, and none is left out.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use custody::{
    digest::Digest,
    id::{SnapshotId, TargetId},
    manifest::leaf::SnapshotKey,
    statement::SnapshotSealed,
    time::{Span, Time},
};

use super::{
    Fixity,
    house::House,
    plan::{self, Next, Risk, Standing},
    portion::Portion,
    read::{Around, Buffer},
    register::Register,
    settings::{Only, SecondCopy},
    state::{Shelf, State},
};
use crate::enforce::Phase;

/// How often it is looked what is held.
const LOOK: Span = Span::seconds(10);
/// How long reading may go on before it is noted on disk.
const NOTE: Span = Span::seconds(10);
/// How much is read in one step: what the pace gives in so many seconds.
const STEP: u64 = 2;
/// And never more.
const MOST: u64 = 64 << 20;

/// How long what cannot be read at all just now waits.
pub(super) const RETRY: Span = Span::seconds(60);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So much work was done, and so much a second is the pace; none for as fast as may be.
    Did {
        /// Bytes, and [`plan::ROW`] for each row.
        work: u64,
        /// Work a second.
        pace: Option<u64>,
    },
    /// There is nothing to do until then, or until something new is held.
    Rest(Option<Time>),
}

/// One snapshot that is read again.
pub(super) struct Held {
    pub(super) state: State,
    pub(super) register: Register,
    pub(super) key: SnapshotKey,
    pub(super) sealed: SnapshotSealed,
    /// The root that it lies in.
    pub(super) root: PathBuf,
    /// The disks below it.
    pub(super) disks: BTreeSet<String>,
    pub(super) portion: Portion,
    /// Whether its manifest was seen to be the one that was sealed.
    pub(super) trusted: bool,
    /// What was done and is not on disk yet.
    pub(super) dirty: bool,
    pub(super) noted: Time,
    /// Not read, and not copied, before then.
    pub(super) read_after: Time,
    pub(super) copy_after: Time,
    /// Contents of the second copy that were read in this round, or made in this process.
    pub(super) copies: HashSet<Digest>,
}

/// Reads again what is held.
pub struct Worker {
    pub(super) house: Arc<dyn House>,
    pub(super) fixity: Arc<Fixity>,
    /// None: nothing is read again, and second copies are made all the same.
    pub(super) period: Option<Span>,
    pub(super) clock: Box<dyn Fn() -> Time + Send>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) held: BTreeMap<SnapshotId, Held>,
    pub(super) buffer: Buffer,
    looked: Option<Time>,
}

/// Stands between a reader and the host.
pub(super) struct Guard<'a> {
    pub(super) house: &'a dyn House,
    pub(super) stop: &'a AtomicBool,
    pub(super) left: u64,
}

impl Around for Guard<'_> {
    fn may_read(&mut self, bytes: usize) -> bool {
        self.left = self.left.saturating_sub(bytes as u64);
        let stop = || self.stop.load(Ordering::Relaxed);
        !stop() && self.house.before_read(bytes, &stop)
    }

    fn leaves(&mut self) -> bool {
        self.left == 0
    }
}

impl Worker {
    /// One that has not looked yet.
    pub fn new(
        house: Arc<dyn House>,
        fixity: Arc<Fixity>,
        period: Option<Span>,
        clock: Box<dyn Fn() -> Time + Send>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            house,
            fixity,
            period,
            clock,
            stop,
            held: BTreeMap::new(),
            buffer: Buffer::default(),
            looked: None,
        }
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.fixity.shelf
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does the next thing that is to be done, with no regard to the pace.
    pub fn step(&mut self) -> Step {
        self.tend().unwrap_or_else(|| self.read_on())
    }

    /// Looks what is held, and makes second copies. None where there is none to make.
    pub fn tend(&mut self) -> Option<Step> {
        let now = (self.clock)();
        let is_due = |looked: Time| now >= looked + LOOK || now < looked;
        if self.looked.is_none_or(is_due) {
            self.looked = Some(now);
            if let Err(error) = self.look(now) {
                tracing::error!("what is to be read again cannot be looked up: {error}");
            }
            self.purge_all();
        }
        let step = self.copy(now);
        self.publish();
        step
    }

    /// Takes out of second copies what has left its hold.
    fn purge_all(&mut self) {
        let copied = self
            .held
            .iter()
            .filter(|(_, held)| held.state.copy.is_some());
        let copied: Vec<_> = copied.map(|(snapshot, _)| *snapshot).collect();
        for snapshot in copied {
            let purged = self.with(snapshot, |worker, held| match worker.copy_of(held) {
                Some(store) => worker.purge(held, &store),
                None => Ok(()),
            });
            if let Some(Err(error)) = purged {
                tracing::error!(%snapshot, "its second copy still has what has left the hold: {error}");
            }
        }
    }

    /// Reads on where the plan says.
    pub fn read_on(&mut self) -> Step {
        let now = (self.clock)();
        let Some(period) = self.period else {
            return Step::Rest(None);
        };
        for held in self.held.values_mut() {
            let window = held.state.window().at(now, period);
            held.dirty |= window != held.state.window();
            (held.state.opens, held.state.due) = (window.opens, window.due);
            // A clock that was set back.
            held.read_after = held.read_after.min(now + RETRY);
        }
        let standings: Vec<_> = self
            .held
            .values()
            .filter(|held| held.read_after <= now)
            .map(|held| self.standing(held))
            .collect();
        let waiting = self.held.values().map(|held| held.read_after);
        let waiting = waiting.filter(|after| *after > now).min();
        let step = match plan::next(&standings, now) {
            Next::Rest(until) => Step::Rest(until.into_iter().chain(waiting).min()),
            Next::Read { snapshot, pace } => {
                let budget = pace.saturating_mul(STEP).clamp(1, MOST);
                let work = self.with(snapshot, |worker, held| worker.read(held, budget, period));
                Step::Did {
                    work: work.unwrap_or(0),
                    pace: Some(pace),
                }
            }
        };
        self.publish();
        step
    }

    fn standing(&self, held: &Held) -> Standing {
        Standing {
            snapshot: held.state.snapshot,
            left: held.state.left(),
            window: held.state.window(),
            risk: self.risk(held),
        }
    }

    pub(super) fn risk(&self, held: &Held) -> Risk {
        if !held.register.is_empty() {
            Risk::Amiss
        } else if self.fixity.is_failing(&held.disks) {
            Risk::Disk
        } else {
            Risk::None
        }
    }

    /// Works on one that is taken out meanwhile.
    pub(super) fn with<T>(
        &mut self,
        snapshot: SnapshotId,
        work: impl FnOnce(&mut Self, &mut Held) -> T,
    ) -> Option<T> {
        let mut held = self.held.remove(&snapshot)?;
        let done = work(self, &mut held);
        self.held.insert(snapshot, held);
        Some(done)
    }

    /// Whether a target is held now, and stays so for the moment.
    pub(super) fn stands(&self, target: TargetId) -> bool {
        let phase = self.house.keeper().phase(target);
        phase == Some(Phase::Raised) && !self.house.is_leaving(target)
    }

    /// Puts on disk what was done, where it is time.
    pub(super) fn note(&self, held: &mut Held, anyway: bool) -> io::Result<()> {
        let now = (self.clock)();
        if !held.dirty || !(anyway || now >= held.noted + NOTE || now < held.noted) {
            return Ok(());
        }
        held.register.flush()?;
        self.shelf().put(&held.state)?;
        (held.dirty, held.noted) = (false, now);
        Ok(())
    }

    /// Puts on disk all that was done: before a rest, and at the end.
    pub fn flush(&mut self) {
        let snapshots: Vec<_> = self.held.keys().copied().collect();
        for snapshot in snapshots {
            let noted = self.with(snapshot, |worker, held| worker.note(held, true));
            if let Some(Err(error)) = noted {
                tracing::error!(%snapshot, "how far it was read again cannot be noted: {error}");
            }
        }
    }

    /// Where copies of a snapshot go, if they go anywhere.
    pub(super) fn place_of(&self, held: &Held) -> Option<SecondCopy> {
        let risk = self.risk(held);
        let begun = held.state.copy.as_ref();
        let fits = |place: &&SecondCopy| {
            let wanted = place.only == Only::All || risk > Risk::None || begun.is_some();
            // What a store keeps under a legal hold is on other machines already.
            !held.root.as_os_str().is_empty() && place.takes(&held.root) && wanted
        };
        self.fixity.places.iter().find(fits).cloned()
    }

    /// Tells the rest of the agent how far all is.
    fn publish(&self) {
        let briefs = self.held.values().map(super::Brief::of);
        self.fixity.publish(briefs.collect());
    }
}

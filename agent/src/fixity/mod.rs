//! Fixity: reads all that is held again, within a chosen number of days, and says what a disk has
//! lost, before it is needed and not when it is.
//!
//! The [`plan`] says what is read next and how fast; the [`worker`] reads the rows of a manifest in
//! their order, each file from its disk, and compares. What is wrong goes into a [`register`] and
//! into the ledger. Second copies lie in a [`store`] by their hash; a lost file of a vault's copy
//! is put back from there, and for an original, which is never written, the second copy stands
//! in. It trusts the root that was sealed, and of a disk nothing.

pub mod health;
pub mod house;
pub mod media;
pub mod plan;
pub mod portion;
pub mod read;
pub mod register;
pub mod run;
pub mod settings;
pub mod show;
pub mod state;
pub mod store;
pub mod stream;
pub mod worker;

mod copying;
mod failed;
mod look;
mod mend;
mod purge;
mod round;
mod say;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{
    id::{SnapshotId, TargetId},
    time::Time,
};
use proto::v1::Health;
use tokio::sync::watch;

use self::{
    house::House,
    register::Wrong,
    settings::SecondCopy,
    state::{Round, Shelf},
    store::Store,
    worker::Held,
};
use crate::release::reread::{Base, Spare};

/// How far one snapshot is, for the rest of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Which.
    pub snapshot: SnapshotId,
    /// Of what.
    pub target: TargetId,
    /// The round under way.
    pub round: Round,
    /// The last one that ended.
    pub last: Option<Round>,
    /// Rows of the manifest.
    pub rows: u64,
    /// Until when the round is to end.
    pub due: Time,
    /// Rows that are not what they were, as far as is known.
    pub differ: u64,
    /// Rows that cannot be read, as far as is known.
    pub unreadable: u64,
    /// The disks below it.
    pub disks: BTreeSet<String>,
    /// Where its second copy is, as far as there is one.
    pub copy: Option<PathBuf>,
}

impl Brief {
    fn of(held: &Held) -> Self {
        let state = &held.state;
        Self {
            snapshot: state.snapshot,
            target: state.target,
            round: state.round.clone(),
            last: state.last.clone(),
            rows: state.rows,
            due: state.due,
            differ: held.register.count(Wrong::Differs),
            unreadable: held.register.count(Wrong::Unreadable),
            disks: held.disks.clone(),
            copy: state.copy.as_ref().map(|copy| copy.path.clone()),
        }
    }
}

/// What reading again shares with the rest of the agent.
#[derive(Debug)]
pub struct Fixity {
    shelf: Shelf,
    places: Vec<SecondCopy>,
    briefs: Mutex<BTreeMap<SnapshotId, Brief>>,
    failing: Mutex<BTreeSet<String>>,
    health: watch::Sender<Health>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fixity {
    /// Opens what was noted before, in the agent's data folder.
    pub fn open(data: &Path, places: Vec<SecondCopy>) -> io::Result<Self> {
        Ok(Self {
            shelf: Shelf::open(data)?,
            places,
            briefs: Mutex::default(),
            failing: Mutex::default(),
            health: watch::Sender::default(),
        })
    }

    fn publish(&self, briefs: Vec<Brief>) {
        let all = briefs.into_iter().map(|brief| (brief.snapshot, brief));
        *locked(&self.briefs) = all.collect();
    }

    /// How far all is.
    pub fn briefs(&self) -> Vec<Brief> {
        locked(&self.briefs).values().cloned().collect()
    }

    /// How the disks do and how far reading again is, whenever that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn is_failing(&self, disks: &BTreeSet<String>) -> bool {
        !locked(&self.failing).is_disjoint(disks)
    }

    /// The second copy of a snapshot, for whoever finds the first one lost.
    pub fn spare(&self, snapshot: &SnapshotId) -> Option<Spare> {
        let path = self.shelf.get(snapshot).ok()??.copy?.path;
        let store = Store::open(&path).ok()?;
        store.has(snapshot).then(|| Spare {
            store,
            snapshot: *snapshot,
        })
    }
}

/// Where what is held of a target is read.
fn base(house: &dyn House, target: TargetId) -> Result<Base, String> {
    let keeper = house.keeper();
    let store = keeper
        .store_source(target)
        .map_err(|trouble| trouble.to_string())?;
    if let Some(store) = store {
        return Base::store(store).map_err(|trouble| trouble.to_string());
    }
    let source = keeper
        .source(target)
        .map_err(|trouble| trouble.to_string())?;
    Base::open(&source).map_err(|errno| format!("it cannot be opened ({errno})"))
}

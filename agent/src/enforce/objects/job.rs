//! One target at work in a store, and the stores that there are.

use std::{
    collections::HashMap,
    future::Future,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use custody::{
    house::{mechanism::Mechanism, scope::overlap},
    id::TargetId,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;

use super::{
    client::Client,
    list::Reader,
    name::Name,
    settings::StoreConfig,
    trouble::{StoreTrouble, own},
};
use crate::enforce::{
    job::path_of,
    record::{Phase, Record, Store},
    sweep::Progress,
    trouble::HoldTrouble,
};

/// Requests under way at once.
pub const AT_ONCE: usize = 16;
/// Versions that are worked on together: a page of a listing.
pub const BATCH: usize = 1000;

/// How long a store that cannot be reached is not asked again.
const REST: Duration = Duration::from_secs(20);

/// The stores of an agent.
#[derive(Debug, Default)]
pub struct Objects {
    stores: Vec<StoreConfig>,
    page: Option<u16>,
    /// When each store last could not be reached.
    silent: Mutex<HashMap<PathBuf, Instant>>,
    /// Held while legal holds are set or taken off: overlapping targets count on each other.
    turn: Mutex<()>,
}

impl Objects {
    /// These stores.
    pub fn new(stores: Vec<StoreConfig>) -> Self {
        Self {
            stores,
            ..Self::default()
        }
    }

    /// Asks for so many things a page instead of as many as a store gives.
    #[must_use]
    pub fn with_page(mut self, page: u16) -> Self {
        self.page = Some(page);
        self
    }

    /// The stores.
    pub fn stores(&self) -> &[StoreConfig] {
        &self.stores
    }

    /// The store in which a path lies.
    pub fn find(&self, path: &Path) -> Option<&StoreConfig> {
        self.stores
            .iter()
            .find(|store| path.starts_with(&store.path))
    }

    /// Waits for the turn of one that sets legal holds, or takes them off.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether a store answered: one that did not is not waited for by every target in it.
    pub fn heard<T>(&self, path: &Path, answer: Result<T, HoldTrouble>) -> Result<T, HoldTrouble> {
        if let Some(store) = self.find(path) {
            let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Err(HoldTrouble::Store(StoreTrouble::Unreachable { .. })) => {
                    silent
                        .entry(store.path.clone())
                        .or_insert_with(Instant::now);
                }
                _ => _ = silent.remove(&store.path),
            }
        }
        answer
    }

    /// Whether a store is not to be asked just now; forgets it once it may be asked again.
    fn is_silent(&self, config: &StoreConfig) -> bool {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let since = silent.get(&config.path).map(Instant::elapsed);
        if since.is_some_and(|since| since >= REST) {
            silent.remove(&config.path);
        }
        since.is_some_and(|since| since < REST)
    }

    /// A client for the store of a path, and the target's name in it.
    pub fn open(&self, path: &Path) -> Result<(Client, Name), HoldTrouble> {
        let config = self.find(path).ok_or(HoldTrouble::OutsideRoots)?;
        let name = Name::new(config, path).ok_or(HoldTrouble::OutsideRoots)?;
        if self.is_silent(config) {
            let why = "it did not answer a moment ago".to_owned();
            return Err(StoreTrouble::Unreachable { why }.into());
        }
        let mut client = Client::new(config)?;
        client.page = self.page.unwrap_or(client.page);
        Ok((client, name))
    }
}

/// How often it is looked whether to stop, while a store is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// One target at work.
pub struct ObjectJob<'a> {
    /// The records.
    pub store: &'a Store,
    /// What asks the store.
    pub client: Client,
    /// The target's name there.
    pub name: Name,
    /// Which.
    pub target: TargetId,
    /// All other records.
    pub others: Vec<Record>,
    /// How far it is.
    pub progress: &'a Progress,
}

impl ObjectJob<'_> {
    /// Where this target's list stands.
    pub fn list(&self) -> PathBuf {
        list_of(self.store, self.target)
    }

    /// Runs requests to their end on this thread, which may block, or until it is to stop.
    pub fn block<T>(
        &self,
        work: impl Future<Output = Result<T, HoldTrouble>>,
    ) -> Result<T, HoldTrouble> {
        let stopped = async {
            while !self.progress.stop.load(Ordering::Relaxed) {
                sleep(LOOK).await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(own("the network cannot be used"))?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                done = work => done,
                // What was under way is as after a crash: the next call goes on.
                () = stopped => Err(HoldTrouble::Stopped),
            }
        })
    }

    /// Does something with every item, several at a time; the results are in order, and the
    /// first trouble ends it.
    pub async fn each<T, R, F: Future<Output = Result<R, StoreTrouble>>>(
        &self,
        items: Vec<T>,
        act: impl Fn(T) -> F,
    ) -> Result<Vec<R>, HoldTrouble> {
        stream::iter(items)
            .map(|item| {
                let step = self.progress.step();
                let acting = step.map(|()| act(item));
                async move { Ok(acting?.await?) }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The lists of the other targets that overlap this one and for which `counts` says yes.
    pub fn lists(&self, counts: impl Fn(Phase) -> bool) -> Result<Vec<Reader>, StoreTrouble> {
        let here = bytes(&self.name.path);
        let counted = self.others.iter().filter(|other| {
            other.mechanism == Mechanism::ObjectLock
                && counts(other.phase)
                && overlap(&other.path, here)
        });
        counted
            .map(|other| Reader::open(&list_of(self.store, other.target), other.origins))
            .collect()
    }
}

fn bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes()
}

/// Where a target's list stands.
pub fn list_of(store: &Store, target: TargetId) -> PathBuf {
    store.file(target, "versions")
}

/// Whether two records overlap in a store.
pub fn overlaps(one: &Record, other: &Record) -> bool {
    overlap(bytes(&path_of(one)), bytes(&path_of(other)))
}

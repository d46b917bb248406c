//! Opens a data folder: checks that all its parts belong together, then starts the tasks.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use anyhow::{Context as _, ensure};
use custody::{ledger::note::NoteKey, sign::PublicKey};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Desk, Failure, Shared, duties, flood, load,
    own::Own,
    publishing,
    shelf::Shelf,
    writer::{Parts, Writer},
};
use crate::{
    config::{self, Config, Data},
    journal::Journal,
    ledger::Publisher,
};

/// How many statements may wait behind the batch under way.
const QUEUE: usize = 1024;

/// Makes the coordinator's own key.
pub(crate) fn create_key(path: &Path) -> anyhow::Result<PublicKey> {
    Own::create(path)
}

pub(super) async fn open(data: &Data, config: &Config) -> anyhow::Result<Desk> {
    let lock = config::lock(data)?;
    ensure!(
        data.journal().exists(),
        "there is no journal in {}: `holdfast-server init` did not end well. Restore the folder \
         from its backup, or empty it and run init again if it never held anything",
        data.0.display()
    );
    start(data, config, lock, false).await
}

/// For init: opens a folder whose log is not opened yet. The lock is held already.
pub(crate) async fn open_empty(
    data: &Data,
    config: &Config,
    lock: fs::File,
) -> anyhow::Result<Desk> {
    start(data, config, lock, true).await
}

async fn start(
    data: &Data,
    config: &Config,
    lock: fs::File,
    may_be_empty: bool,
) -> anyhow::Result<Desk> {
    let own = Own::open(&data.pki().join("coordinator.key"), &config.origin)?;
    let key = log_key(data, config)?;
    let journal = Arc::new(Journal::open(&data.journal()).await?);
    let size = journal.size().await?;
    let house = load::house(&journal, size).await?;
    match &house.opened {
        None => ensure!(
            may_be_empty && size == 0,
            "the log in {} was never opened: `holdfast-server init` did not end well. Empty the \
             folder and run init again",
            data.0.display()
        ),
        Some(opened) => {
            ensure!(
                opened.origin == config.origin,
                "config.toml names the log {}, the journal is of {}: an origin never changes",
                config.origin,
                opened.origin
            );
            ensure!(
                opened.coordinator == own.public_key(),
                "pki/coordinator.key is not the key that the log was opened with: restore it"
            );
            if opened.policies != config.policies() {
                tracing::warn!(
                    "the policies of config.toml are not those the log was opened with; \
                    those of the log govern"
                );
            }
        }
    }
    let shelf = Shelf::load(&journal).await?;
    let vkey = key.verifier().clone();
    let (publisher, newest) = Publisher::start(journal.clone(), data, Arc::new(key)).await?;
    run(
        data,
        Begun {
            own,
            journal,
            shelf,
            house,
            size,
            vkey,
            publisher,
            newest,
            lock,
        },
    )
}

/// The log's key, which must be the one that `log.vkey` shows to everybody.
fn log_key(data: &Data, config: &Config) -> anyhow::Result<NoteKey> {
    let path = data.pki().join("log.key");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = NoteKey::parse(&text)
        .with_context(|| format!("{} is not the log's key", path.display()))?;
    ensure!(
        key.verifier().name() == config.origin,
        "pki/log.key is of the log {}, config.toml names {}",
        key.verifier().name(),
        config.origin
    );
    let shown = fs::read_to_string(data.vkey())
        .with_context(|| format!("cannot read {}", data.vkey().display()))?;
    ensure!(
        shown.trim_end() == key.verifier().to_string(),
        "log.vkey does not belong to pki/log.key: restore both from one backup"
    );
    Ok(key)
}

struct Begun {
    own: Own,
    journal: Arc<Journal>,
    shelf: Shelf,
    house: custody::house::House,
    size: u64,
    vkey: custody::ledger::note::VerifierKey,
    publisher: Publisher,
    newest: Option<super::Published>,
    lock: fs::File,
}

fn run(data: &Data, begun: Begun) -> anyhow::Result<Desk> {
    let (changes, changed) = watch::channel(begun.size);
    let (publishes, published) = watch::channel(begun.newest);
    let (breaks, broken) = watch::channel(None);
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (stop, lock) = (CancellationToken::new(), Arc::new(begun.lock));
    let (own, house) = (Arc::new(begun.own), Arc::new(RwLock::new(begun.house)));
    let flood = Arc::new(Mutex::new(flood::Flood::default()));
    let writer = Writer::new(Parts {
        journal: begun.journal.clone(),
        shelf: begun.shelf.clone(),
        own: own.clone(),
        flood: flood.clone(),
        committed: house.clone(),
        changed: changes,
        published: published.clone(),
        broken: breaks.clone(),
    });
    let writing = writer.run(waiting, stop.clone());
    let writing = work(writing, breaks.clone(), lock.clone());
    let publishing = publishing::run(begun.publisher, changed.clone(), publishes, breaks.clone());
    let publishing = work(publishing, breaks.clone(), lock.clone());
    let shared = Arc::new(Shared {
        journal: begun.journal,
        shelf: begun.shelf,
        own,
        flood,
        house,
        queue,
        changed: changed.clone(),
        published: published.clone(),
        broken,
        vkey: begun.vkey,
        data: data.clone(),
        stop: stop.clone(),
        tasks: tokio::sync::Mutex::new(Vec::new()),
        lock: Mutex::new(Some(lock.clone())),
    });
    let duties = duties::run(Arc::downgrade(&shared), changed, published, stop);
    let duties = work(duties, breaks, lock);
    // Nobody else has it yet, so it is free.
    if let Ok(mut tasks) = shared.tasks.try_lock() {
        tasks.extend([duties, writing, publishing]);
    }
    Ok(Desk(shared))
}

/// Runs one of the desk's tasks, which holds the folder's lock to its end.
fn work(
    task: impl Future<Output = ()> + Send + 'static,
    broken: watch::Sender<Option<Failure>>,
    lock: Arc<fs::File>,
) -> JoinHandle<()> {
    let unfinished = Unfinished(Some(broken));
    tokio::spawn(async move {
        task.await;
        unfinished.done();
        drop(lock);
    })
}

/// Says that the desk is broken when a task ends before its end: without the writer nothing is
/// taken in any more, without the others nothing is published or carried out, and nobody knows.
struct Unfinished(Option<watch::Sender<Option<Failure>>>);

impl Unfinished {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(broken) = self.0.take() {
            broken.send_replace(Some(Failure::lasting(
                "A part of the coordinator ended by a fault of its own",
                "Start it again; keep its log and report the fault",
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_a_fault_of_its_own_breaks_the_desk() {
        let lock = Arc::new(tempfile::tempfile().unwrap());
        let (breaks, broken) = watch::channel(None);
        work(async {}, breaks.clone(), lock.clone()).await.unwrap();
        assert_eq!(*broken.borrow(), None);
        let fault = async { panic!("a fault") };
        assert!(work(fault, breaks, lock).await.is_err());
        assert!(
            broken
                .borrow()
                .as_ref()
                .is_some_and(|failure| !failure.retry)
        );
    }
}

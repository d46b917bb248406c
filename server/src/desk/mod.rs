//! The desk: the one road by which anything changes.
//!
//! A statement is checked at the door in its caller's task, takes its turn with the one writer,
//! which asks the law of the house (`custody::house::decide`) and commits it, and is answered
//! only when it is on disk. The desk has no rules of its own but those of form.

mod batch;
mod door;
mod duties;
mod error;
mod flood;
mod fork;
mod load;
mod open;
mod own;
mod publishing;
mod shelf;
mod writer;

use std::{
    fs::File,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

pub(crate) use batch::{command_column, place_column};
use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{House, refusal::Refusal},
    id::{CommandId, SubjectId},
    ledger::{checkpoint::Checkpoint, note::VerifierKey, proof::LogProof, tile::TileNodes, tree},
    statement::{Author, Body, Refused},
    time::Time,
};
pub use error::{DeskError, Failure};
pub(crate) use open::{create_key, open_empty};
pub use shelf::Shelf;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    config::{Config, Data},
    journal::Journal,
    ledger::Disk,
};

/// The most entries that one call of [`Desk::entries`] answers with.
pub const MOST_ENTRIES: u64 = 1000;
/// How long [`Desk::prove`] waits for a checkpoint that covers the entry.
const PROOF_WAIT: Duration = Duration::from_secs(10);

/// What somebody hands in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The entry, as it was signed.
    pub entry: Vec<u8>,
    /// What opens its commitments: exactly those, no more.
    pub openings: Vec<Opening>,
    /// Under whose key the openings are kept; `None`: the house's.
    pub subject: Option<SubjectId>,
}

/// A statement that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// It stood there already.
    pub duplicate: bool,
    /// The rule that turned an agent's statement down: it stands, without effect.
    pub void: Option<Refusal>,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place in the log.
    pub index: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When it was received.
    pub received: Time,
}

/// The newest checkpoint that everybody can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note, as it is served.
    pub note: String,
}

/// A submission that passed the door and waits for its transaction.
#[derive(Debug)]
pub struct Pending(Waiting);

#[derive(Debug)]
enum Waiting {
    Done(Recorded),
    For(oneshot::Receiver<Result<Recorded, DeskError>>),
}

impl Pending {
    /// Waits until it is durable, or refused.
    pub async fn recorded(self) -> Result<Recorded, DeskError> {
        match self.0 {
            Waiting::Done(recorded) => Ok(recorded),
            Waiting::For(answer) => answer.await.unwrap_or_else(|_| Err(stopping().into())),
        }
    }
}

/// What all clones of a desk share.
struct Shared {
    journal: Arc<Journal>,
    shelf: Shelf,
    own: Arc<own::Own>,
    flood: Arc<Mutex<flood::Flood>>,
    house: Arc<RwLock<House>>,
    queue: mpsc::Sender<writer::Job>,
    changed: watch::Receiver<u64>,
    published: watch::Receiver<Option<Published>>,
    broken: watch::Receiver<Option<Failure>>,
    vkey: VerifierKey,
    data: Data,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    /// Held by the tasks too: the folder is free when the last of them is done.
    lock: Mutex<Option<Arc<File>>>,
}

/// The desk. Clones share it.
#[derive(Clone)]
pub struct Desk(Arc<Shared>);

impl Desk {
    /// Opens an initialised data folder and starts the writer, the publisher and the duties.
    ///
    /// Takes the folder's lock itself: callers must not take it too. The error is a
    /// [`NotPublished::Breach`](crate::ledger::NotPublished) where what is stored must not be
    /// gone on with.
    pub async fn open(data: &Data, config: &Config) -> anyhow::Result<Self> {
        open::open(data, config).await
    }

    /// The committed state. The guard must not be held over an await, and no second one be
    /// taken while it is held: the writer may be waiting in between.
    pub fn house(&self) -> impl Deref<Target = House> {
        self.0.house.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a statement; answered once it is durable, or refused.
    pub async fn submit(&self, submission: Submission) -> Result<Recorded, DeskError> {
        self.hand_in(submission).await?.recorded().await
    }

    /// As [`Desk::submit`] in two steps. The order of the calls is the order in the log, so an
    /// agent's stream can hand in many entries without waiting for each.
    pub async fn hand_in(&self, submission: Submission) -> Result<Pending, DeskError> {
        let (entry, statement) = door::read(&submission.entry)?;
        let (id, leaf) = (statement.id, entry.leaf_hash());
        let key = door::key_of(&self.house(), &statement);
        match key.and_then(|key| door::check(&entry, statement, key, submission)) {
            Ok(checked) => self.queue(checked).await,
            Err(refusal) => {
                // What stands is answered as such for ever, whatever has become of its author.
                let known = self.0.journal.known(&[id]).await.map_err(unread)?;
                match known.first().filter(|(_, known)| known.leaf == leaf) {
                    Some((_, known)) => Ok(Pending(Waiting::Done(Recorded {
                        index: known.index,
                        leaf,
                        duplicate: true,
                        void: None,
                    }))),
                    None => Err(refusal.into()),
                }
            }
        }
    }

    async fn queue(&self, checked: door::Checked) -> Result<Pending, DeskError> {
        let (answer, waiting) = oneshot::channel();
        let job = writer::Job { checked, answer };
        self.0.queue.send(job).await.map_err(|_| stopping())?;
        Ok(Pending(Waiting::For(waiting)))
    }

    /// The coordinator says something itself.
    pub async fn say(&self, body: Body) -> Result<Recorded, DeskError> {
        self.say_with(body, Vec::new()).await
    }

    /// As [`Desk::say`], with what opens its commitments, kept under the house's key.
    pub async fn say_with(
        &self,
        body: Body,
        openings: Vec<Opening>,
    ) -> Result<Recorded, DeskError> {
        let seen = writer::seen(&self.0.published);
        let signed = self.0.own.sign(body, openings, seen);
        let checked = signed.map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => DeskError::Refused(refusal),
            Err(error) => DeskError::Failed(Failure::lasting(
                format!("The coordinator could not sign its own statement: {error}"),
                "Look at the coordinator's log",
            )),
        })?;
        self.queue(checked).await?.recorded().await
    }

    /// Records, for everyone to see, that a call was refused. A flood of one author is counted,
    /// not recorded, and a refusal that need not be seen ([`Refusal::is_recorded`]) neither.
    pub async fn say_refused(
        &self,
        refusal: &Refusal,
        what: &str,
        by: Option<Author>,
        statement: Option<Digest>,
    ) {
        let admitted = refusal.is_recorded() && {
            let mut flood = self.0.flood.lock().unwrap_or_else(PoisonError::into_inner);
            flood.admits(by, clock::now())
        };
        if !admitted {
            return;
        }
        let body = Body::Refused(Refused {
            rule: refusal.rule.to_owned(),
            what: what.to_owned(),
            by,
            statement,
        });
        if let Err(error) = self.say(body).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }

    /// The size of the committed log, as it grows.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.clone()
    }

    /// The newest public checkpoint.
    pub fn published(&self) -> watch::Receiver<Option<Published>> {
        self.0.published.clone()
    }

    /// One entry.
    pub async fn entry(&self, index: u64) -> Result<StoredEntry, DeskError> {
        let entry = self.0.journal.entry(index).await.map_err(unread)?;
        entry.ok_or_else(|| no_entry(index).into())
    }

    /// Entries from `first`, at most `count` and at most [`MOST_ENTRIES`]; fewer at the end.
    pub async fn entries(&self, first: u64, count: u64) -> Result<Vec<StoredEntry>, DeskError> {
        let size = *self.0.changed.borrow();
        let last = first.saturating_add(count.min(MOST_ENTRIES)).min(size);
        let entries = self.0.journal.entries(first, last).await;
        Ok(entries.map_err(unread)?)
    }

    /// The index of the statement with this id.
    pub async fn find_index(&self, id: &CommandId) -> Result<Option<u64>, DeskError> {
        let known = self.0.journal.known(&[*id]).await.map_err(unread)?;
        Ok(known.first().map(|(_, known)| known.index))
    }

    /// What a commitment stands for, if it was not erased.
    #[allow(clippy::unused_async)] // a desk with a database elsewhere will have to ask it
    pub async fn opening(&self, commitment: &Commitment) -> Option<Opening> {
        self.0.shelf.opening(commitment)
    }

    /// All openings, for `custody`'s decisions.
    pub fn openings(&self) -> Shelf {
        self.0.shelf.clone()
    }

    /// Proves an entry against the newest public checkpoint; waits up to ten seconds for one
    /// that covers it. Reads a handful of tiles, whatever the log's size.
    pub async fn prove(&self, index: u64) -> Result<LogProof, DeskError> {
        let proofs = self.prove_all(&[index]).await?;
        proofs
            .into_iter()
            .next()
            .ok_or_else(|| no_entry(index).into())
    }

    /// Proves entries, all against one and the same checkpoint.
    pub async fn prove_all(&self, indices: &[u64]) -> Result<Vec<LogProof>, DeskError> {
        let Some(last) = indices.iter().copied().max() else {
            return Ok(Vec::new());
        };
        if last >= *self.0.changed.borrow() {
            return Err(no_entry(last).into());
        }
        let mut published = self.published();
        let covers = |p: &Option<Published>| p.as_ref().is_some_and(|p| p.checkpoint.size > last);
        let covering = match timeout(PROOF_WAIT, published.wait_for(covers)).await {
            Ok(Ok(covering)) => covering.clone(),
            _ => None,
        };
        let covering = covering.ok_or_else(|| {
            Failure::passing(
                "No published checkpoint covers the entry yet",
                "Ask again in a moment",
            )
        })?;
        let mut proofs = Vec::with_capacity(indices.len());
        for index in indices {
            proofs.push(self.prove_against(&covering, *index).await?);
        }
        Ok(proofs)
    }

    async fn prove_against(&self, covering: &Published, index: u64) -> Result<LogProof, DeskError> {
        let Published { checkpoint, note } = covering;
        let (log, size) = (self.0.data.log(), checkpoint.size);
        let hashes = tokio::task::spawn_blocking(move || {
            tree::inclusion_proof(&TileNodes(&Disk::new(&log, size)), index, size)
        });
        let hashes = hashes.await.ok().flatten().ok_or_else(broken_tiles)?;
        let leaf = tree::leaf_hash(&self.entry(index).await?.bytes);
        // What is handed out was checked: a damaged tile must not become a false proof.
        tree::verify_inclusion(&leaf, index, size, &hashes, &checkpoint.root)
            .map_err(|_| broken_tiles())?;
        Ok(LogProof {
            index,
            hashes,
            checkpoint: note.clone(),
        })
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.0.vkey.name()
    }

    /// The key that verifies the log's checkpoints.
    pub fn vkey(&self) -> &VerifierKey {
        &self.0.vkey
    }

    /// Waits until the desk cannot go on: its state is not known, or a promise is broken. The
    /// process must then stop with an error. Everything is answered with this failure until it
    /// does. Never returns after [`Desk::close`].
    pub async fn broken(&self) -> Failure {
        let mut broken = self.0.broken.clone();
        let found = broken.wait_for(Option::is_some).await.ok();
        match found.and_then(|found| found.clone()) {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Finishes what waits, publishes it, and stops. Calling it again does nothing more.
    pub async fn close(&self) {
        self.0.stop.cancel();
        let mut tasks = self.0.tasks.lock().await;
        for task in tasks.drain(..) {
            let _ = task.await;
        }
        self.0.journal.close().await;
        let lock = self
            .0
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(lock);
    }
}

fn stopping() -> Failure {
    Failure::passing(
        "The coordinator is stopping and did not take the statement",
        "Send it again when it is back: sent twice, it is done once",
    )
}

fn unread(error: sqlx::Error) -> Failure {
    Failure::passing(
        format!("The journal could not be read: {error}"),
        "Try again; if it stays so, look at the coordinator's disk",
    )
}

fn broken_tiles() -> Failure {
    Failure::lasting(
        "The log's tiles on disk do not give the root that was signed",
        "Run `holdfast ledger fsck` and `holdfast-server replay --check`",
    )
}

fn no_entry(index: u64) -> Refusal {
    Refusal {
        rule: "unknown",
        kind: custody::house::refusal::Kind::Unknown,
        why: format!("There is no entry {index} here"),
        next: "Ask for an index below the log's size",
    }
}

//! The book: the journal as everyone in the process shares it.
//!
//! Saying something blocks until it is on disk, so it is called where blocking is allowed.
//! Whoever sends statements is told when there are new ones; when the journal no longer
//! knows its own state the whole process is told to stop.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use custody::{
    commit::Opening,
    ledger::chain::ChainHead,
    statement::{Body, Seen},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Journal, error::JournalError, known::Known, outbox::Outbox};
use crate::edge::Edge;

/// A shared journal.
#[derive(Clone)]
pub struct Book(Arc<Inner>);

struct Inner {
    journal: Mutex<Journal>,
    edge: Arc<dyn Edge>,
    head: watch::Sender<ChainHead>,
    broken: CancellationToken,
    /// Whether the coordinator's log is shorter than it was seen to be.
    doubted: AtomicBool,
}

impl Book {
    /// Shares a journal, after saying again what an earlier enrolment left unsaid.
    pub fn new(mut journal: Journal, edge: Arc<dyn Edge>) -> Result<Self, JournalError> {
        while journal.known().to_repeat().is_some() {
            journal.repeat_one(&edge.moment()?)?;
        }
        while journal.relieve_one(&edge.moment()?)? {}
        let head = watch::Sender::new(journal.known().head);
        Ok(Self(Arc::new(Inner {
            journal: Mutex::new(journal),
            edge,
            head,
            broken: CancellationToken::new(),
            doubted: AtomicBool::new(false),
        })))
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_over<T>(&self, done: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &done
            && error.is_fatal()
        {
            tracing::error!(%error, "the journal cannot go on");
            self.0.broken.cancel();
        }
        done
    }

    /// Says something. When this returns it is on disk and will be sent.
    pub fn say(&self, body: Body, openings: &[Opening]) -> Result<ChainHead, JournalError> {
        let kind = body.kind();
        let said = {
            let mut journal = self.journal();
            self.make_way(&mut journal, &body)
                .and_then(|()| journal.say(body, openings, &self.0.edge.moment()?))
        };
        let head = self.watch_over(said)?;
        if self.0.head.send_replace(head) == head {
            tracing::debug!(kind, "held back; it is said with others of its kind");
        } else {
            tracing::debug!(kind, epoch = head.epoch, seq = head.seq - 1, "said");
        }
        Ok(head)
    }

    /// Says first what is held back about the same hold.
    fn make_way(&self, journal: &mut Journal, body: &Body) -> Result<(), JournalError> {
        while journal.make_way(body, &self.0.edge.moment()?)? {}
        Ok(())
    }

    /// Notes what the coordinator has, and says what was held back for want of room.
    pub fn recorded(&self, epoch: u64, seq: u64, index: u64) -> Result<(), JournalError> {
        let relieved = {
            let mut journal = self.journal();
            journal.recorded(epoch, seq, index).and_then(|()| {
                while journal.relieve_one(&self.0.edge.moment()?)? {}
                Ok(journal.known().head)
            })
        };
        let head = self.watch_over(relieved)?;
        self.0
            .head
            .send_if_modified(|before| std::mem::replace(before, head) != head);
        Ok(())
    }

    /// How many statements are held back, since too much waits for the coordinator.
    pub fn held_back(&self) -> u64 {
        self.journal().held_back()
    }

    /// Notes a checkpoint that was verified under the pinned key.
    pub fn saw(&self, seen: Seen) -> Result<(), JournalError> {
        let noted = self.journal().saw(seen);
        self.watch_over(noted)
    }

    /// Notes whether the coordinator's log is shorter than it was seen to be: then it lost what it
    /// knew, and may have lost a reason to hold.
    pub fn doubt(&self, doubted: bool) {
        self.0.doubted.store(doubted, Ordering::Relaxed);
    }

    /// Whether the coordinator's log is in doubt: in doubt nothing leaves and nothing is freed.
    pub fn is_in_doubt(&self) -> bool {
        self.0.doubted.load(Ordering::Relaxed)
    }

    /// Notes that a task was taken on; `false` when it is stale.
    pub fn took(&self, id: &str, position: u64) -> Result<bool, JournalError> {
        let noted = self.journal().took(id, position);
        self.watch_over(noted)
    }

    /// Looks something up in what is known.
    pub fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(self.journal().known())
    }

    /// Reads statements of the current epoch from one on.
    pub fn outbox(&self, seq: u64) -> Outbox {
        let journal = self.journal();
        journal.outbox(journal.known().head.epoch, seq)
    }

    /// Tells of each new head.
    pub fn heads(&self) -> watch::Receiver<ChainHead> {
        self.0.head.subscribe()
    }

    /// Cancelled once the journal no longer knows its own state.
    pub fn broken(&self) -> &CancellationToken {
        &self.0.broken
    }

    /// Clocks and randomness.
    pub fn edge(&self) -> &dyn Edge {
        self.0.edge.as_ref()
    }
}

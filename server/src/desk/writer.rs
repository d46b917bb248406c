//! The writer: the one task that decides and commits.
//!
//! It takes what waits, decides each statement against its own copy of the state (`ahead`),
//! commits all of it in one transaction, applies the same to the state that everybody reads, and
//! only then answers. It awaits nothing inside a transaction but the transaction. What a failed
//! commit leaves is asked from the database; where that cannot be had, the desk is broken.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use custody::{
    digest::Digest,
    house::{House, apply::apply},
    statement::Seen,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    DeskError, Failure, Published, Recorded,
    batch::{Plan, is_own, refused},
    door::Checked,
    flood::Flood,
    fork::{self, Other, Place},
    own::Own,
    shelf::Shelf,
};
use crate::{
    clock,
    journal::{Journal, NotCommitted},
};

/// The most statements in one transaction.
const MOST: usize = 512;
/// How long a small batch waits for company when the one before it was large.
const COMPANY: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Result<Recorded, DeskError>>;

/// A statement that waits for its turn.
pub(super) struct Job {
    pub(super) checked: Checked,
    pub(super) answer: Answer,
}

/// The one who decides and commits.
pub(super) struct Writer {
    parts: Parts,
    /// The committed state and what is being decided.
    ahead: House,
    /// The index of the next entry.
    next: u64,
    /// Places of which a fork is recorded.
    forks: BTreeSet<Place>,
}

/// What the writer is made of.
pub(super) struct Parts {
    pub(super) journal: Arc<Journal>,
    pub(super) shelf: Shelf,
    pub(super) own: Arc<Own>,
    pub(super) flood: Arc<Mutex<Flood>>,
    /// What everybody reads. Only the writer changes it, after the commit.
    pub(super) committed: Arc<RwLock<House>>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) published: watch::Receiver<Option<Published>>,
    pub(super) broken: watch::Sender<Option<Failure>>,
}

impl Writer {
    pub(super) fn new(parts: Parts) -> Self {
        let ahead = read(&parts.committed);
        let next = *parts.changed.borrow();
        Self {
            forks: fork::recorded(&ahead),
            next,
            ahead,
            parts,
        }
    }

    /// Works until it is told to stop and nothing waits any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut jobs = Vec::new();
        let mut last = 0;
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
                taken = queue.recv_many(&mut jobs, MOST) => taken,
            };
            if taken == 0 {
                return;
            }
            if taken * 2 < last {
                tokio::time::sleep(COMPANY).await;
            }
            while jobs.len() < MOST {
                let Ok(job) = queue.try_recv() else { break };
                jobs.push(job);
            }
            last = jobs.len();
            self.batch(std::mem::take(&mut jobs)).await;
        }
    }

    async fn batch(&mut self, jobs: Vec<Job>) {
        if let Some(failure) = self.parts.broken.borrow().clone() {
            for job in jobs {
                let _ = job.answer.send(Err(failure.clone().into()));
            }
            return;
        }
        let before = self.next;
        let commands: Vec<_> = jobs.iter().map(|job| job.checked.statement.id).collect();
        let known = match self.parts.journal.known(&commands).await {
            Ok(known) => known,
            Err(error) => {
                let failure = unwritten(&error);
                for job in jobs {
                    let _ = job.answer.send(Err(failure.clone().into()));
                }
                return;
            }
        };
        let mut plan = Plan::new(known);
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let answer = self.decide(&mut plan, job.checked).await;
            answers.push((job.answer, answer));
        }
        plan.finish(&self.ahead);
        let done = match plan.batch.entries.is_empty() {
            true => Ok(()),
            false => self.commit(plan, before).await,
        };
        for (channel, answer) in answers {
            let answer = match &done {
                Ok(()) => answer,
                // Even a refusal may rest on what was not written.
                Err(failure) => Err(failure.clone().into()),
            };
            // Who asked may be gone; what was written stands all the same.
            let _ = channel.send(answer);
        }
    }

    async fn decide(&mut self, plan: &mut Plan, checked: Checked) -> Result<Recorded, DeskError> {
        let duplicate = plan.duplicate(&checked);
        if let Some(Ok(recorded)) = duplicate {
            return Ok(recorded);
        }
        if let Some((place, other)) = fork::found(&self.ahead, &checked) {
            self.record_fork(plan, &checked, place, other).await?;
            return Err(fork::refusal(place).into());
        }
        if let Some(Err(refusal)) = duplicate {
            return Err(refusal.into());
        }
        let statement = checked.statement.clone();
        let answer = plan.take(&mut self.ahead, &self.parts.shelf, &mut self.next, checked);
        if let Err(DeskError::Refused(refusal)) = &answer
            && refusal.is_recorded()
            && !is_own(&statement)
            && self.admits(&statement)
        {
            self.say(plan, refused(refusal, &statement))?;
        }
        answer
    }

    fn admits(&self, statement: &custody::statement::Statement) -> bool {
        let mut flood = self
            .parts
            .flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        flood.admits(Some(statement.author), clock::now())
    }

    /// The coordinator says something within the batch.
    fn say(&mut self, plan: &mut Plan, body: custody::statement::Body) -> Result<(), DeskError> {
        let seen = seen(&self.parts.published);
        let checked = self
            .parts
            .own
            .sign(body, Vec::new(), seen)
            .map_err(|error| {
                Failure::passing(
                    format!("The coordinator could not sign a statement of its own: {error}"),
                    "Look at the coordinator's log",
                )
            })?;
        plan.take(&mut self.ahead, &self.parts.shelf, &mut self.next, checked)
            .map(|_| ())
    }

    async fn record_fork(
        &mut self,
        plan: &mut Plan,
        checked: &Checked,
        place: Place,
        other: Other,
    ) -> Result<(), DeskError> {
        if self.forks.contains(&place)
            || plan.forks.contains(&place)
            || !self.admits(&checked.statement)
        {
            return Ok(());
        }
        let other = match other {
            Other::Before(digest) => Some(digest),
            Other::At(place) => match plan.places.get(&place) {
                Some(digest) => Some(*digest),
                None => {
                    let stored = self.parts.journal.at_place(&place.to_bytes()).await;
                    let stored = stored.map_err(|error| unwritten(&error))?;
                    stored.map(|entry| Digest::of(&entry.bytes))
                }
            },
        };
        if let Some(other) = other {
            plan.forks.insert(place);
            self.say(plan, fork::finding(checked, other))?;
        }
        Ok(())
    }

    /// Commits a plan and shows it to everybody, or puts everything back.
    async fn commit(&mut self, plan: Plan, before: u64) -> Result<(), Failure> {
        let outcome = self.parts.journal.commit(&plan.batch).await;
        let failure = match outcome {
            Ok(()) => None,
            Err(NotCommitted::RolledBack(error)) => Some(unwritten(&error)),
            Err(NotCommitted::Unknown(error)) => match self.parts.journal.settle().await {
                Ok(size) if size == self.next => None,
                Ok(size) if size == before => Some(unwritten(&error)),
                Ok(_) | Err(_) => Some(self.break_off(&error)),
            },
            Err(NotCommitted::NotFlushed(error)) => Some(self.break_off(&error)),
        };
        if let Some(failure) = failure {
            tracing::error!(%failure, "a batch was not written");
            self.ahead = read(&self.parts.committed);
            self.next = before;
            return Err(failure);
        }
        {
            let mut house = self
                .parts
                .committed
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for (accepted, index) in plan.accepted {
                apply(&mut house, accepted, index);
            }
            // Under the same lock, so that nobody sees a record whose openings are not there.
            self.parts.shelf.take_up(plan.overlay);
        }
        self.forks.extend(plan.forks);
        self.parts.changed.send_replace(self.next);
        Ok(())
    }

    fn break_off(&self, error: &sqlx::Error) -> Failure {
        let failure = unconfirmed(error);
        self.parts.broken.send_replace(Some(failure.clone()));
        failure
    }
}

/// What was written may be on disk or not.
pub(super) fn unconfirmed(error: &sqlx::Error) -> Failure {
    Failure::lasting(
        format!("The disk did not confirm what was written, so its state is not known: {error}"),
        "Look at the disk, then start the coordinator again",
    )
}

fn read(house: &RwLock<House>) -> House {
    house.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The checkpoint that a statement of the coordinator's own has seen.
pub(super) fn seen(published: &watch::Receiver<Option<Published>>) -> Option<Seen> {
    let published = published.borrow();
    published.as_ref().map(|published| Seen {
        size: published.checkpoint.size,
        root: published.checkpoint.root,
    })
}

/// Nothing was written, and the state is what it was.
pub(super) fn unwritten(error: &sqlx::Error) -> Failure {
    let code = error.as_database_error().and_then(|e| e.code());
    match code.as_deref() {
        // SQLITE_FULL
        Some("13") => Failure::passing(
            "The coordinator's disk is full and nothing was recorded",
            "Make room in its data folder, then send it again",
        ),
        _ => Failure::passing(
            format!("The journal could not be written and nothing was recorded: {error}"),
            "Send it again; if it stays so, look at the coordinator's disk",
        ),
    }
}

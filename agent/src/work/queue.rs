//! The queue: which job is next in each lane. Bounded by what the coordinator has open; what
//! does not fit is asked for again by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::job::{Claim, Job, Lane};

/// The most jobs that wait.
const MOST: usize = 10_000;

/// Jobs that wait, and what the running ones have for themselves.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By lane, urgency and arrival.
    waiting: BTreeMap<(Lane, u8, u64), Job>,
    arrival: u64,
    claimed: BTreeSet<Claim>,
    running: Vec<(String, &'static str)>,
}

impl State {
    /// Whether what a job wants to read is still to be raised: first held, then read.
    fn is_being_held(&self, claim: &Claim) -> bool {
        let Claim::Read(wanted) = claim else {
            return false;
        };
        let raised = |job: &Job| matches!(job, Job::Raise { target, .. } if target == wanted);
        self.claimed.contains(&Claim::Hold(*wanted)) || self.waiting.values().any(raised)
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. One that waits or runs already is not added a second time.
    pub fn add(&self, job: Job) -> bool {
        let (about, word) = (job.about(), job.word());
        let same = |other: &Job| other.word() == word && other.about() == about;
        let mut state = self.state();
        let running = state.running.iter().any(|(a, w)| *a == about && *w == word);
        if let Job::Lower { target } = &job {
            // What was to be raised, or to lose a part, before it was lifted is lowered whole.
            let overtaken = |other: &Job| match other {
                Job::Raise { target: t, .. } | Job::Narrow { target: t, .. } => t == target,
                _ => false,
            };
            state.waiting.retain(|_, other| !overtaken(other));
        }
        if running || state.waiting.values().any(same) || state.waiting.len() >= MOST {
            return false;
        }
        let (lane, urgency) = job.lane();
        let arrival = state.arrival;
        state.arrival += 1;
        state.waiting.insert((lane, urgency, arrival), job);
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// Whether a job waits or runs, by its word and what it is about.
    pub fn has(&self, word: &str, about: &str) -> bool {
        let state = self.state();
        let running = state.running.iter().any(|(a, w)| a == about && *w == word);
        let same = |job: &Job| job.word() == word && job.about() == about;
        running || state.waiting.values().any(same)
    }

    /// Takes the next job of a lane whose claims are free, if there is one.
    fn try_take(&self, lane: Lane) -> Option<Job> {
        let mut state = self.state();
        let free = |job: &Job| {
            let claims = job.claims();
            let taken = claims.iter().any(|claim| state.claimed.contains(claim));
            !taken && !claims.iter().any(|claim| state.is_being_held(claim))
        };
        let place = state
            .waiting
            .iter()
            .find(|((l, ..), job)| *l == lane && free(job))
            .map(|(place, _)| *place)?;
        let job = state.waiting.remove(&place)?;
        state.claimed.extend(job.claims());
        state.running.push((job.about(), job.word()));
        Some(job)
    }

    /// Waits for the next job of a lane. Give it back with [`Queue::done`].
    pub async fn take(&self, lane: Lane) -> Job {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it looks, so that nothing is missed between.
            changed.as_mut().enable();
            if let Some(job) = self.try_take(lane) {
                return job;
            }
            changed.await;
        }
    }

    /// Frees what a job had for itself.
    pub fn done(&self, job: &Job) {
        let mut state = self.state();
        for claim in job.claims() {
            state.claimed.remove(&claim);
        }
        let (about, word) = (job.about(), job.word());
        state.running.retain(|(a, w)| (a, *w) != (&about, word));
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::{
        house::regime::Holding,
        id::{SnapshotId, TargetId},
    };

    use super::*;

    fn target(n: u8) -> TargetId {
        TargetId::from_random([n; 16])
    }

    fn raise(n: u8) -> Job {
        Job::Raise {
            target: target(n),
            path: "/srv".into(),
            holding: Holding::Freeze,
            at_least: None,
            left: Vec::new(),
        }
    }

    fn capture(n: u8) -> Job {
        Job::Capture {
            snapshot: SnapshotId::from_random([n; 16]),
            target: target(n),
        }
    }

    #[test]
    fn raises_go_before_lowers_and_one_job_is_taken_once() {
        let queue = Queue::default();
        assert!(queue.add(Job::Lower { target: target(1) }));
        assert!(queue.add(raise(2)));
        assert!(!queue.add(raise(2)));
        assert_eq!(queue.try_take(Lane::Hold), Some(raise(2)));
        assert!(!queue.add(raise(2)), "it runs");
        queue.done(&raise(2));
        assert!(queue.add(raise(2)));
        assert_eq!(queue.try_take(Lane::Read), None);
    }

    #[test]
    fn a_target_is_raised_but_not_lowered_while_it_is_read() {
        let queue = Queue::default();
        queue.add(capture(1));
        assert_eq!(queue.try_take(Lane::Read), Some(capture(1)));
        queue.add(Job::Lower { target: target(1) });
        assert_eq!(queue.try_take(Lane::Hold), None);
        queue.add(raise(1));
        assert_eq!(queue.try_take(Lane::Hold), Some(raise(1)));
        queue.done(&raise(1));
        queue.done(&capture(1));
        assert_eq!(
            queue.try_take(Lane::Hold),
            Some(Job::Lower { target: target(1) })
        );
    }

    #[test]
    fn a_raise_that_waits_is_overtaken_by_a_lift() {
        let queue = Queue::default();
        queue.add(raise(1));
        queue.add(raise(2));
        queue.add(Job::Lower { target: target(1) });
        assert!(queue.has("lower", &target(1).to_string()));
        assert!(!queue.has("raise", &target(1).to_string()));
        assert_eq!(queue.try_take(Lane::Hold), Some(raise(2)));
        let lower = queue.try_take(Lane::Hold).unwrap();
        assert_eq!(lower, Job::Lower { target: target(1) });
        assert!(queue.has("lower", &lower.about()), "while it runs, too");
        queue.done(&lower);
        assert!(!queue.has("lower", &lower.about()));
    }

    #[test]
    fn copies_that_take_long_leave_a_hand_free_for_a_freeze() {
        let preserve = |n| Job::Raise {
            target: target(n),
            path: "/srv".into(),
            holding: Holding::Preserve,
            at_least: None,
            left: Vec::new(),
        };
        let queue = Queue::default();
        queue.add(preserve(1));
        queue.add(preserve(2));
        assert_eq!(queue.try_take(Lane::Hold), Some(preserve(1)));
        assert_eq!(queue.try_take(Lane::Hold), None);
        queue.add(raise(3));
        assert_eq!(queue.try_take(Lane::Hold), Some(raise(3)));
        queue.done(&preserve(1));
        assert_eq!(queue.try_take(Lane::Hold), Some(preserve(2)));
    }

    #[test]
    fn a_target_is_read_only_once_it_was_raised() {
        let queue = Queue::default();
        queue.add(capture(1));
        queue.add(raise(1));
        assert_eq!(queue.try_take(Lane::Read), None);
        assert_eq!(queue.try_take(Lane::Hold), Some(raise(1)));
        assert_eq!(queue.try_take(Lane::Read), None);
        queue.done(&raise(1));
        assert_eq!(queue.try_take(Lane::Read), Some(capture(1)));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_a_job_and_by_a_freed_claim() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.take(Lane::Hold).await, queue.take(Lane::Hold).await) }
        });
        tokio::task::yield_now().await;
        queue.add(raise(1));
        while !queue.is_empty() {
            tokio::task::yield_now().await;
        }
        queue.add(Job::Lower { target: target(1) });
        tokio::task::yield_now().await;
        assert_eq!(queue.len(), 1, "its claim is taken");
        queue.done(&raise(1));
        let (first, second) = waiter.await.unwrap();
        assert_eq!((first.word(), second.word()), ("raise", "lower"));
    }
}

//! The queue between the one who walks and those who read.
//!
//! Rows go through it in runs. What is under way is bounded ([`WINDOW`] rows), so memory does
//! not grow with the tree. A reader that comes to a long file gives the rest of its run back, so
//! that the others need not wait for it.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Rows that may be under way between the walk and the seal.
const WINDOW: u64 = 4096;
/// Runs that may wait for a reader.
const WAITING: usize = 16;

struct State<T> {
    /// Things to read; the rows of a run follow each other.
    runs: VecDeque<Vec<T>>,
    /// Readers that have nothing to do.
    idle: usize,
    /// Whether the walk waits for room.
    walk_waits: bool,
    sealed: u64,
    closed: bool,
    stopped: bool,
}

/// The queue.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// There is a run, or there will be none any more.
    ready: Condvar,
    /// There is room for a run.
    room: Condvar,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                runs: VecDeque::new(),
                idle: 0,
                walk_waits: false,
                sealed: 0,
                closed: false,
                stopped: false,
            }),
            ready: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a run, whose first row is this, once there is room for it; `false` when everything
    /// was stopped.
    pub(super) fn push(&self, first: u64, run: Vec<T>) -> bool {
        let full = |state: &mut State<T>| {
            !state.stopped && (state.runs.len() >= WAITING || first >= state.sealed + WINDOW)
        };
        let mut state = self.lock();
        state.walk_waits = true;
        let mut state = self
            .room
            .wait_while(state, full)
            .unwrap_or_else(PoisonError::into_inner);
        state.walk_waits = false;
        if state.stopped {
            return false;
        }
        state.runs.push_back(run);
        self.wake_reader(&state);
        true
    }

    // To wake is to call the kernel, whether anybody sleeps or not: so it is done only if.

    fn wake_reader(&self, state: &State<T>) {
        if state.idle > 0 {
            self.ready.notify_one();
        }
    }

    /// The walk is woken once there is room for several runs.
    fn wake_walk(&self, state: &State<T>) {
        if state.walk_waits && state.runs.len() <= WAITING / 2 {
            self.room.notify_one();
        }
    }

    /// Puts the rest of a run back, before everything else: its rows are wanted first.
    pub(super) fn give_back(&self, run: Vec<T>) {
        let mut state = self.lock();
        state.runs.push_front(run);
        self.wake_reader(&state);
    }

    /// Takes a run; `None` when there will be none any more.
    pub(super) fn pop(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        state.idle += 1;
        let empty = |state: &mut State<T>| !state.stopped && !state.closed && state.runs.is_empty();
        let mut state = self
            .ready
            .wait_while(state, empty)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        if state.stopped {
            return None;
        }
        let run = state.runs.pop_front();
        self.wake_walk(&state);
        run
    }

    /// Takes a run if there is one that no idle reader will take: a core that does nothing is
    /// worse than one that does one thing.
    pub(super) fn pop_spare(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        if state.stopped || state.runs.len() <= state.idle {
            return None;
        }
        let run = state.runs.pop_front();
        self.wake_walk(&state);
        run
    }

    /// Says that so many more rows are sealed.
    pub(super) fn sealed(&self, rows: u64) {
        let mut state = self.lock();
        state.sealed += rows;
        self.wake_walk(&state);
    }

    /// No run will be pushed any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    /// Ends everything: nobody waits any longer.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.ready.notify_all();
        self.room.notify_all();
    }
}

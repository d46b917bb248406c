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

/// Things to read, whose rows follow each other from `first`.
pub(super) struct Run<T> {
    pub(super) first: u64,
    pub(super) work: Vec<T>,
}

struct State<T> {
    runs: VecDeque<Run<T>>,
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

    /// Adds a run once there is room for it; `false` when everything was stopped.
    pub(super) fn push(&self, run: Run<T>) -> bool {
        let full = |state: &mut State<T>| {
            !state.stopped && (state.runs.len() >= WAITING || run.first >= state.sealed + WINDOW)
        };
        let state = self.lock();
        let mut state = self
            .room
            .wait_while(state, full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return false;
        }
        state.runs.push_back(run);
        self.ready.notify_one();
        true
    }

    /// Puts the rest of a run back, before everything else: its rows are wanted first.
    pub(super) fn give_back(&self, run: Run<T>) {
        self.lock().runs.push_front(run);
        self.ready.notify_one();
    }

    /// Takes a run; `None` when there will be none any more.
    pub(super) fn pop(&self) -> Option<Run<T>> {
        let state = self.lock();
        let empty = |state: &mut State<T>| !state.stopped && !state.closed && state.runs.is_empty();
        let mut state = self
            .ready
            .wait_while(state, empty)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        let run = state.runs.pop_front();
        self.room.notify_one();
        run
    }

    /// Says that so many more rows are sealed.
    pub(super) fn sealed(&self, rows: u64) {
        self.lock().sealed += rows;
        self.room.notify_one();
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

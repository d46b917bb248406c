//! Sweeps: one walk that feeds several hands. What is under way is bounded, in memory and in open
//! descriptors, however large the tree is.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
    mpsc,
};

use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::trouble::{HoldTrouble, while_doing};
use crate::capture::walk::{Step, Walk};

/// Steps handed over at a time.
const BATCH: usize = 32;
/// Batches that wait.
const WAITING: usize = 6;

/// How far the work is, and whether it is to stop.
#[derive(Debug)]
pub struct Progress {
    /// Things done, over all passes.
    pub done: AtomicU64,
    /// Set from outside to stop; the next call goes on where it was.
    pub stop: AtomicBool,
    left: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self::stop_after(u64::MAX)
    }
}

impl Progress {
    /// Stops by itself before the operation after `operations`: what a crash there would do.
    pub fn stop_after(operations: u64) -> Self {
        Self {
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            left: AtomicU64::new(operations),
        }
    }

    /// Called before anything is changed.
    pub(crate) fn step(&self) -> Result<(), HoldTrouble> {
        let limited = self.left.load(Ordering::Relaxed) != u64::MAX;
        let take = |left: u64| left.checked_sub(1);
        let spent = limited
            && self
                .left
                .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_err();
        if spent || self.stop.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
            return Err(HoldTrouble::Stopped);
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// As whom the hands act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As this process.
    Ourselves,
    /// As a user with no rights at all, if this process may become one.
    Nobody,
}

/// Sends every step of a walk to `act`, in several threads and no order.
///
/// The first trouble ends it.
pub fn sweep(
    walk: Walk,
    threads: usize,
    whom: As,
    act: impl Fn(&Step) -> Result<(), HoldTrouble> + Sync,
) -> Result<(), HoldTrouble> {
    let first: Mutex<Option<HoldTrouble>> = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let fail = |trouble| {
        failed.store(true, Ordering::Relaxed);
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(trouble);
    };
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<Vec<Step>>(WAITING);
        let receive = Arc::new(Mutex::new(receive));
        let (fail, act, failed) = (&fail, &act, &failed);
        let mut hands = Vec::new();
        for _ in 0..threads.max(1) {
            let receive = Arc::clone(&receive);
            let hand = move || {
                if whom == As::Nobody
                    && let Err(trouble) = become_nobody()
                {
                    return fail(trouble);
                }
                while !failed.load(Ordering::Relaxed) {
                    let next = receive
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok(batch) = next else { break };
                    if let Err(trouble) = batch.iter().try_for_each(act) {
                        return fail(trouble);
                    }
                }
            };
            let named = std::thread::Builder::new().name("hand".to_owned());
            match named.spawn_scoped(scope, hand) {
                Ok(hand) => hands.push(hand),
                Err(source) => fail(HoldTrouble::Io {
                    doing: "a thread cannot be started",
                    source,
                }),
            }
        }
        drop(receive);
        let mut batch = Vec::with_capacity(BATCH);
        for step in walk {
            if failed.load(Ordering::Relaxed) || hands.iter().all(|hand| hand.is_finished()) {
                break;
            }
            batch.push(step);
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                if !hand_over(&send, full, failed) {
                    break;
                }
            }
        }
        hand_over(&send, batch, failed);
    });
    let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    first.map_or(Ok(()), Err)
}

/// Hands a batch over; false once nobody takes it any more.
fn hand_over(
    send: &mpsc::SyncSender<Vec<Step>>,
    mut batch: Vec<Step>,
    failed: &AtomicBool,
) -> bool {
    while !failed.load(Ordering::Relaxed) {
        match send.try_send(batch) {
            Ok(()) => return true,
            Err(mpsc::TrySendError::Disconnected(_)) => return false,
            Err(mpsc::TrySendError::Full(back)) => batch = back,
        }
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    false
}

/// Gives up all rights of this one thread; it ends with the sweep.
fn become_nobody() -> Result<(), HoldTrouble> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
    set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user))
        .map_err(while_doing("a thread cannot give up its rights"))
}

//! The parts of a file that fail: found block by block, in bounds.

use std::fs::File;

use rustix::io::Errno;

use super::read::{Around, BLOCK, Outcome, read_at};
use crate::capture::trouble::errno_word;

/// Blocks of one file that may fail before the rest of it is not tried: on a dying disk each can
/// take half a minute.
pub(super) const MOST_FAILED: usize = 256;
/// The parts of a file that fail.
#[derive(Debug, Default)]
pub(super) struct Failed {
    reason: Option<Errno>,
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) tries: usize,
    pub(super) gave_up: bool,
}

impl Failed {
    pub(super) fn is_empty(&self) -> bool {
        self.reason.is_none()
    }

    pub(super) fn add(&mut self, errno: Errno, from: u64, until: u64) {
        self.reason.get_or_insert(errno);
        if from >= until {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(until),
            _ => self.ranges.push((from, until)),
        }
    }

    /// This, where nothing failed.
    pub(super) fn or(self, outcome: Outcome) -> Outcome {
        match self.reason {
            None => outcome,
            Some(errno) => Outcome::Unreadable {
                reason: errno_word(errno),
                ranges: self.ranges,
                gave_up: self.gave_up,
            },
        }
    }
}

/// Finds out which blocks of a part fail; false once it is to stop.
pub(super) fn probe(
    file: &File,
    errno: Errno,
    (from, until): (u64, u64),
    block: &mut [u8],
    failed: &mut Failed,
    around: &mut dyn Around,
) -> bool {
    let before = failed.tries;
    let mut at = from;
    while at < until {
        let end = (at + BLOCK as u64).min(until);
        if failed.tries >= MOST_FAILED {
            failed.add(errno, at, until);
            return true;
        }
        if !around.may_read(BLOCK) {
            return false;
        }
        if let Err(errno) = read_at(file, block, at) {
            failed.tries += 1;
            failed.add(errno, at, end);
        }
        at = end;
    }
    if failed.tries == before {
        // Together they failed, one by one they did not: it is not to be relied on.
        failed.add(errno, from, until);
        failed.tries += 1;
    }
    true
}

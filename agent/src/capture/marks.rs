//! Marks: what a file looked like when it was hashed, and what an earlier start knows of one.
//!
//! They go beside the rows, between the walk, the readers and the one that seals, by the rows'
//! numbers: a row of a vault's copy carries the original's inode and times, not the copy's. As
//! many are held as rows are under way.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{digest::Digest, manifest::row::Row};
use rustix::fs::Stat;

use super::hash::nanos;

/// What must be the same for a content to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
}

impl Mark {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    const fn of_row(row: &Row) -> Self {
        Self {
            inode: row.inode,
            size: row.size,
            mtime_ns: row.mtime_ns,
            ctime_ns: row.ctime_ns,
        }
    }
}

/// What a file was hashed to, and what it looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) mark: Mark,
    pub(super) digest: Digest,
    pub(super) holes: u64,
}

/// How a row came by its hash.
enum Made {
    /// From a file that looked so.
    Hashed(Mark),
    /// From an earlier start.
    Known,
}

/// The marks of one capture.
#[derive(Default)]
pub(super) struct Marks {
    /// Rows are of copies: what they say is not what was read.
    copies: bool,
    /// There were earlier starts.
    again: bool,
    known: Mutex<HashMap<u64, Known>>,
    made: Mutex<HashMap<u64, Made>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Marks {
    pub(super) fn new(copies: bool, again: bool) -> Self {
        Self {
            copies,
            again,
            ..Self::default()
        }
    }

    /// What an earlier start knows of the file of a row.
    pub(super) fn know(&self, index: u64, known: Known) {
        locked(&self.known).insert(index, known);
    }

    /// Hash and holes of the file of a row, if an earlier start hashed just this.
    pub(super) fn take(&self, index: u64, stat: &Stat) -> Option<(Digest, u64)> {
        if !self.again {
            return None;
        }
        let known = locked(&self.known).remove(&index)?;
        if known.mark != Mark::of(stat) {
            return None;
        }
        locked(&self.made).insert(index, Made::Known);
        Some((known.digest, known.holes))
    }

    /// A row's hash is that of a file that looks so.
    pub(super) fn hashed(&self, index: u64, stat: &Stat) {
        if self.copies {
            locked(&self.made).insert(index, Made::Hashed(Mark::of(stat)));
        }
    }

    /// What the file of a row looked like when it was hashed; `None` where an earlier start
    /// has noted it, or it was none.
    pub(super) fn seal(&self, row: &Row) -> Option<Mark> {
        if self.again {
            // Where it could not even be opened.
            locked(&self.known).remove(&row.index);
        }
        let made = match self.copies || self.again {
            true => locked(&self.made).remove(&row.index),
            false => None,
        };
        match made {
            Some(Made::Hashed(mark)) => Some(mark),
            Some(Made::Known) => None,
            None => (!self.copies).then(|| Mark::of_row(row)),
        }
    }
}

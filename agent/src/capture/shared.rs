//! What the readers of one capture share: what they have read already, and how much more of
//! what costs a customer nothing they will put up with.

use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::digest::Digest;
use rustix::fs::Stat;

use super::{hash::nanos, marks::Marks, place::Patience};

/// The most inodes with several names that are remembered.
const MOST_LINKS: usize = 65_536;
/// Zeros of holes that are always hashed in a file: so many, or so many times what it has
/// besides.
const FREE_ZEROS: (u64, u64) = (64 << 20, 16);
/// All other zeros of holes that are hashed in one capture: hours of work. A file of 8 EiB, which
/// is made in a moment and takes no space, would take a century.
const ZEROS: u64 = 16 << 40;

/// What must stay the same for a content to be the same.
pub(super) type Stamp = (i64, i64, i64);

pub(super) fn stamp(stat: &Stat) -> Stamp {
    (
        stat.st_size,
        nanos(stat.st_mtime, stat.st_mtime_nsec),
        nanos(stat.st_ctime, stat.st_ctime_nsec),
    )
}

/// What is remembered of an inode: when it was so, its hash and its holes.
type Known = (Stamp, Digest, u64);

/// What the readers of one capture share.
pub struct Shared {
    links: Mutex<HashMap<(u64, u64), Known>>,
    zeros: AtomicU64,
    /// For leases.
    pub patience: Patience,
    before_read: Option<BeforeRead>,
    last: bool,
    pub(super) marks: OnceLock<Marks>,
}

/// Asked before every read of content, with the bytes that will be asked for at most; it may wait.
pub type BeforeRead = Box<dyn Fn(usize) + Send + Sync>;

impl Default for Shared {
    fn default() -> Self {
        Self {
            links: Mutex::default(),
            zeros: AtomicU64::new(ZEROS),
            patience: Patience::default(),
            before_read: None,
            last: false,
            marks: OnceLock::new(),
        }
    }
}

impl Shared {
    /// With something that is asked before every read: who reads is a guest on the host.
    pub fn asking(before_read: BeforeRead) -> Self {
        Self {
            before_read: Some(before_read),
            ..Self::default()
        }
    }

    /// With readers that let the host's own programs go first.
    pub fn going_last(self) -> Self {
        Self { last: true, ..self }
    }

    /// To be called by a reader when it begins.
    pub(super) fn begin(&self) {
        if self.last {
            crate::guest::priority::lower();
        }
    }

    /// To be called before every read of content of at most so many bytes, and with 0 before zeros
    /// of a hole are hashed; may wait.
    pub fn before_read(&self, bytes: usize) {
        if let Some(ask) = &self.before_read {
            ask(bytes);
        }
    }

    /// What the files looked like that were hashed, and what earlier starts know.
    pub(super) fn marks(&self) -> &Marks {
        self.marks.get_or_init(Marks::default)
    }

    /// Hash and holes of an inode with several names that was read before and is as it was.
    pub(super) fn known(&self, stat: &Stat) -> Option<(Digest, u64)> {
        if stat.st_nlink < 2 {
            return None;
        }
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamped, digest, holes) = links.get(&(stat.st_dev, stat.st_ino))?;
        (*stamped == stamp(stat)).then_some((*digest, *holes))
    }

    /// Remembers an inode with several names.
    pub(super) fn remember(&self, stat: &Stat, digest: Digest, holes: u64) {
        if stat.st_nlink < 2 {
            return;
        }
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() < MOST_LINKS {
            links.insert((stat.st_dev, stat.st_ino), (stamp(stat), digest, holes));
        }
    }

    /// Whether the zeros of a file that has so many will be hashed.
    pub(super) fn affords(&self, zeros: u64, data: u64) -> bool {
        let (least, times) = FREE_ZEROS;
        let take = |left: u64| left.checked_sub(zeros);
        zeros <= least.max(data.saturating_mul(times))
            || self
                .zeros
                .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_cost_nothing_are_bounded_and_those_of_real_files_are_not() {
        let shared = Shared::default();
        assert!(!shared.affords(8 << 60, 0));
        // Disk images: a tenth of each is there.
        assert!((0..1000).all(|_| shared.affords(1 << 40, 100 << 30)));
        assert!(shared.affords(ZEROS - 1, 4096));
        assert!(!shared.affords(100 << 20, 4096), "all are used up");
        assert!(shared.affords(64 << 20, 0));
    }
}

//! Clocks: notices that the wall clock was set, also while the agent was down.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::{digest::Digest, house::finding::FindingKind, id::CommandId, time::Time};
use serde::{Deserialize, Serialize};

use crate::{clock, durable, edge::Moment, enforce::Found};

/// The file's name beside the records. It must not end as one of those does.
const FILE: &str = "clock";
/// How often a moment is written down, in nanoseconds of the monotonic clock.
const KEEP: u64 = 600 * 1_000_000_000;

/// A moment as it is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Kept {
    time: Time,
    boot: Digest,
    monotonic_ns: u64,
}

/// The last moment that was known.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    last: Option<Kept>,
    kept_ns: Option<u64>,
}

impl Clock {
    /// Opens what was kept in a folder.
    pub fn open(folder: &Path) -> Self {
        let file = folder.join(FILE);
        let read = fs::read(&file).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        Self {
            last: read.ok(),
            file,
            kept_ns: None,
        }
    }

    /// Goes on to a moment; gives the finding where the clock jumped on the way. Its count is how
    /// many seconds it jumped.
    pub fn go_on(&mut self, now: Moment) -> Option<Found> {
        let kept = Kept {
            time: now.time,
            boot: now.boot,
            monotonic_ns: now.monotonic_ns,
        };
        let before = self.last.replace(kept);
        let due = |at: u64| now.monotonic_ns.abs_diff(at) > KEEP;
        if self.kept_ns.is_none_or(due) {
            self.kept_ns = Some(now.monotonic_ns);
            self.keep();
        }
        let before = before?;
        let before = Moment {
            id: CommandId::from_random([0; 16]),
            time: before.time,
            boot: before.boot,
            monotonic_ns: before.monotonic_ns,
        };
        let moved = clock::jump(&before, &now)?;
        self.keep();
        tracing::warn!(seconds = moved.as_secs(), "the wall clock jumped");
        let seconds = moved.as_secs().unsigned_abs();
        Some(Found::new(FindingKind::ClockJumped, seconds))
    }

    /// Writes the last moment down.
    pub fn keep(&self) {
        let Some(last) = &self.last else { return };
        let kept = serde_json::to_vec(last).map_err(io::Error::from);
        let kept = kept.and_then(|bytes| durable::write(&self.file, 0o600, &bytes));
        if let Err(error) = kept {
            tracing::warn!(%error, "the time cannot be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn moment(boot: &[u8], wall_s: i64, monotonic_s: u64) -> Moment {
        Moment {
            id: CommandId::from_random([1; 16]),
            time: Time::from_millis(1_700_000_000_000 + wall_s * 1000),
            boot: Digest::of(boot),
            monotonic_ns: monotonic_s * 1_000_000_000,
        }
    }

    #[test]
    fn a_jump_is_found_once_and_one_while_nothing_ran_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut clock = Clock::open(folder.path());
        assert_eq!(clock.go_on(moment(b"a", 0, 10)), None, "the very first");
        assert_eq!(clock.go_on(moment(b"a", 3, 13)), None);
        let found = clock.go_on(moment(b"a", 7206, 16));
        assert_eq!(found, Some(Found::new(FindingKind::ClockJumped, 7200)));
        assert_eq!(clock.go_on(moment(b"a", 7209, 19)), None, "once");
        clock.keep();
        let mut clock = Clock::open(folder.path());
        let found = clock.go_on(moment(b"b", 9, 1)).unwrap();
        assert_eq!(found.count, 7200, "back, over a restart");
        clock.keep();
        // What cannot be read says nothing.
        fs::write(folder.path().join(FILE), "x").unwrap();
        assert_eq!(Clock::open(folder.path()).go_on(moment(b"b", 0, 2)), None);
    }
}

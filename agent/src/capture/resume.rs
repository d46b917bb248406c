//! Parts: what a capture has sealed so far, kept beside the manifest, so that one that was killed
//! goes on from there and hashes no file twice without need.
//!
//! Each start writes a log of its own, `SNAPSHOT.parts.N`: in the order of the walk, for every
//! file that it hashed, what the file looked like and what came of it. A later start reads the
//! logs of all earlier ones in step with its walk. What is in a log is believed only of a file
//! that still has the same path, inode, size and times, and that had not been changed in the
//! last second before it was hashed: a clock's tick could hide a later change. Rows are made anew in
//! any case: only hashing is spared. A log that ends in the middle, or is damaged, is good up to there;
//! a log that cannot be written is done without. Memory does not grow with the tree.

use std::{
    cmp::Ordering,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use custody::{
    id::SnapshotId,
    manifest::row::{Row, Status},
};

use super::{
    marks::{Known, Mark},
    parts::{Part, Parts, encode},
};
use crate::journal::frame::{self, Kind};

/// The most logs that are read side by side. With more starts than that, the one that knows the
/// least is given up.
const MOST: usize = 32;
/// When what was sealed goes to the file: so many bytes of the log, or hashed, or so much time.
const WRITE: (usize, u64, Duration) = (48 << 10, 16 << 20, Duration::from_secs(1));
/// When the file goes to the disk: so many bytes hashed, or so much time.
const SYNC: (u64, Duration) = (256 << 20, Duration::from_secs(5));
/// Files that were changed so shortly before the start are not kept, in nanoseconds.
const FRESH: i64 = 1_000_000_000;

/// All logs of one manifest.
fn logs(out: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let wanted = out.with_extension("parts.");
    let (Some(folder), Some(wanted)) = (out.parent(), wanted.file_name()) else {
        return Ok(Vec::new());
    };
    let wanted = wanted.as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.as_encoded_bytes().strip_prefix(wanted);
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes all logs of a manifest: it stands, or will never.
pub fn forget(out: &Path) {
    for (_, path) in logs(out).unwrap_or_default() {
        let _ = fs::remove_file(path);
    }
}

/// The order of a walk: a folder, what is in it, and then what follows it.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    let low = |&b: &u8| if b == b'/' { 0 } else { b };
    a.iter().map(low).cmp(b.iter().map(low))
}

/// What earlier starts have hashed, read in step with a walk.
#[derive(Default)]
pub(super) struct Earlier(Vec<(Parts, Option<Part>)>);

impl Earlier {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of a file. To be asked in the order of the walk.
    pub(super) fn look(&mut self, path: &[u8]) -> Option<Known> {
        let mut known = None;
        self.0.retain_mut(|(parts, next)| {
            while let Some(part) = next
                && order(&part.path, path) == Ordering::Less
            {
                *next = parts.next();
            }
            if let Some(part) = next
                && part.path == path
            {
                known = Some(part.known);
            }
            next.is_some()
        });
        known
    }
}

/// The log that this start writes.
pub(super) struct Log {
    file: File,
    began_ns: i64,
    part: Vec<u8>,
    last: Vec<u8>,
    hashed: u64,
    written: Instant,
    unsynced: u64,
    synced: Instant,
}

/// Opens the logs of earlier starts, and begins this one's; none where it cannot be written.
pub(super) fn open(out: &Path, snapshot: &SnapshotId, began_ns: i64) -> (Earlier, Option<Log>) {
    let all = logs(out).unwrap_or_default();
    let number = all.last().map_or(1, |(number, _)| number.saturating_add(1));
    let mut earlier = Vec::new();
    let mut sizes = Vec::new();
    for (_, path) in all {
        let parts = Parts::open(&path, snapshot).and_then(|mut parts| {
            let first = parts.next()?;
            Some((parts, Some(first)))
        });
        match parts {
            Some(parts) => {
                sizes.push((fs::metadata(&path).map_or(0, |found| found.len()), path));
                earlier.push(parts);
            }
            // Another's, or it had not begun.
            None => drop(fs::remove_file(&path)),
        }
    }
    if earlier.len() >= MOST
        && let Some(least) = (0..sizes.len()).min_by_key(|&at| sizes[at].0)
    {
        earlier.remove(least);
        let _ = fs::remove_file(&sizes[least].1);
    }
    let path = out.with_extension(format!("parts.{number}"));
    let log = Log::create(&path, snapshot, began_ns).inspect_err(|error| {
        tracing::warn!(%error, "what is captured is not kept: after a crash it is read again");
    });
    (Earlier(earlier), log.ok())
}

/// Writes to a log if there is one; trouble with it ends the log, never the capture.
pub(super) fn note(log: &mut Option<Log>, write: impl FnOnce(&mut Log) -> io::Result<()>) {
    if let Some(open) = log
        && let Err(error) = write(open)
    {
        tracing::warn!(%error, "what is captured is not kept: after a crash it is read again");
        *log = None;
    }
}

impl Log {
    fn create(path: &Path, snapshot: &SnapshotId, began_ns: i64) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&frame::encode(Kind::Start, snapshot.to_string().as_bytes()))?;
        Ok(Self {
            file,
            began_ns,
            part: Vec::with_capacity(WRITE.0 + (8 << 10)),
            last: Vec::new(),
            hashed: 0,
            written: Instant::now(),
            unsynced: 0,
            synced: Instant::now(),
        })
    }

    /// Adds a row that was hashed, with what the file looked like, and writes what is due.
    pub(super) fn push(&mut self, row: &Row, mark: &Mark) -> io::Result<()> {
        self.add(row, mark);
        if self.part.len() >= WRITE.0 || self.hashed >= WRITE.1 {
            return self.beat();
        }
        Ok(())
    }

    fn add(&mut self, row: &Row, mark: &Mark) {
        let Some(digest) = row.sha256.filter(|_| row.status == Status::Read) else {
            return;
        };
        if mark.ctime_ns.saturating_add(FRESH) > self.began_ns {
            return;
        }
        let known = Known {
            mark: *mark,
            digest,
            holes: row.holes,
        };
        if encode(&mut self.part, &self.last, &row.path, &known) {
            self.last.clear();
            self.last.extend_from_slice(&row.path);
            self.hashed += mark.size;
        }
    }

    /// Writes what there is: nothing more will come.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if !self.part.is_empty() {
            let frame = frame::encode(Kind::Note, &self.part);
            self.file.write_all(&frame)?;
            self.unsynced += self.hashed;
            self.hashed = 0;
            self.written = Instant::now();
            self.part.clear();
            self.last.clear();
        }
        Ok(())
    }

    /// Writes what is due. To be called now and then while rows are sealed.
    pub(super) fn beat(&mut self) -> io::Result<()> {
        let (length, hashed, time) = WRITE;
        let due = self.part.len() >= length || self.hashed >= hashed;
        if due || self.written.elapsed() >= time {
            self.end()?;
        }
        let (hashed, time) = SYNC;
        if self.unsynced >= hashed || (self.unsynced > 0 && self.synced.elapsed() >= time) {
            self.file.sync_data()?;
            self.unsynced = 0;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::digest::Digest;

    use super::*;

    const ID: SnapshotId = SnapshotId::from_random([4; 16]);
    const BEGAN: i64 = 10_000_000_000;

    fn row(path: &str, size: u64) -> (Row, Mark) {
        let mut row = Row::unknown(0, path.as_bytes().to_vec(), "");
        row.status = Status::Read;
        row.sha256 = Some(Digest::of(path.as_bytes()));
        row.size = size;
        let mark = Mark {
            inode: 7,
            size,
            mtime_ns: 1,
            ctime_ns: 2,
        };
        (row, mark)
    }

    fn write(out: &Path, paths: &[&str]) -> Earlier {
        let (earlier, log) = open(out, &ID, BEGAN);
        let mut log = log.unwrap();
        log.written -= WRITE.2;
        for path in paths {
            let (row, mark) = row(path, 5);
            log.add(&row, &mark);
        }
        log.beat().unwrap();
        earlier
    }

    #[test]
    fn what_was_sealed_is_known_again_in_the_order_of_the_walk() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("snap.parquet");
        assert!(write(&out, &["a", "a/x", "a.b", "b"]).is_empty());
        // The second start knows these, and hashes two more before it ends too.
        let mut earlier = write(&out, &["a/y", "c"]);
        let known = |earlier: &mut Earlier, path: &str| earlier.look(path.as_bytes()).is_some();
        assert!(known(&mut earlier, "a"));
        assert!(!known(&mut earlier, "a/new"));
        assert!(known(&mut earlier, "a/x") && known(&mut earlier, "a.b"));
        let (mut earlier, _) = open(&out, &ID, BEGAN);
        for path in ["a", "a/x", "a/y", "a.b", "b", "c"] {
            let found = earlier.look(path.as_bytes()).unwrap();
            assert_eq!(found.digest, Digest::of(path.as_bytes()), "{path}");
        }
        forget(&out);
        assert!(logs(&out).unwrap().is_empty());
    }

    #[test]
    fn a_torn_tail_and_anothers_log_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("snap.parquet");
        write(&out, &["a", "b"]);
        write(&out, &["c"]);
        let (_, last) = logs(&out).unwrap().pop().unwrap();
        let bytes = fs::read(&last).unwrap();
        fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
        let (mut earlier, _) = open(&out, &ID, BEGAN);
        assert!(earlier.look(b"b").is_some() && earlier.look(b"c").is_none());
        let other = SnapshotId::from_random([5; 16]);
        assert!(open(&out, &other, BEGAN).0.is_empty());
    }

    #[test]
    fn a_file_that_changed_when_it_was_hashed_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("snap.parquet");
        let (_, log) = open(&out, &ID, BEGAN);
        let mut log = log.unwrap();
        let (row, mut mark) = row("a", 5);
        for ctime_ns in [BEGAN, BEGAN - FRESH / 2, BEGAN + FRESH] {
            mark.ctime_ns = ctime_ns;
            log.add(&row, &mark);
        }
        assert!(log.part.is_empty());
        mark.ctime_ns = BEGAN - FRESH;
        log.add(&row, &mark);
        assert!(!log.part.is_empty());
    }

    #[test]
    fn however_often_it_is_begun_the_logs_stay_few() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("snap.parquet");
        write(&out, &["a", "b", "c"]);
        for _ in 0..2 * MOST {
            write(&out, &["d"]);
        }
        assert!(logs(&out).unwrap().len() <= MOST);
        assert!(
            open(&out, &ID, BEGAN).0.look(b"b").is_some(),
            "it knows the most"
        );
    }
}

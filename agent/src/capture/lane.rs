//! A lane: one file under way, with a buffer of its own. A reader has two, because a core hashes
//! two streams in little more time than one.

use custody::{
    digest::Digest,
    manifest::row::{Row, Status},
};
use rustix::io::Errno;
use sha256x2::{BLOCK, Engine, Hasher, update_both};

use super::{
    hash::{BUFFER, Opened},
    shared::Shared,
};

/// A file that is being read and hashed.
struct Reading {
    opened: Box<Opened>,
    hasher: Hasher,
    /// For a copy: the original's row.
    origin: Option<Box<Row>>,
}

/// One lane.
pub(super) struct Lane {
    file: Option<Reading>,
    buffer: Vec<u8>,
    /// What of the buffer was read and is not hashed yet.
    from: usize,
    to: usize,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            file: None,
            buffer: vec![0; BUFFER],
            from: 0,
            to: 0,
        }
    }

    /// Whether there is no file under way.
    pub(super) const fn is_free(&self) -> bool {
        self.file.is_none()
    }

    /// Begins a file, beside the row of the original if it is a copy.
    pub(super) fn begin(&mut self, opened: Box<Opened>, origin: Option<Box<Row>>, engine: Engine) {
        (self.from, self.to) = (0, 0);
        self.file = Some(Reading {
            opened,
            hasher: Hasher::new(engine),
            origin,
        });
    }

    /// Has bytes ready to be hashed; gives the row once there are none any more. Without `wait`
    /// it may be that the disk has only been asked for them.
    pub(super) fn fill(&mut self, wait: bool, shared: &Shared) -> Option<Row> {
        if self.from < self.to {
            return None;
        }
        let reading = self.file.as_mut()?;
        let content = &mut reading.opened.content;
        let read = match content.fill(&mut self.buffer, wait, shared) {
            Ok(count) if count > 0 => {
                (self.from, self.to) = (0, count);
                return None;
            }
            Err(Errno::AGAIN) if !wait => return None,
            Ok(_) => Ok(()),
            Err(errno) => Err(errno),
        };
        self.end(read, shared)
    }

    fn end(&mut self, read: Result<(), Errno>, shared: &Shared) -> Option<Row> {
        let Reading {
            opened,
            hasher,
            origin,
        } = self.file.take()?;
        let row = opened.close(read.map(|()| Digest::from_bytes(hasher.finish())), shared);
        Some(match origin {
            Some(origin) => of_copy(*origin, row),
            None => row,
        })
    }

    /// The bytes that are ready.
    fn ready(&self) -> usize {
        self.to - self.from
    }

    /// Hashes so many of the bytes that are ready, alone.
    fn hash(&mut self, count: usize) {
        if let Some(reading) = &mut self.file {
            let bytes = &self.buffer[self.from..self.from + count];
            reading.hasher.update(bytes);
            self.from += count;
        }
    }
}

/// Hashes what two lanes have ready, side by side as far as that goes; gives the bytes hashed.
pub(super) fn step([a, b]: &mut [Lane; 2]) -> u64 {
    let (ready_a, ready_b) = (a.ready(), b.ready());
    // Whole blocks, so that the one that goes on stays where a block begins.
    let both = ready_a.min(ready_b) / BLOCK * BLOCK;
    match (&mut a.file, &mut b.file) {
        (Some(of_a), Some(of_b)) if both > 0 => {
            update_both(
                (&mut of_a.hasher, &a.buffer[a.from..a.from + both]),
                (&mut of_b.hasher, &b.buffer[b.from..b.from + both]),
            );
            a.from += both;
            b.from += both;
            2 * both as u64
        }
        // One of them has nothing, or the tail of a file: that one is hashed to its end.
        _ => {
            let (lane, count) = match ready_b == 0 || (ready_a > 0 && ready_a <= ready_b) {
                true => (a, ready_a),
                false => (b, ready_b),
            };
            lane.hash(count);
            count as u64
        }
    }
}

/// The row of a copy: content, and trouble with it, are the copy's; the rest is the original's.
pub(super) fn of_copy(mut row: Row, copy: Row) -> Row {
    (row.sha256, row.holes) = (copy.sha256, row.holes.max(copy.holes));
    if copy.status != Status::Read {
        (row.status, row.reason) = (copy.status, copy.reason);
    }
    row
}

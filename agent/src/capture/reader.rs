//! A reader: one thread that takes things to read, reads files two at a time, and makes rows.
//!
//! Rows leave it in any order. It keeps none back while it waits, and gives what it cannot begin
//! soon to the other readers.

use std::{
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use custody::{
    digest::Digest,
    manifest::{
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
};
use sha256x2::Engine;

use super::{
    hash,
    lane::{self, Lane, of_copy},
    queue::Queue,
    seal::Progress,
    shared::Shared,
    walk::Step,
};

/// One thing to read, with its place in the manifest.
pub(super) enum Work {
    Read(u64, Box<Step>),
    /// From a vault: the original's row, and the copy if there is one.
    Copy(Box<Row>, Option<Box<Step>>),
    Known(Box<Row>),
}

/// A row and the hash of its leaf.
pub(super) type Hashed = (Row, Digest);

/// Rows that are handed over at a time.
const HANDFUL: usize = 256;
/// So long at most a row waits for others: what is not sealed is lost in a crash.
const SOON: Duration = Duration::from_millis(500);

/// One reader.
pub(super) struct Reader<'a> {
    queue: &'a Queue<Work>,
    shared: &'a Shared,
    key: &'a SnapshotKey,
    progress: &'a Progress,
    to_sealer: mpsc::Sender<Vec<Hashed>>,
    engine: Engine,
    run: std::vec::IntoIter<Work>,
    rows: Vec<Hashed>,
    flushed: Instant,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        queue: &'a Queue<Work>,
        shared: &'a Shared,
        key: &'a SnapshotKey,
        progress: &'a Progress,
        to_sealer: mpsc::Sender<Vec<Hashed>>,
    ) -> Self {
        Self {
            queue,
            shared,
            key,
            progress,
            to_sealer,
            engine: Engine::find(),
            run: Vec::new().into_iter(),
            rows: Vec::with_capacity(HANDFUL),
            flushed: Instant::now(),
        }
    }

    /// Reads until there is nothing to read any more, or everything is stopped.
    pub(super) fn read(mut self) {
        let mut lanes = [Lane::new(), Lane::new()];
        while !self.progress.stop.load(Ordering::Relaxed) {
            for at in 0..lanes.len() {
                if lanes[at].is_free() {
                    let alone = lanes[1 - at].is_free();
                    self.begin(&mut lanes[at], alone);
                }
            }
            if lanes.iter().all(Lane::is_free) {
                break;
            }
            let mut ended = false;
            // First the disk is asked for both, then each is waited for.
            for wait in [false, true] {
                for lane in &mut lanes {
                    if let Some(row) = lane.fill(wait, self.shared) {
                        self.hand_over(row);
                        ended = true;
                    }
                }
            }
            // A lane that is free gets a file first, so that two go on side by side.
            if !ended {
                let bytes = lane::step(&mut lanes);
                self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        self.flush();
    }

    /// Takes work until there is a file to read on this lane, or nothing more for it. Waits for
    /// work only if the other lane has none.
    fn begin(&mut self, lane: &mut Lane, wait: bool) {
        while let Some(work) = self.next(wait) {
            let (row, origin) = match work {
                Work::Known(row) => (row, None),
                Work::Copy(mut origin, None) => {
                    origin.status = Status::Unreadable;
                    origin.reason = Some("missing-from-vault".to_owned());
                    (origin, None)
                }
                Work::Copy(origin, Some(step)) => match self.open(step, origin.index) {
                    Ok(opened) => return self.start(lane, opened, Some(origin)),
                    Err(row) => (row, Some(origin)),
                },
                Work::Read(index, step) => match self.open(step, index) {
                    Ok(opened) => return self.start(lane, opened, None),
                    Err(row) => (row, None),
                },
            };
            let row = match origin {
                Some(origin) => of_copy(*origin, *row),
                None => *row,
            };
            // A name of a file that was read before, or what a capture before this one had read.
            let bytes = row.sha256.map_or(0, |_| row.size);
            self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.progress.known.fetch_add(bytes, Ordering::Relaxed);
            self.hand_over(row);
        }
    }

    fn open(&self, step: Box<Step>, index: u64) -> Result<Box<hash::Opened>, Box<Row>> {
        match (step.kind, step.trouble) {
            (Kind::File, None) => hash::open(step, index, self.shared),
            _ => Err(Box::new(hash::look(&step, index))),
        }
    }

    /// Begins a file. Nothing else waits for a long one: what is done is handed over, and what
    /// is not begun is given back.
    fn start(&mut self, lane: &mut Lane, opened: Box<hash::Opened>, origin: Option<Box<Row>>) {
        if opened.row.size >= hash::LONG {
            self.flush();
            if self.run.len() > 0 {
                self.queue.give_back(self.run.by_ref().collect());
            }
        }
        lane.begin(opened, origin, self.engine);
    }

    fn next(&mut self, wait: bool) -> Option<Work> {
        if let Some(work) = self.run.next() {
            return Some(work);
        }
        let run = match self.queue.pop_spare() {
            Some(run) => Some(run),
            None => {
                self.flush();
                wait.then(|| self.queue.pop()).flatten()
            }
        };
        self.run = run?.into_iter();
        self.run.next()
    }

    /// Gives a row to the one that seals, with others, once there are enough of them.
    fn hand_over(&mut self, row: Row) {
        let leaf = leaf::leaf_hash(&row, &self.key.salt_row(row.index));
        self.rows.push((row, leaf));
        if self.rows.len() >= HANDFUL || self.flushed.elapsed() >= SOON {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.rows.is_empty() {
            return;
        }
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(HANDFUL));
        // Where nobody takes them, sealing failed and everything is being stopped.
        let _ = self.to_sealer.send(rows);
    }
}

//! Captures a tree: one walker, several readers, and one that seals the rows in order.
//!
//! What is under way is bounded, so memory does not grow with the tree, and a slow file holds up
//! the rest only when the window between walk and seal is full.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

use custody::{
    digest::Digest,
    id::SnapshotId,
    manifest::{
        file::{ManifestError, Writer},
        leaf::{self, SnapshotKey},
        row::{Row, Status},
    },
};

use super::{
    hash,
    origins::OriginsReader,
    queue::{Queue, Run},
    shared::Shared,
    walk::{Step, Walk},
};
use crate::durable;

/// Steps handed to a reader at a time.
const RUN: usize = 64;

/// What is to be captured, and where the manifest goes.
pub struct Capture<'a> {
    /// An allowed root, or a vault, as an open folder.
    pub root: BorrowedFd<'a>,
    /// The target below it.
    pub relative: &'a Path,
    /// Folders to leave out, by device and inode.
    pub exclude: Vec<(u64, u64)>,
    /// For a vault: what the originals looked like.
    pub origins: Option<PathBuf>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its salt key.
    pub key: &'a SnapshotKey,
    /// Where the manifest is written.
    pub out: &'a Path,
    /// How many readers.
    pub threads: usize,
}

/// How far a capture is.
#[derive(Default)]
pub struct Progress {
    /// Rows made.
    pub rows: AtomicU64,
    /// Bytes hashed.
    pub bytes: AtomicU64,
    /// Set from outside to stop it.
    pub stop: AtomicBool,
}

/// A sealed manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Root of its tree.
    pub root: Digest,
    /// Rows.
    pub rows: u64,
    /// Bytes of the files that were read.
    pub bytes: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// SHA-256 of the manifest file.
    pub manifest: Digest,
    /// Its length.
    pub manifest_bytes: u64,
}

/// Why a capture did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The target could not be opened.
    #[error("the target cannot be opened: {0}")]
    Target(#[source] rustix::io::Errno),
    /// The manifest could not be written.
    #[error("the manifest cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// The manifest could not be built.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It was stopped.
    #[error("the capture was stopped")]
    Stopped,
}

/// One thing to read, with its place in the manifest.
enum Work {
    Read(u64, Box<Step>),
    /// From a vault: the original's row, and the copy if there is one.
    Copy(Box<Row>, Option<Box<Step>>),
    Known(Box<Row>),
}

/// Captures a tree into a manifest.
pub fn capture(what: &Capture<'_>, progress: &Progress) -> Result<Sealed, CaptureError> {
    capture_with(what, &Shared::default(), progress)
}

/// Captures a tree like [`capture`], with what the caller gives the readers to share.
pub fn capture_with(
    what: &Capture<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Result<Sealed, CaptureError> {
    let mut walk = Walk::open(what.root, what.relative).map_err(CaptureError::Target)?;
    walk.exclude(what.exclude.iter().copied());
    let origins = what
        .origins
        .as_deref()
        .map(OriginsReader::open)
        .transpose()?;
    let file = durable::create_aside(what.out, 0o600)?;
    let about = [
        ("holdfast.snapshot", what.snapshot.to_string()),
        (
            "holdfast.tool",
            concat!("holdfast-agent ", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = Writer::new(out, &about)?;

    let queue = Queue::new();
    let (bytes, unreadable) = std::thread::scope(|scope| {
        let (to_sealer, done) = mpsc::channel::<(u64, Vec<(Row, Digest)>)>();
        let queue = &queue;
        for _ in 0..what.threads.max(1) {
            let to_sealer = to_sealer.clone();
            std::thread::Builder::new()
                .name("reader".to_owned())
                .spawn_scoped(scope, move || {
                    let mut buffer = vec![0; hash::BUFFER];
                    while let Some(run) = queue.pop() {
                        let first = run.first;
                        let rows = read_run(run, what.key, queue, shared, &mut buffer, progress);
                        if to_sealer.send((first, rows)).is_err() {
                            break;
                        }
                    }
                })?;
        }
        drop(to_sealer);
        std::thread::Builder::new()
            .name("walker".to_owned())
            .spawn_scoped(scope, move || {
                let mut feed = Feed {
                    walk: walk.peekable(),
                    origins,
                    index: 0,
                };
                loop {
                    let first = feed.index;
                    let work: Vec<Work> = feed.by_ref().take(RUN).collect();
                    if work.is_empty()
                        || progress.stop.load(Ordering::Relaxed)
                        || !queue.push(Run { first, work })
                    {
                        break;
                    }
                }
                queue.close();
            })?;
        let sealed = seal(&mut writer, done, queue, progress);
        queue.stop();
        sealed
    })?;
    if progress.stop.load(Ordering::Relaxed) {
        return Err(CaptureError::Stopped);
    }
    let (out, rows, root) = writer.finish()?;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    durable::publish(&file, what.out)?;
    let (manifest, manifest_bytes) = digest_of(what.out)?;
    Ok(Sealed {
        root,
        rows,
        bytes,
        unreadable,
        manifest,
        manifest_bytes,
    })
}

/// Reads a run and makes its rows. Before a long file, what follows it is given back.
fn read_run(
    run: Run<Work>,
    key: &SnapshotKey,
    queue: &Queue<Work>,
    shared: &Shared,
    buffer: &mut [u8],
    progress: &Progress,
) -> Vec<(Row, Digest)> {
    let mut rows = Vec::with_capacity(run.work.len());
    let mut rest = run.work.into_iter();
    while let Some(work) = rest.next() {
        let next = run.first + rows.len() as u64 + 1;
        let mut long = || {
            if rest.len() > 0 {
                queue.give_back(Run {
                    first: next,
                    work: rest.by_ref().collect(),
                });
            }
        };
        let row = make(work, shared, buffer, &mut long);
        let bytes = row.sha256.map_or(0, |_| row.size);
        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        let leaf = leaf::leaf_hash(&row, &key.salt_row(row.index));
        rows.push((row, leaf));
    }
    rows
}

/// Takes rows in any order and writes them in theirs.
fn seal<W: std::io::Write + Send>(
    writer: &mut Writer<W>,
    done: mpsc::Receiver<(u64, Vec<(Row, Digest)>)>,
    queue: &Queue<Work>,
    progress: &Progress,
) -> Result<(u64, u64), CaptureError> {
    let (mut next, mut waiting) = (0, BTreeMap::new());
    let (mut bytes, mut unreadable) = (0, 0);
    for (first, rows) in done {
        waiting.insert(first, rows);
        while let Some(rows) = waiting.remove(&next) {
            let count = rows.len() as u64;
            next += count;
            for (row, leaf) in rows {
                bytes += row.sha256.map_or(0, |_| row.size);
                unreadable += u64::from(row.status == Status::Unreadable);
                writer.push(row, leaf)?;
            }
            progress.rows.fetch_add(count, Ordering::Relaxed);
            queue.sealed(count);
        }
    }
    Ok((bytes, unreadable))
}

fn make(work: Work, shared: &Shared, buffer: &mut [u8], long: &mut dyn FnMut()) -> Row {
    match work {
        Work::Known(row) => *row,
        Work::Read(index, step) => hash::read(&step, index, shared, buffer, long),
        Work::Copy(origin, None) => {
            let mut row = *origin;
            row.status = Status::Unreadable;
            row.reason = Some("missing-from-vault".to_owned());
            row
        }
        Work::Copy(origin, Some(step)) => {
            let copy = hash::read(&step, origin.index, shared, buffer, long);
            let mut row = *origin;
            // Content, and trouble with it, are the copy's; the rest is the original's.
            (row.sha256, row.holes) = (copy.sha256, row.holes.max(copy.holes));
            if copy.status != Status::Read {
                (row.status, row.reason) = (copy.status, copy.reason);
            }
            row
        }
    }
}

/// What there is to read, in order: the walk itself, or the origins beside the walk.
struct Feed {
    walk: std::iter::Peekable<Walk>,
    origins: Option<OriginsReader>,
    index: u64,
}

impl Iterator for Feed {
    type Item = Work;

    fn next(&mut self) -> Option<Work> {
        let Some(origins) = &mut self.origins else {
            let step = self.walk.next()?;
            self.index += 1;
            return Some(Work::Read(self.index - 1, Box::new(step)));
        };
        let index = self.index;
        let Some(origin) = origins.next() else {
            // What is in the vault and in no origin was put there by somebody else.
            let step = self.walk.next()?;
            self.index += 1;
            let row = Row::unknown(index, step.path, "unknown-in-vault");
            return Some(Work::Known(Box::new(row)));
        };
        self.index += 1;
        let mut row = match origin {
            Ok(row) => row,
            Err(_) => Row::unknown(index, Vec::new(), "origins-unreadable"),
        };
        row.index = index;
        if row.status == Status::Unreadable || row.status == Status::NotOpened {
            return Some(Work::Known(Box::new(row)));
        }
        let step = self
            .walk
            .next_if(|step| step.path == row.path)
            .map(Box::new);
        Some(Work::Copy(Box::new(row), step))
    }
}

/// SHA-256 and length of a file.
pub fn digest_of(path: &Path) -> std::io::Result<(Digest, u64)> {
    use std::io::Read as _;

    use sha2::{Digest as _, Sha256};
    let (mut file, mut hasher, mut length) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; hash::BUFFER];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), length));
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
}

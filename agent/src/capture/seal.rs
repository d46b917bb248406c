//! Captures a tree: one walker, several readers, and one that seals the rows in order.
//!
//! What is under way is bounded ([`WINDOW`] batches), so memory does not grow with the tree
//! and a slow file holds up the rest only when the window is full.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
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
    hash::{self, Links},
    origins::OriginsReader,
    walk::{Step, Walk},
};
use crate::durable;

/// Steps handed to a reader at a time.
const BATCH: usize = 16;
/// Batches under way at most.
const WINDOW: u64 = 32;

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

    let (bytes, unreadable) = std::thread::scope(|scope| {
        let (to_readers, work) = mpsc::sync_channel::<(u64, Vec<Work>)>(what.threads.max(1));
        let (to_sealer, done) = mpsc::channel::<(u64, Vec<(Row, Digest)>)>();
        let (free, permits) = mpsc::sync_channel::<()>(WINDOW as usize);
        for _ in 0..WINDOW {
            let _ = free.send(());
        }
        let work = Arc::new(Mutex::new(work));
        let links = Arc::new(Links::default());
        for _ in 0..what.threads.max(1) {
            let (work, links) = (Arc::clone(&work), Arc::clone(&links));
            let to_sealer = to_sealer.clone();
            std::thread::Builder::new()
                .name("reader".to_owned())
                .spawn_scoped(scope, move || {
                    let mut buffer = vec![0; hash::BUFFER];
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((seq, batch)) = next else { break };
                        let rows = batch.into_iter().map(|work| {
                            let row = make(work, &links, &mut buffer);
                            progress
                                .bytes
                                .fetch_add(row.sha256.map_or(0, |_| row.size), Ordering::Relaxed);
                            let leaf = leaf::leaf_hash(&row, &what.key.salt_row(row.index));
                            (row, leaf)
                        });
                        if to_sealer.send((seq, rows.collect())).is_err() {
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
                for seq in 0.. {
                    let batch: Vec<Work> = feed.by_ref().take(BATCH).collect();
                    if batch.is_empty()
                        || progress.stop.load(Ordering::Relaxed)
                        || permits.recv().is_err()
                        || to_readers.send((seq, batch)).is_err()
                    {
                        break;
                    }
                }
            })?;
        seal(&mut writer, done, &free, progress)
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

/// Takes rows in any order and writes them in theirs.
fn seal<W: std::io::Write + Send>(
    writer: &mut Writer<W>,
    done: mpsc::Receiver<(u64, Vec<(Row, Digest)>)>,
    free: &mpsc::SyncSender<()>,
    progress: &Progress,
) -> Result<(u64, u64), CaptureError> {
    let (mut next, mut waiting) = (0, BTreeMap::new());
    let (mut bytes, mut unreadable) = (0, 0);
    for (seq, rows) in done {
        waiting.insert(seq, rows);
        while let Some(rows) = waiting.remove(&next) {
            next += 1;
            for (row, leaf) in rows {
                bytes += row.sha256.map_or(0, |_| row.size);
                unreadable += u64::from(row.status == Status::Unreadable);
                progress.rows.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = writer.push(row, leaf) {
                    progress.stop.store(true, Ordering::Relaxed);
                    return Err(error.into());
                }
            }
            let _ = free.try_send(());
        }
    }
    Ok((bytes, unreadable))
}

fn make(work: Work, links: &Links, buffer: &mut [u8]) -> Row {
    match work {
        Work::Known(row) => *row,
        Work::Read(index, step) => hash::read(&step, index, links, buffer),
        Work::Copy(origin, None) => {
            let mut row = *origin;
            row.status = Status::Unreadable;
            row.reason = Some("missing-from-vault".to_owned());
            row
        }
        Work::Copy(origin, Some(step)) => {
            let copy = hash::read(&step, origin.index, links, buffer);
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

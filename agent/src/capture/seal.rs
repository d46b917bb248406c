//! Captures a tree: one walker, several readers, and one that seals the rows in order.
//!
//! What is under way is bounded, so memory does not grow with the tree, and a slow file holds up
//! the rest only when the window between walk and seal is full.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufWriter, Read as _},
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
        leaf::SnapshotKey,
        row::{Kind, Row, Status},
    },
};

use sha256x2::{Engine, Hasher};

use super::{
    apart::Apart,
    hash,
    marks::Marks,
    origins::OriginsReader,
    queue::Queue,
    reader::{Hashed, Reader, Work},
    resume::{self, Earlier, Log},
    shared::Shared,
    walk::{Step, Walk},
};
use crate::{durable, edge::now, enforce::objects::StoreTrouble};

/// Steps handed to a reader at a time.
const RUN: usize = 64;

/// What is to be captured, and where the manifest goes.
pub struct Capture<'a> {
    /// An allowed root, or a vault, as an open folder.
    pub root: BorrowedFd<'a>,
    /// The target below it.
    pub relative: &'a Path,
    /// What to leave out.
    pub exclude: Vec<Apart>,
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
    /// Bytes of files whose hash is known.
    pub bytes: AtomicU64,
    /// Of these, those that were not read now: another name of a file had been, or an earlier
    /// start had read it.
    pub known: AtomicU64,
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
    /// An object store refused, or could not be asked.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// It was stopped.
    #[error("the capture was stopped")]
    Stopped,
}

/// Captures a tree into a manifest.
pub fn capture(what: &Capture<'_>, progress: &Progress) -> Result<Sealed, CaptureError> {
    capture_with(what, &Shared::default(), progress)
}

/// Captures a tree like [`capture`], with what the caller gives the readers to share.
///
/// Stopped, or killed, it goes on where it was when it is begun again with the same snapshot and
/// the same place for its manifest.
pub fn capture_with(
    what: &Capture<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Result<Sealed, CaptureError> {
    let sealed = sealed(what, shared, progress);
    if !matches!(sealed, Err(CaptureError::Stopped)) {
        resume::forget(what.out);
    }
    sealed
}

fn sealed(
    what: &Capture<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Result<Sealed, CaptureError> {
    let mut walk = Walk::open(what.root, what.relative).map_err(CaptureError::Target)?;
    walk.exclude(&what.exclude);
    let origins = what
        .origins
        .as_deref()
        .map(OriginsReader::open)
        .transpose()?;
    let file = Hashing {
        file: durable::create_aside(what.out, 0o600)?,
        hasher: Hasher::new(Engine::find()),
    };
    let about = [
        ("holdfast.snapshot", what.snapshot.to_string()),
        (
            "holdfast.tool",
            concat!("holdfast-agent ", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = Writer::new(out, &about)?;

    let began_ns = now().millis().saturating_mul(1_000_000);
    let (earlier, mut log) = resume::open(what.out, &what.snapshot, began_ns);
    let marks = Marks::new(what.origins.is_some(), !earlier.is_empty());
    let marks = shared.marks.get_or_init(|| marks);
    let queue = Queue::new();
    let (bytes, unreadable) = std::thread::scope(|scope| {
        let (to_sealer, done) = mpsc::channel();
        let queue = &queue;
        for _ in 0..what.threads.max(1) {
            let reader = Reader::new(queue, shared, what.key, progress, to_sealer.clone());
            std::thread::Builder::new()
                .name("reader".to_owned())
                .spawn_scoped(scope, move || {
                    shared.begin();
                    reader.read();
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
                    earlier,
                    marks,
                };
                loop {
                    let first = feed.index;
                    let work: Vec<Work> = feed.by_ref().take(RUN).collect();
                    if work.is_empty()
                        || progress.stop.load(Ordering::Relaxed)
                        || !queue.push(first, work)
                    {
                        break;
                    }
                }
                queue.close();
            })?;
        let sealed = seal(&mut writer, done, queue, (&mut log, marks), progress);
        queue.stop();
        sealed
    })?;
    if progress.stop.load(Ordering::Relaxed) {
        return Err(CaptureError::Stopped);
    }
    let (out, rows, root) = writer.finish()?;
    let Hashing { file, hasher } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    durable::publish(&file, what.out)?;
    let manifest_bytes = hasher.length();
    Ok(Sealed {
        root,
        rows,
        bytes,
        unreadable,
        manifest: Digest::from_bytes(hasher.finish()),
        manifest_bytes,
    })
}

/// Takes rows in any order and writes them in theirs.
fn seal<W: std::io::Write + Send>(
    writer: &mut Writer<W>,
    done: mpsc::Receiver<Vec<Hashed>>,
    queue: &Queue<Work>,
    (log, marks): (&mut Option<Log>, &Marks),
    progress: &Progress,
) -> Result<(u64, u64), CaptureError> {
    // The rows from the next one on that are there already; no more than the queue's window.
    let (mut next, mut waiting) = (0, VecDeque::<Option<Hashed>>::new());
    let (mut bytes, mut unreadable) = (0, 0);
    for rows in done {
        for hashed in rows {
            let place = usize::try_from(hashed.0.index - next).unwrap_or(usize::MAX);
            if place >= waiting.len() {
                waiting.resize_with(place + 1, || None);
            }
            waiting[place] = Some(hashed);
        }
        let ready = waiting.iter().take_while(|row| row.is_some()).count();
        for (row, leaf) in waiting.drain(..ready).flatten() {
            bytes += row.sha256.map_or(0, |_| row.size);
            unreadable += u64::from(row.status == Status::Unreadable);
            if let Some(mark) = marks.seal(&row) {
                resume::note(log, |log| log.push(&row, &mark));
            }
            writer.push(row, leaf)?;
        }
        resume::note(log, Log::beat);
        next += ready as u64;
        progress.rows.fetch_add(ready as u64, Ordering::Relaxed);
        if ready > 0 {
            queue.sealed(ready as u64);
        }
    }
    resume::note(log, Log::end);
    Ok((bytes, unreadable))
}

/// What there is to read, in order: the walk itself, or the origins beside the walk.
struct Feed<'a> {
    walk: std::iter::Peekable<Walk>,
    origins: Option<OriginsReader>,
    index: u64,
    earlier: Earlier,
    marks: &'a Marks,
}

impl Feed<'_> {
    /// Hands what an earlier start knows of a file to the reader that gets it.
    fn recall(&mut self, step: &Step, index: u64) {
        if step.kind == Kind::File
            && !self.earlier.is_empty()
            && let Some(known) = self.earlier.look(&step.path)
        {
            self.marks.know(index, known);
        }
    }
}

impl Iterator for Feed<'_> {
    type Item = Work;

    fn next(&mut self) -> Option<Work> {
        let Some(origins) = &mut self.origins else {
            let step = self.walk.next()?;
            self.recall(&step, self.index);
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
        if let Some(step) = &step {
            self.recall(step, index);
        }
        Some(Work::Copy(Box::new(row), step))
    }
}

/// A file that is written, and what was written hashed.
struct Hashing {
    file: File,
    hasher: Hasher,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// SHA-256 and length of a file.
pub fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let (mut file, mut hasher) = (File::open(path)?, Hasher::new(Engine::find()));
    let mut buffer = vec![0; hash::BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => {
                let length = hasher.length();
                return Ok((Digest::from_bytes(hasher.finish()), length));
            }
            count => hasher.update(&buffer[..count]),
        }
    }
}

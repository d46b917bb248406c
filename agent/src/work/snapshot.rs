//! Snapshots: reads a held tree once, seals its manifest, says so.
//!
//! The salt key is on disk before the first file is read, and what the capture came to before
//! it is said: begun again after a crash it is the same snapshot, and nothing that was hashed
//! and sealed is hashed a second time.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    sync::{Arc, atomic::Ordering},
};

use custody::{
    id::{SnapshotId, TargetId},
    ledger::tree::Frontier,
    manifest::{
        file::{ManifestError, Reader},
        leaf::{self, SnapshotKey},
        row::Status,
    },
    statement::{Body, SnapshotSealed, Trouble as SaidTrouble},
};

use super::{
    Context, Done, Undone,
    evidence::{SealedFile, SnapshotFile},
    gauge::Gauge,
    io_word,
};
use crate::{
    capture::{
        objects::{ObjectCapture, StoreSource, capture_objects},
        resume,
        seal::{Capture, CaptureError, Sealed, capture_with, digest_of},
        trouble::errno_word,
    },
    edge::now,
    enforce::{HoldTrouble, objects::StoreTrouble},
    journal::known::Stage,
};

const TOOL: &str = concat!("holdfast-agent ", env!("CARGO_PKG_VERSION"));

/// Takes a snapshot of a target.
pub(super) fn take(
    context: &Context,
    snapshot: SnapshotId,
    target: TargetId,
    gauge: &Arc<Gauge>,
) -> Result<Done, Undone> {
    if context
        .book
        .known(|known| known.snapshots.contains_key(&snapshot))
    {
        return Ok(Done::All);
    }
    let mut state = match context.evidence.snapshot(&snapshot)? {
        Some(state) => state,
        None => {
            let edge = context.book.edge();
            let state = SnapshotFile::new(target, edge.random()?, edge.random()?, now());
            context.evidence.keep_snapshot(&snapshot, &state)?;
            state
        }
    };
    let sealed = match &state.sealed {
        Some(sealed) => sealed.clone(),
        None => {
            let sealed = match seal(context, snapshot, &state, gauge) {
                Ok(sealed) => sealed,
                Err(Trouble::Stopped) => return Ok(Done::Stopped),
                Err(Trouble::NotYet) => return Ok(Done::Again),
                Err(Trouble::Failed(reason)) => return failed(context, snapshot, reason),
            };
            state.sealed = Some(sealed.clone());
            context.evidence.keep_snapshot(&snapshot, &state)?;
            // Where a crash came between the manifest and their removal.
            resume::forget(&context.evidence.manifest(&snapshot));
            sealed
        }
    };
    let mechanism = context.book.known(|known| {
        let raised = known.targets.get(&target)?.raised.as_ref()?;
        Some(raised.mechanism)
    });
    let Some(mechanism) = mechanism else {
        // It was sealed under a hold whose raising was not said: that is said first.
        return Ok(Done::Again);
    };
    let opening = state.opening()?;
    let body = SnapshotSealed {
        snapshot,
        root: sealed.root,
        rows: sealed.rows,
        bytes: sealed.bytes,
        unreadable: sealed.unreadable,
        manifest: sealed.manifest,
        manifest_bytes: sealed.manifest_bytes,
        key: opening.commitment(),
        mechanism,
        tool: TOOL.to_owned(),
        began: state.began,
        ended: sealed.ended,
    };
    tracing::info!(%snapshot, rows = sealed.rows, bytes = sealed.bytes, "snapshot sealed");
    context.book.say(Body::SnapshotSealed(body), &[opening])?;
    Ok(Done::All)
}

enum Trouble {
    Stopped,
    /// The hold is not raised yet.
    NotYet,
    /// For a reason in a word.
    Failed(String),
}

fn failed(context: &Context, snapshot: SnapshotId, reason: String) -> Result<Done, Undone> {
    tracing::error!(%snapshot, reason, "snapshot failed");
    let body = SaidTrouble {
        id: snapshot,
        reason,
    };
    context.book.say(Body::SnapshotFailed(body), &[])?;
    Ok(Done::All)
}

fn seal(
    context: &Context,
    snapshot: SnapshotId,
    state: &SnapshotFile,
    gauge: &Arc<Gauge>,
) -> Result<SealedFile, Trouble> {
    let key = state.key().map_err(|e| Trouble::Failed(io_word(&e)))?;
    let out = context.evidence.manifest(&snapshot);
    if out.exists() {
        // Sealed, and then a crash: its rows give what it came to.
        tracing::info!(%snapshot, "the manifest stands already; it is read again");
        return reread(&out, &key, gauge)
            .map_err(|_| Trouble::Failed("manifest-damaged".to_owned()));
    }
    let source = context.keeper.store_source(state.target);
    let source = source.and_then(|store| match store {
        Some(store) => Ok(Ok(store)),
        None => context.keeper.source(state.target).map(Err),
    });
    let source = match source {
        Ok(Err(source)) => source,
        Ok(Ok(store)) => return seal_objects(&store, snapshot, &key, &out, gauge),
        Err(HoldTrouble::UnknownTarget) => {
            // Taken on and not raised yet: its capture waits for it.
            let coming = context.book.known(|known| {
                let target = known.targets.get(&state.target);
                target.is_some_and(|target| target.stage != Stage::Lowered)
            });
            return Err(if coming {
                Trouble::NotYet
            } else {
                Trouble::Failed(HoldTrouble::UnknownTarget.word().to_owned())
            });
        }
        Err(trouble) => return Err(Trouble::Failed(trouble.word().to_owned())),
    };
    let what = Capture {
        root: source.root.as_fd(),
        relative: &source.relative,
        exclude: source.exclude,
        origins: source.origins,
        snapshot,
        key: &key,
        out: &out,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
    };
    sealed_file(capture_with(&what, &gauge.shared(), &gauge.read))
}

/// The same for a target in an object store.
fn seal_objects(
    source: &StoreSource,
    snapshot: SnapshotId,
    key: &SnapshotKey,
    out: &std::path::Path,
    gauge: &Arc<Gauge>,
) -> Result<SealedFile, Trouble> {
    let what = ObjectCapture {
        source,
        snapshot,
        key,
        out,
    };
    sealed_file(capture_objects(&what, &gauge.shared(), &gauge.read))
}

fn sealed_file(sealed: Result<Sealed, CaptureError>) -> Result<SealedFile, Trouble> {
    let sealed = sealed.map_err(|error| match error {
        CaptureError::Stopped => Trouble::Stopped,
        // Nothing is said of a store that cannot be reached: it is asked again.
        CaptureError::Store(StoreTrouble::Unreachable { .. } | StoreTrouble::Broken) => {
            Trouble::NotYet
        }
        CaptureError::Store(trouble) => Trouble::Failed(trouble.word().to_owned()),
        CaptureError::Target(errno) => match errno {
            rustix::io::Errno::NOENT => Trouble::Failed("not-found".to_owned()),
            other => Trouble::Failed(errno_word(other)),
        },
        CaptureError::Write(error) => Trouble::Failed(io_word(&error)),
        CaptureError::Manifest(_) => Trouble::Failed("io-error".to_owned()),
    })?;
    Ok(SealedFile {
        root: sealed.root,
        rows: sealed.rows,
        bytes: sealed.bytes,
        unreadable: sealed.unreadable,
        manifest: sealed.manifest,
        manifest_bytes: sealed.manifest_bytes,
        ended: now(),
    })
}

/// What a manifest that stands came to, from its own rows, each recomputed with the key.
fn reread(
    path: &std::path::Path,
    key: &SnapshotKey,
    gauge: &Gauge,
) -> Result<SealedFile, ManifestError> {
    let open = |error: io::Error| ManifestError::Parquet(error.to_string());
    let mut frontier = Frontier::new();
    let (mut bytes, mut unreadable) = (0, 0);
    for stored in Reader::open(File::open(path).map_err(open)?)? {
        let stored = stored?;
        let at = frontier.size();
        let right = stored.row.as_ref().is_some_and(|row| {
            bytes += row.sha256.map_or(0, |_| row.size);
            unreadable += u64::from(row.status == Status::Unreadable);
            row.index == at && leaf::leaf_hash(row, &key.salt_row(at)) == stored.leaf
        });
        if !right {
            return Err(ManifestError::Leaf(at));
        }
        frontier.push(stored.leaf);
        gauge.read.rows.fetch_add(1, Ordering::Relaxed);
    }
    let (manifest, manifest_bytes) = digest_of(path).map_err(open)?;
    Ok(SealedFile {
        root: frontier.root(),
        rows: frontier.size(),
        bytes,
        unreadable,
        manifest,
        manifest_bytes,
        ended: now(),
    })
}

//! Parcels: packs a release and says what came of it.

use custody::{
    house::finding::FindingKind,
    id::{ReleaseId, TargetId},
    statement::{Body, Finding, ReleasePacked, Trouble as SaidTrouble},
};

use super::{Context, Done, Undone, evidence::ParcelFile, gauge::Gauge, io_word, job::PackRows};
use crate::{
    enforce::HoldTrouble,
    journal::known::Outcome,
    release::{
        pack::{PackError, Packing, pack},
        reread::{Base, is_swapped},
        rows::{Part, RowsError},
    },
};

/// Packs a release.
pub(super) fn make(
    context: &Context,
    release: ReleaseId,
    recipient: &str,
    rows: &[PackRows],
    gauge: &Gauge,
) -> Result<Done, Undone> {
    if context
        .book
        .known(|known| known.releases.contains_key(&release))
    {
        return Ok(Done::All);
    }
    let packed = match context.evidence.packed(&release)? {
        // Packed, and then a crash before it was said.
        Some(packed) => packed,
        None => match fresh(context, release, recipient, rows, gauge)? {
            Ok(packed) => packed,
            Err(Trouble::Stopped) => return Ok(Done::Stopped),
            Err(Trouble::Failed { reason, finding }) => {
                if let Some(finding) = finding {
                    context.book.say(Body::Finding(*finding), &[])?;
                }
                tracing::error!(%release, reason, "release failed");
                let body = SaidTrouble {
                    id: release,
                    reason,
                };
                context.book.say(Body::ReleaseFailed(body), &[])?;
                return Ok(Done::All);
            }
        },
    };
    tracing::info!(%release, files = packed.files, bytes = packed.bytes, "release packed");
    let body = ReleasePacked {
        release,
        parcel: packed.parcel,
        bytes: packed.bytes,
        files: packed.files,
    };
    context.book.say(Body::ReleasePacked(body), &[])?;
    Ok(Done::All)
}

enum Trouble {
    Stopped,
    Failed {
        reason: String,
        finding: Option<Box<Finding>>,
    },
}

impl Trouble {
    fn word(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
            finding: None,
        }
    }

    fn found(reason: &str, finding: Finding) -> Self {
        Self::Failed {
            reason: reason.to_owned(),
            finding: Some(Box::new(finding)),
        }
    }
}

fn finding(what: FindingKind, target: TargetId, count: u64, evidence: Evidenced) -> Finding {
    Finding {
        what,
        target: Some(target),
        count,
        evidence,
        entry: None,
        places: Vec::new(),
        by: None,
        noticed: None,
    }
}

/// Leaf hashes of the rows concerned: salted, so that they name a row to who has the manifest
/// and say nothing to anybody else.
type Evidenced = Vec<custody::digest::Digest>;

fn fresh(
    context: &Context,
    release: ReleaseId,
    recipient: &str,
    rows: &[PackRows],
    gauge: &Gauge,
) -> Result<Result<ParcelFile, Trouble>, Undone> {
    let mut parts = Vec::new();
    for one in rows {
        match part(context, one) {
            Ok(part) => parts.push(part),
            Err(trouble) => return Ok(Err(trouble)),
        }
    }
    let out = context.evidence.parcel(&release);
    let what = Packing {
        release,
        recipient,
        parts: &parts,
        out: &out,
        // Told to stop, packing looks for itself.
        pace: &|bytes| {
            let _ = gauge.before_read(bytes);
        },
    };
    let packed = pack(&what, &gauge.read, |packed| {
        let packed = ParcelFile {
            parcel: packed.parcel,
            bytes: packed.bytes,
            files: packed.files,
        };
        context.evidence.keep_packed(&release, &packed)
    });
    let target = |part: usize| rows[part].target;
    Ok(match packed {
        Ok(packed) => Ok(ParcelFile {
            parcel: packed.parcel,
            bytes: packed.bytes,
            files: packed.files,
        }),
        Err(PackError::Stopped) => Err(Trouble::Stopped),
        Err(PackError::Recipient) => Err(Trouble::word("recipient")),
        Err(PackError::Io(error)) => Err(Trouble::word(io_word(&error))),
        Err(PackError::Differ {
            part,
            count,
            leaves,
        }) => {
            let found = finding(FindingKind::BytesDiffer, target(part), count, leaves);
            Err(Trouble::found("bytes-differ", found))
        }
        Err(PackError::Rows { part, error }) => Err(match error {
            RowsError::Io(error) => Trouble::word(io_word(&error)),
            RowsError::Missing(_) => {
                let found = finding(FindingKind::BytesDiffer, target(part), 1, Vec::new());
                Trouble::found("bytes-differ", found)
            }
            RowsError::Manifest(_) | RowsError::Differs => {
                let what = FindingKind::ManifestDiffers;
                Trouble::found(
                    "manifest-differs",
                    finding(what, target(part), 1, Vec::new()),
                )
            }
        }),
    })
}

/// Where the bytes of one snapshot are.
fn base(context: &Context, rows: &PackRows) -> Result<Base, Trouble> {
    let word = |trouble: HoldTrouble| match trouble {
        HoldTrouble::UnknownTarget => Trouble::word("not-held"),
        trouble => Trouble::word(trouble.word()),
    };
    if let Some(store) = context.keeper.store_source(rows.target).map_err(word)? {
        return Base::store(store).map_err(|trouble| Trouble::word(trouble.word()));
    }
    let spare = || context.fixity.spare(&rows.snapshot);
    let source = match context.keeper.source(rows.target) {
        Err(trouble) if !matches!(trouble, HoldTrouble::UnknownTarget) => {
            // Its disk is gone, or does not answer.
            return spare().map(Base::lost).ok_or_else(|| word(trouble));
        }
        source => source.map_err(word)?,
    };
    let opened = match (Base::open(&source), spare()) {
        (Err(_), Some(spare)) => Ok(Base::lost(spare)),
        (opened, spare) => opened.map(|base| base.with_spare(spare)),
    };
    opened.map_err(|errno| {
        if is_swapped(errno) {
            let what = FindingKind::BytesDiffer;
            let count = rows.rows.count();
            Trouble::found(
                "bytes-differ",
                finding(what, rows.target, count, Vec::new()),
            )
        } else {
            Trouble::word(io_word(&errno.into()))
        }
    })
}

/// Where the rows and bytes of one snapshot are.
fn part(context: &Context, rows: &PackRows) -> Result<(Part, Base), Trouble> {
    let sealed = context
        .book
        .known(|known| match known.snapshots.get(&rows.snapshot) {
            Some(Outcome::Done(sealed)) => Some(sealed.clone()),
            _ => None,
        });
    let sealed = sealed.ok_or_else(|| Trouble::word("unknown-snapshot"))?;
    let state = context.evidence.snapshot(&rows.snapshot);
    let state = state.map_err(|error| Trouble::word(io_word(&error)))?;
    let state = state.ok_or_else(|| Trouble::word("unknown-snapshot"))?;
    if state.target != rows.target {
        return Err(Trouble::word("unknown-snapshot"));
    }
    let base = base(context, rows)?;
    let part = Part {
        snapshot: rows.snapshot,
        manifest: context.evidence.manifest(&rows.snapshot),
        root: sealed.root,
        rows: sealed.rows,
        key: state
            .key()
            .map_err(|error| Trouble::word(io_word(&error)))?,
        chosen: rows.rows.clone(),
    };
    Ok((part, base))
}

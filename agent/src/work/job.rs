//! Jobs: tasks of the coordinator, parsed at the door.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use custody::{
    house::{mechanism::Mechanism, ranges::Ranges, regime::Holding},
    id::{NotAnId, ReleaseId, SnapshotId, TargetId},
};
use proto::v1::{self, task::Task as Wire};

/// Rows of one snapshot that are to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRows {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// What it was taken of.
    pub target: TargetId,
    /// Which rows.
    pub rows: Ranges,
}

/// Something to do. Doing it twice is doing it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Raise and prove a hold.
    Raise {
        /// Which target.
        target: TargetId,
        /// Where.
        path: PathBuf,
        /// What the hold does.
        holding: Holding,
        /// The weakest mechanism that will do.
        at_least: Option<Mechanism>,
        /// Places below it that have left the hold.
        left: Vec<PathBuf>,
    },
    /// Free places that have left a hold; the rest stays.
    Narrow {
        /// Which target.
        target: TargetId,
        /// All places that ever left it, in the order in which they were let go.
        leave: Vec<PathBuf>,
    },
    /// Lower a hold that was lifted.
    Lower {
        /// Which target.
        target: TargetId,
    },
    /// Take a snapshot.
    Capture {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Of which target.
        target: TargetId,
    },
    /// Pack a release.
    Pack {
        /// Which release.
        release: ReleaseId,
        /// The owner's public key.
        recipient: String,
        /// What is released.
        parts: Vec<PackRows>,
    },
    /// Send a manifest.
    SendManifest {
        /// Of which snapshot.
        snapshot: SnapshotId,
    },
    /// Send a parcel.
    SendParcel {
        /// Of which release.
        release: ReleaseId,
    },
}

/// Who does a job: holding never waits behind a long read, nor that behind an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Raise and lower.
    Hold,
    /// Capture and pack.
    Read,
    /// Upload.
    Send,
}

/// What a job must have for itself while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Raising and lowering of a target.
    Hold(TargetId),
    /// Copying: one at a time, since it can take a day, and a freeze must find a free hand.
    Copying,
    /// The bytes of a target: it may not be lowered while they are read.
    Read(TargetId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A release.
    Release(ReleaseId),
}

/// A task that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAJob {
    /// An id.
    #[error(transparent)]
    Id(#[from] NotAnId),
    /// A field that is missing or out of its bounds.
    #[error("a task's {0} is missing or out of bounds")]
    Field(&'static str),
}

impl Job {
    /// Reads a task.
    pub fn from_wire(task: &v1::Task) -> Result<Self, NotAJob> {
        Ok(match task.task.as_ref().ok_or(NotAJob::Field("kind"))? {
            Wire::Raise(raise) => {
                if !custody::house::scope::is_plain_path(&raise.path) {
                    return Err(NotAJob::Field("path"));
                }
                Self::Raise {
                    target: raise.target.parse()?,
                    path: Path::new(OsStr::from_bytes(&raise.path)).to_owned(),
                    holding: match raise.holding() {
                        v1::Holding::Freeze => Holding::Freeze,
                        v1::Holding::Preserve => Holding::Preserve,
                        v1::Holding::Unspecified => return Err(NotAJob::Field("holding")),
                    },
                    at_least: match raise.at_least.as_str() {
                        "" => None,
                        word => {
                            Some(Mechanism::from_word(word).ok_or(NotAJob::Field("mechanism"))?)
                        }
                    },
                    left: places(&raise.left)?,
                }
            }
            Wire::Narrow(narrow) => {
                if narrow.leave.is_empty() {
                    return Err(NotAJob::Field("leave"));
                }
                Self::Narrow {
                    target: narrow.target.parse()?,
                    leave: places(&narrow.leave)?,
                }
            }
            Wire::SetLimits(_) => return Err(NotAJob::Field("kind")),
            Wire::Lower(lower) => Self::Lower {
                target: lower.target.parse()?,
            },
            Wire::Capture(capture) => Self::Capture {
                snapshot: capture.snapshot.parse()?,
                target: capture.target.parse()?,
            },
            Wire::SendManifest(send) => Self::SendManifest {
                snapshot: send.snapshot.parse()?,
            },
            Wire::SendParcel(send) => Self::SendParcel {
                release: send.release.parse()?,
            },
            Wire::Pack(pack) => Self::Pack {
                release: pack.release.parse()?,
                recipient: pack.recipient.clone(),
                parts: pack.rows.iter().map(rows).collect::<Result<_, _>>()?,
            },
        })
    }

    /// What it is about, as a text: tasks about the same thing follow each other.
    pub fn about(&self) -> String {
        match self {
            Self::Raise { target, .. } | Self::Lower { target } | Self::Narrow { target, .. } => {
                target.to_string()
            }
            Self::Capture { snapshot, .. } | Self::SendManifest { snapshot } => {
                snapshot.to_string()
            }
            Self::Pack { release, .. } | Self::SendParcel { release } => release.to_string(),
        }
    }

    /// Whether it lets something go, or out: never done while in doubt.
    pub const fn takes_away(&self) -> bool {
        matches!(
            self,
            Self::Lower { .. } | Self::Narrow { .. } | Self::Pack { .. } | Self::SendParcel { .. }
        )
    }

    /// What is done, in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Raise { .. } => "raise",
            Self::Lower { .. } => "lower",
            Self::Narrow { .. } => "narrow",
            Self::Capture { .. } => "capture",
            Self::Pack { .. } => "pack",
            Self::SendManifest { .. } => "send-manifest",
            Self::SendParcel { .. } => "send-parcel",
        }
    }

    /// Who does it, and before what else: lower numbers first.
    pub const fn lane(&self) -> (Lane, u8) {
        match self {
            Self::Raise { .. } => (Lane::Hold, 0),
            Self::Lower { .. } | Self::Narrow { .. } => (Lane::Hold, 1),
            Self::Capture { .. } => (Lane::Read, 0),
            Self::Pack { .. } => (Lane::Read, 1),
            Self::SendManifest { .. } => (Lane::Send, 0),
            Self::SendParcel { .. } => (Lane::Send, 1),
        }
    }

    /// What it must have for itself.
    pub fn claims(&self) -> Vec<Claim> {
        match self {
            Self::Raise {
                target, holding, ..
            } => match holding {
                Holding::Freeze => vec![Claim::Hold(*target)],
                Holding::Preserve => vec![Claim::Hold(*target), Claim::Copying],
            },
            Self::Lower { target } | Self::Narrow { target, .. } => {
                vec![Claim::Hold(*target), Claim::Read(*target)]
            }
            Self::Capture { snapshot, target } => {
                vec![Claim::Snapshot(*snapshot), Claim::Read(*target)]
            }
            Self::Pack { release, parts, .. } => {
                let mut claims: Vec<_> = parts.iter().map(|p| Claim::Read(p.target)).collect();
                claims.push(Claim::Release(*release));
                claims
            }
            Self::SendManifest { snapshot } => vec![Claim::Snapshot(*snapshot)],
            Self::SendParcel { release } => vec![Claim::Release(*release)],
        }
    }
}

fn places<P: AsRef<[u8]>>(places: &[P]) -> Result<Vec<PathBuf>, NotAJob> {
    let plain = |place: &P| {
        let place = place.as_ref();
        let plain = custody::house::scope::is_plain_path(place);
        plain.then(|| Path::new(OsStr::from_bytes(place)).to_owned())
    };
    let places: Option<_> = places.iter().map(plain).collect();
    places.ok_or(NotAJob::Field("places"))
}

fn rows(rows: &v1::PackRows) -> Result<PackRows, NotAJob> {
    let ranges: Vec<_> = rows.ranges.iter().map(|r| (r.first, r.end)).collect();
    let sound = ranges.len() <= Ranges::MOST && ranges.iter().all(|(first, end)| first < end);
    if ranges.is_empty() || !sound {
        return Err(NotAJob::Field("rows"));
    }
    Ok(PackRows {
        snapshot: rows.snapshot.parse()?,
        target: rows.target.parse()?,
        rows: Ranges::from_unsorted(ranges),
    })
}

//! After: what came later than the moment that is held, in the living tree beside it.
//!
//! The law asks for what existed; this only says whether there is more now. It is a look at times,
//! which whoever owns a file can set back, and never a finding.

use custody::house::mechanism::Mechanism;
use rustix::fs::OFlags;

use super::{
    btrfs::{ioctl, subvolumes},
    flag,
    job::Job,
    record::{Phase, Record},
    survey,
    trouble::HoldTrouble,
};
use crate::capture::place::open_below;

/// The most things that are looked at for one answer.
const MOST: usize = 100_000;

/// What came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Nothing can: the target itself is frozen.
    Nothing,
    /// Nothing in the subvolume around the target has changed.
    Unchanged,
    /// So many things below the target have changed or are new.
    Changed {
        /// How many.
        things: u64,
        /// Whether all were looked at; else there may be more.
        all: bool,
    },
    /// The target is not there any more.
    Gone,
}

/// What is frozen, since when, and what came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// What keeps it.
    pub mechanism: Mechanism,
    /// The moment that is held, nanoseconds since 1970.
    pub as_of_ns: i64,
    /// What came later.
    pub later: Later,
}

pub(super) fn after(job: &Job<'_>, record: &Record) -> Result<After, HoldTrouble> {
    if !matches!(record.phase, Phase::Raised | Phase::Narrowing) {
        return Err(HoldTrouble::UnknownTarget);
    }
    Ok(After {
        mechanism: record.mechanism,
        as_of_ns: record.as_of_ns,
        later: later(job, record)?,
    })
}

fn later(job: &Job<'_>, record: &Record) -> Result<Later, HoldTrouble> {
    if record.mechanism == Mechanism::ImmutableFlag {
        return Ok(Later::Nothing);
    }
    if is_untouched(job, record) {
        return Ok(Later::Unchanged);
    }
    let walk = match job.walk(None) {
        Err(HoldTrouble::NotFound) => return Ok(Later::Gone),
        walk => walk?,
    };
    let (mut things, mut seen) = (0, 0);
    for step in walk {
        if seen == MOST {
            return Ok(Later::Changed { things, all: false });
        }
        job.progress.step()?;
        seen += 1;
        let changed = survey::look(&step).map(|stat| flag::changed_ns(&stat));
        things += u64::from(changed.is_ok_and(|changed| changed > record.as_of_ns));
    }
    Ok(Later::Changed { things, all: true })
}

/// Whether btrfs itself says that no subvolume of the target was changed since.
fn is_untouched(job: &Job<'_>, record: &Record) -> bool {
    let Some(frozen) = &record.frozen else {
        return false;
    };
    let Ok(Some(top)) = subvolumes::top(&job.site) else {
        return false;
    };
    frozen.parts.iter().all(|part| {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY;
        let living = open_below(std::os::fd::AsFd::as_fd(&top.fd), &part.place, folder);
        let info = living.and_then(ioctl::info);
        // A snapshot in its own subvolume changes the folder that it is put in.
        info.is_ok_and(|info| info.changed <= part.made)
    })
}

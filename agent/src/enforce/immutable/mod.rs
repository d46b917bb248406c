//! The immutable flag in place: a frozen target can be changed by nobody who does not first take
//! the flag off, root included.
//!
//! Order: survey and list what others had flagged (on disk), then flags, then flush, then the
//! record says raised. A folder is flagged before it is listed, so nothing can be added behind
//! the walk. A flag comes off only where no other target covers the thing and nobody else had
//! set it before. It never touches another flag, and never opens a device, pipe or socket.

mod prove;
mod raise;

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::manifest::row::Kind;
use rustix::{fs::syncfs, io::Errno};

pub use raise::plan;

use super::{
    flag,
    inodes::{Inode, Inodes},
    keeper::Job,
    mechanism::Mechanism,
    moved,
    record::{Found, Lowered, Phase, Proof, Raised, Record},
    site,
    survey::Survey,
    sweep::{As, sweep},
    trouble::{HoldTrouble, while_doing},
};

/// The flag in place.
#[derive(Clone, Copy, Debug)]
pub struct InPlace;

impl Mechanism for InPlace {
    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
        raise::raise(job, record)
    }

    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
        prove::prove(job, record)
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        prove::check(job, record)
    }

    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        // Never begun, or destroyed by force: there is nothing to free.
        let found = match record.phase {
            Phase::Planned => None,
            _ => moved::find(job, record)?,
        };
        let Some(relative) = found else {
            return Ok(Lowered::default());
        };
        job.site.relative = relative;
        lower(job, record)
    }
}

/// Takes off every flag that has no reason left.
fn lower(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    record.phase = Phase::Lowering;
    job.store.put(record)?;
    let theirs = Inodes::read(&job.file("theirs"))?;
    let cover = job.cover(Record::flags_stand)?;
    let [freed, kept] = [const { AtomicU64::new(0) }; 2];
    sweep(job.walk(None)?, job.threads, As::Ourselves, |step| {
        let fd = match (&step.folder, step.kind) {
            (Some(folder), _) => Arc::clone(folder),
            (None, Kind::File) if step.trouble.is_none() => match flag::open(&step.place) {
                Err(Errno::NOENT) => return Ok(()),
                opened => Arc::new(opened.map_err(while_doing("a held file cannot be opened"))?),
            },
            _ => return Ok(()),
        };
        job.progress.step()?;
        let doing = while_doing("a flag cannot be taken off");
        let stat = flag::look_at(&fd).map_err(&doing)?;
        let inode = Inode::of(&stat);
        let keep = flag::is_flagged(&stat)
            && (theirs.0.contains(&inode) || cover.covers(&step.path, inode));
        if !keep {
            flag::set(fd.as_fd(), false).map_err(&doing)?;
        }
        if step.kind == Kind::File {
            let count = if keep { &kept } else { &freed };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    syncfs(&job.site.root).map_err(while_doing("the flags cannot be flushed"))?;
    job.progress.step()?;
    Ok(Lowered {
        freed: freed.into_inner(),
        kept: kept.into_inner(),
    })
}

/// What the flag does not prevent on this target.
fn limits(found: &Survey, file_system: &str) -> Vec<String> {
    let mut limits = vec![
        "root can take the flag off; that is found and recorded".to_owned(),
        "a folder above the target can be renamed".to_owned(),
    ];
    let counted = [
        (
            found.symlinks,
            "symbolic links: their owner and times can be changed, their target cannot",
        ),
        (
            found.special,
            "devices, pipes and sockets: their mode, owner and times can be changed",
        ),
        (
            found.mounts,
            "mounted file systems below it: they are not held",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    if found.named_outside > 0 {
        limits.push(format!(
            "{} files have names outside the target: such a name's folder is not held",
            found.named_outside
        ));
    }
    if site::is_memory(file_system) {
        limits.push("a restart of the machine empties this file system".to_owned());
    }
    limits
}

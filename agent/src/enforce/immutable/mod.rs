//! The immutable flag in place: a frozen target can be changed by nobody who does not first take
//! the flag off, root included.
//!
//! Order: survey and list what others had flagged (on disk), then flags, then flush, then the
//! record says raised. A folder is flagged before it is listed, so nothing can be added behind
//! the walk. A flag comes off only where no other target covers the thing and nobody else had
//! set it before. It never touches another flag, and never opens a device, pipe or socket.

mod narrow;
mod prove;
mod raise;

use std::{
    collections::HashSet,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::{house::mechanism::Mechanism, manifest::row::Kind};
use rustix::{fs::syncfs, io::Errno};

pub use raise::plan;

use crate::capture::{place::Patience, trouble::Trouble};

use super::{
    beneath, flag,
    found::Found,
    inodes::{Inode, Inodes},
    job::Job,
    mechanism, moved,
    plan::Plan,
    record::{Lowered, Phase, Proof, Raised, Record},
    site,
    survey::{self, Survey},
    sweep::{As, sweep},
    trouble::{HoldTrouble, while_doing},
};

/// The flag in place.
#[derive(Clone, Copy, Debug)]
pub struct InPlace;

impl mechanism::Mechanism for InPlace {
    fn plan(&self, job: &Job<'_>) -> Result<Plan, HoldTrouble> {
        let file_system = job.site.file_system.clone();
        Ok(Plan {
            mechanism: Mechanism::ImmutableFlag,
            does_not_prevent: limits(&Survey::default(), &file_system),
            file_system,
            files: None,
            bytes: None,
            needs: 0,
            free: None,
            because: String::new(),
        })
    }

    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
        raise::raise(job, record)
    }

    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
        prove::prove(job, record)
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        prove::check(job, record)
    }

    fn narrow(&self, job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        narrow::narrow(job, record)
    }

    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        let mut all = Lowered::default();
        if record.phase == Phase::Planned {
            return Ok(all);
        }
        record.phase = Phase::Lowering;
        job.store.put(record)?;
        // What was destroyed by force is nowhere, and need not be freed.
        for place in moved::places(job, record)? {
            job.site.relative = place;
            let lowered = free(job, &HashSet::new())?;
            all.freed += lowered.freed;
            all.kept += lowered.kept;
        }
        Ok(all)
    }
}

/// Takes off every flag that has no reason left; `also` are inodes that stay held anyway.
fn free(job: &Job<'_>, also: &HashSet<Inode>) -> Result<Lowered, HoldTrouble> {
    let theirs = Inodes::read(&job.file("theirs"))?;
    let cover = job.cover(Record::flags_stand)?;
    let [freed, kept, unreached, hidden] = [const { AtomicU64::new(0) }; 4];
    let patience = Patience::default();
    sweep(job.walk(None)?, job.threads, As::Ourselves, |step| {
        let opened = match (&step.folder, step.kind, step.trouble) {
            (Some(folder), _, trouble) => {
                // It opened and could not be listed: what is in it stays as it is.
                unreached.fetch_add(u64::from(trouble.is_some()), Ordering::Relaxed);
                Ok(Arc::clone(folder))
            }
            (None, Kind::File, None) => patience.open(&step.place).map(Arc::new),
            (.., Some(Trouble::Errno(errno))) => Err(errno),
            (.., Some(Trouble::Moved)) => Err(Errno::STALE),
            (None, Kind::Mount, _) => Err(Errno::XDEV),
            // Never flagged.
            _ => return Ok(()),
        };
        let fd = match opened {
            Ok(fd) => fd,
            // Nothing that is held can go.
            Err(Errno::NOENT) => return Ok(()),
            // It can be mounted upon, and then is held as before.
            Err(Errno::XDEV) => {
                let is_ours = beneath::look(&step.place).is_ok_and(|under| {
                    under.is_some_and(|stat| {
                        let inode = Inode::of(&stat);
                        let stays = theirs.0.contains(&inode) || also.contains(&inode);
                        flag::is_flagged(&stat) && !stays && !cover.covers(&step.path, inode)
                    })
                });
                hidden.fetch_add(u64::from(is_ours), Ordering::Relaxed);
                return Ok(());
            }
            Err(_) => {
                let is_free = survey::look(step).is_ok_and(|stat| !flag::is_flagged(&stat));
                unreached.fetch_add(u64::from(!is_free), Ordering::Relaxed);
                return Ok(());
            }
        };
        job.progress.step()?;
        let doing = while_doing("a flag cannot be taken off");
        let stat = flag::look_at(&fd).map_err(&doing)?;
        let inode = Inode::of(&stat);
        let keep = flag::is_flagged(&stat)
            && (theirs.0.contains(&inode)
                || also.contains(&inode)
                || cover.covers(&step.path, inode));
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
    if hidden.into_inner() > 0 {
        return Err(while_doing(
            "something is mounted over a part of what is held. Unmount it: the rest is freed then",
        )(Errno::BUSY));
    }
    if unreached.into_inner() > 0 {
        // A flag that stays for ever must not be called lowered.
        return Err(while_doing(
            "some of what is held cannot be opened to be freed",
        )(Errno::IO));
    }
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
            "mounted file systems below it: neither they nor what lies under them is held",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    if found.named_outside > 0 {
        limits.push(format!(
            "{} files have names outside the target too: by those they cannot be changed either, \
             and the folders of such names are not held",
            found.named_outside
        ));
    }
    if site::is_memory(file_system) {
        limits.push("a restart of the machine empties this file system".to_owned());
    }
    limits
}

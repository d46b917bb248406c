//! Finds held targets again after a folder above them was renamed, which no flag on a target
//! prevents: what is not found cannot be freed, and is freed with what it was moved into.

use std::{
    collections::HashSet,
    ffi::OsString,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use custody::manifest::row::Kind;

use super::{
    flag,
    inodes::Inode,
    job::Job,
    record::Record,
    site::Site,
    survey,
    sweep::Progress,
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::{
    apart::Apart,
    walk::{Step, Walk},
};

/// The inode of a step.
pub fn inode_of(step: &Step) -> Option<Inode> {
    survey::look(step).ok().map(|stat| Inode::of(&stat))
}

/// The inode at a target's path now; none where nothing can be reached there.
fn inode_at(site: &Site) -> Result<Option<Inode>, HoldTrouble> {
    let looking = while_doing("the target cannot be looked at");
    let looked = site.pin().and_then(flag::look_at).map_err(looking);
    match looked {
        Ok(stat) => Ok(Some(Inode::of(&stat))),
        Err(HoldTrouble::Io { doing, source }) => Err(HoldTrouble::Io { doing, source }),
        Err(_) => Ok(None),
    }
}

/// Whether a target, or a part of it, is at its path, and what of it is not.
pub fn look(site: &Site, record: &Record) -> Result<(bool, HashSet<Inode>), HoldTrouble> {
    let here = inode_at(site)?;
    let mut missing: HashSet<_> = record.inodes().collect();
    // One that was never flagged has no inode, and lies at its path or nowhere.
    let is_here = here.is_some_and(|here| missing.is_empty() || missing.remove(&here));
    Ok((is_here, missing))
}

/// Looks through a whole root for what is missing; gives the paths below it.
pub fn search(
    root: &OwnedFd,
    exclude: &[Apart],
    mut missing: HashSet<Inode>,
    progress: &Progress,
) -> Result<Vec<PathBuf>, HoldTrouble> {
    let mut found = Vec::new();
    if missing.is_empty() {
        return Ok(found);
    }
    let walk = Walk::open_with(root.as_fd(), Path::new(""), exclude, None)
        .map_err(while_doing("the root cannot be searched"))?;
    for step in walk.filter(|step| matches!(step.kind, Kind::File | Kind::Folder)) {
        progress.step()?;
        if inode_of(&step).is_some_and(|inode| missing.remove(&inode)) {
            found.push(OsString::from_vec(step.path).into());
        }
        if missing.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Where all of a target lies below its root now.
pub fn places(job: &Job<'_>, record: &Record) -> Result<Vec<PathBuf>, HoldTrouble> {
    let (is_here, missing) = look(&job.site, record)?;
    let mut places = search(&job.site.root, &job.exclude(), missing, job.progress)?;
    if is_here {
        places.push(job.site.relative.clone());
    }
    Ok(places)
}

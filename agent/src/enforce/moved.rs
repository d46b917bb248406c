//! Finds a held target again after a folder above it was renamed, which no flag on the target
//! prevents: what is not found cannot be freed.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use custody::manifest::row::Kind;

use super::{inodes::Inode, keeper::Job, record::Record, survey, trouble::HoldTrouble};
use crate::capture::walk::{Step, Walk};

/// The inode of the target, as it is at its path now.
pub fn inode(job: &Job<'_>) -> Result<Option<Inode>, HoldTrouble> {
    let first = job.walk(None)?.next();
    Ok(first.and_then(|step| inode_of(&step)))
}

fn inode_of(step: &Step) -> Option<Inode> {
    survey::look(step).ok().map(|stat| Inode::of(&stat))
}

/// Where the target lies below its root now; none where it is nowhere there. Looks through the
/// whole root only if the target is not at its path.
pub fn find(job: &Job<'_>, record: &Record) -> Result<Option<PathBuf>, HoldTrouble> {
    let wanted = record
        .inode
        .map(|(subvolume, number)| Inode(subvolume, number));
    let here = match inode(job) {
        Err(HoldTrouble::NotFound) => None,
        here => here?,
    };
    if wanted.is_none() || here == wanted {
        return Ok(here.map(|_| job.site.relative.clone()));
    }
    let kind = if record.single {
        Kind::File
    } else {
        Kind::Folder
    };
    let walk = Walk::open_with(job.site.root.as_fd(), Path::new(""), &job.exclude(), None)
        .map_err(super::trouble::while_doing("the root cannot be searched"))?;
    for step in walk.filter(|step| step.kind == kind) {
        job.progress.step()?;
        if inode_of(&step) == wanted {
            use std::os::unix::ffi::OsStringExt as _;
            return Ok(Some(std::ffi::OsString::from_vec(step.path).into()));
        }
    }
    Ok(None)
}

//! Taking snapshots away: the only place where one is deleted, and only for a target that no
//! reason holds, or one that was never whole.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::{
    fs::{Mode, fchmod, syncfs},
    io::Errno,
};

use super::{
    TREE, ioctl, open,
    subvolumes::{self, FOLDER},
};
use crate::{
    capture::place::{open_below, split},
    enforce::{
        flag,
        job::Job,
        record::{Lowered, Phase, Record},
        trouble::{HoldTrouble, while_doing},
    },
};

/// Makes a snapshot and all that are nested in it read-only, or writable.
pub(super) fn read_only(tree: &OwnedFd, on: bool) -> Result<(), HoldTrouble> {
    let setting = while_doing("a snapshot cannot be made read-only");
    let nested = subvolumes::nested(tree.as_fd(), |_| true).map_err(&setting)?;
    for place in nested.found.keys() {
        let part = open_below(tree.as_fd(), place, FOLDER).map_err(&setting)?;
        ioctl::set_read_only(part, on).map_err(&setting)?;
    }
    ioctl::set_read_only(tree, on).map_err(&setting)
}

/// Takes the flag off a folder of ours, so that something can come or go in it.
pub(super) fn open_up(folder: &OwnedFd) -> Result<(), HoldTrouble> {
    let opening = while_doing("the snapshot's folder cannot be opened up");
    match flag::set(folder, false) {
        Err(errno) if !flag::is_no_flag_here(errno) => return Err(opening(errno)),
        _ => {}
    }
    fchmod(folder, Mode::from(0o700)).map_err(opening)
}

/// Removes the snapshot in a target's folder with all that are nested in it; one that is not there
/// is removed.
pub(super) fn tree(folder: &OwnedFd) -> Result<(), HoldTrouble> {
    let removing = while_doing("the snapshot cannot be removed");
    let tree = match open(folder, TREE) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(&removing)?,
    };
    open_up(folder)?;
    // A plain folder in its place is left to whoever empties the vault.
    if !subvolumes::is_top(&tree).map_err(&removing)? {
        return Ok(());
    }
    let nested = subvolumes::nested(tree.as_fd(), |_| true).map_err(&removing)?;
    if !nested.found.is_empty() {
        read_only(&tree, false)?;
    }
    for place in nested.found.keys().rev() {
        let (above, name) = split(place);
        let parent = open_below(tree.as_fd(), above, FOLDER).map_err(&removing)?;
        match flag::set(&parent, false) {
            Err(errno) if !flag::is_no_flag_here(errno) => return Err(removing(errno)),
            _ => {}
        }
        ioctl::destroy(&parent, name).map_err(&removing)?;
    }
    drop(tree);
    ioctl::destroy(folder, TREE.as_bytes()).map_err(removing)
}

/// Removes all: the reason for keeping it is gone.
pub(super) fn lower(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    record.phase = Phase::Lowering;
    job.store.put(record)?;
    let Some(vault) = job.site.vault()? else {
        return Ok(Lowered::default());
    };
    let removing = while_doing("the snapshot's folder cannot be removed");
    let name = record.target.to_string();
    job.progress.step()?;
    match open(&vault, &name) {
        Err(Errno::NOENT) => {}
        opened => {
            tree(&opened.map_err(&removing)?)?;
            job.progress.step()?;
            job.door.remove(&vault, &name).map_err(&removing)?;
        }
    }
    syncfs(&vault).map_err(while_doing("the vault cannot be flushed"))?;
    job.progress.step()?;
    Ok(Lowered {
        freed: record.raised.as_ref().map_or(0, |raised| raised.files),
        kept: 0,
    })
}

//! Counting what a snapshot holds: one look a file, by name.
//!
//! Only for trees in which nobody but root can mount anything: a look by name at what is mounted
//! asks its server, which may never answer. A living tree is surveyed ([`super::survey`]).

use std::sync::atomic::{AtomicU64, Ordering};

use custody::manifest::row::Kind;
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::{
    sweep::{As, Progress, sweep},
    trouble::HoldTrouble,
};
use crate::capture::{trouble::Trouble, walk::Walk};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Things of every kind.
    pub things: u64,
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes that the files are long.
    pub bytes: u64,
}

/// Counts all of a walk.
pub fn count(walk: Walk, threads: usize, progress: &Progress) -> Result<Counted, HoldTrouble> {
    let [things, files, folders, bytes] = [const { AtomicU64::new(0) }; 4];
    sweep(walk, threads, As::Ourselves, |step| {
        progress.step()?;
        if step.trouble == Some(Trouble::Excluded) {
            return Ok(());
        }
        things.fetch_add(1, Ordering::Relaxed);
        match step.kind {
            Kind::Folder => _ = folders.fetch_add(1, Ordering::Relaxed),
            Kind::File => {
                files.fetch_add(1, Ordering::Relaxed);
                let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
                let (folder, name) = (&step.place.parent, step.place.name.as_slice());
                // One that cannot be looked at is a row of the capture that says so.
                if let Ok(stat) = statx(folder, name, flags, StatxFlags::SIZE) {
                    bytes.fetch_add(stat.stx_size, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Counted {
        things: things.into_inner(),
        files: files.into_inner(),
        folders: folders.into_inner(),
        bytes: bytes.into_inner(),
    })
}

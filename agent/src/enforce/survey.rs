//! Surveys: looks at a whole target before its first flag is set, so that ours and theirs can be
//! told apart for ever after, and counts what a flag will not reach.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::manifest::row::Kind;
use rustix::{fs::Statx, io::Errno};

use super::{
    beneath, flag,
    inodes::{Inode, Inodes},
    sweep::{As, Progress, sweep},
    trouble::HoldTrouble,
};
use crate::capture::{
    trouble::Trouble,
    walk::{Step, Walk},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Flagged, and not by us.
    pub theirs: Inodes,
    /// Regular files with several names.
    pub linked: Inodes,
    /// Such files with a name that is not below the target.
    pub named_outside: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices, pipes and sockets.
    pub special: u64,
    /// Places where another file system is mounted.
    pub mounts: u64,
    /// Things of every kind.
    pub things: u64,
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes that all files are long.
    pub size: u64,
    /// Bytes that the content of all files takes on disk.
    pub bytes: u64,
}

/// Looks at every thing of a walk. `ours` says whether a flag that is found is this agent's.
pub fn survey(
    walk: Walk,
    threads: usize,
    progress: &Progress,
    ours: impl Fn(&Step, Inode) -> bool + Sync,
) -> Result<Survey, HoldTrouble> {
    let theirs = Mutex::new(Inodes::default());
    let linked = Mutex::new(HashMap::<Inode, (u32, u32)>::new());
    let [symlinks, special, mounts] = [const { AtomicU64::new(0) }; 3];
    let [things, files, folders, size, bytes] = [const { AtomicU64::new(0) }; 5];
    sweep(walk, threads, As::Ourselves, |step| {
        progress.step()?;
        if step.trouble == Some(Trouble::Excluded) {
            return Ok(());
        }
        things.fetch_add(1, Ordering::Relaxed);
        // Under a mount, too, what others had flagged stays theirs.
        let hidden = || {
            mounts.fetch_add(1, Ordering::Relaxed);
            for under in beneath::walk(&step.place)
                .ok()
                .flatten()
                .into_iter()
                .flatten()
            {
                if let Ok(stat) = look(&under)
                    && flag::is_flagged(&stat)
                    && !ours(step, Inode::of(&stat))
                {
                    let mut theirs = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    theirs.0.insert(Inode::of(&stat));
                }
            }
        };
        match step.kind {
            Kind::Mount => hidden(),
            Kind::Symlink => _ = symlinks.fetch_add(1, Ordering::Relaxed),
            Kind::File | Kind::Folder => {}
            _ => _ = special.fetch_add(1, Ordering::Relaxed),
        }
        if !matches!(step.kind, Kind::File | Kind::Folder) {
            return Ok(());
        }
        let stat = match look(step) {
            Ok(stat) => stat,
            Err(Errno::XDEV) => {
                hidden();
                return Ok(());
            }
            // It went while we came, or cannot be looked at: what follows finds that too, and
            // says so. One thing must not keep all others from being held.
            Err(_) => return Ok(()),
        };
        let inode = Inode::of(&stat);
        if flag::is_flagged(&stat) && !ours(step, inode) {
            let mut theirs = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            theirs.0.insert(inode);
        }
        if step.kind == Kind::Folder {
            folders.fetch_add(1, Ordering::Relaxed);
        } else {
            size.fetch_add(stat.stx_size, Ordering::Relaxed);
            files.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(stat.stx_blocks.saturating_mul(512), Ordering::Relaxed);
            if stat.stx_nlink > 1 {
                let mut linked = linked.lock().unwrap_or_else(PoisonError::into_inner);
                linked.entry(inode).or_insert((stat.stx_nlink, 0)).1 += 1;
            }
        }
        Ok(())
    })?;
    let linked = linked.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outside = linked.values().filter(|(names, seen)| names > seen);
    Ok(Survey {
        theirs: theirs.into_inner().unwrap_or_else(PoisonError::into_inner),
        named_outside: outside.count() as u64,
        linked: Inodes(linked.into_keys().collect()),
        symlinks: symlinks.into_inner(),
        special: special.into_inner(),
        mounts: mounts.into_inner(),
        things: things.into_inner(),
        files: files.into_inner(),
        folders: folders.into_inner(),
        size: size.into_inner(),
        bytes: bytes.into_inner(),
    })
}

/// Looks at a step: a folder through its descriptor, anything else by its name.
pub fn look(step: &Step) -> Result<Statx, Errno> {
    match &step.folder {
        Some(folder) => flag::look_at(folder),
        None => flag::look(&step.place),
    }
}

//! Repair: puts one lost file of a vault's copy back, from bytes that were proved to be the right
//! ones.
//!
//! Only a vault's copy is ever written: of an original under a flag in place, or in a snapshot,
//! nothing is changed, whatever its disk has lost. The new file is whole, on disk and read back
//! before it takes the place of the old one in one step; in between the flag is off for the two
//! folders and the one file concerned, and for nothing else. A crash leaves the old file or the new
//! one, and flags that the next check finds missing and sets.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fchmod, fsync, openat, renameat, unlinkat},
    io::Errno,
};

use super::{
    flag,
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::place::{open_below, split};

/// The name of the new file, beside the tree and not in it.
const NEW: &str = "repair";
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Writes the right bytes into a new, empty file, and says whether they were the right ones.
pub type Write<'a> = &'a mut dyn FnMut(&File) -> io::Result<bool>;

/// Puts one file back. `target` is the target's folder in the vault, and `path` the file's below
/// its `tree`. `write` writes the bytes, `check` reads them back from the disk. False where they
/// are not to be had; then nothing was changed.
pub fn replace(
    target: &OwnedFd,
    path: &[u8],
    sealed: bool,
    write: Write<'_>,
    check: Write<'_>,
) -> Result<bool, HoldTrouble> {
    let doing = while_doing("a lost file of the copy cannot be put back");
    let (folder, name) = split(path);
    let tree = open_below(target.as_fd(), b"tree", FOLDER).map_err(&doing)?;
    let parent = open_below(tree.as_fd(), folder, FOLDER).map_err(&doing)?;
    let open = Opened::new(&[target, &parent], sealed).map_err(&doing)?;
    let replaced = in_open(target, &parent, name, sealed, write, check);
    let closed = open.close();
    let replaced = replaced.map_err(&doing)?;
    closed.map_err(&doing)?;
    Ok(replaced)
}

fn in_open(
    target: &OwnedFd,
    parent: &OwnedFd,
    name: &[u8],
    sealed: bool,
    write: Write<'_>,
    check: Write<'_>,
) -> Result<bool, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    // What a crash left.
    remove(target, NEW.as_bytes())?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = File::from(openat(target, NEW, flags, Mode::from(0o400))?);
    let written = write(&new)
        .map_err(errno)
        .and_then(|right| {
            fsync(&new)?;
            Ok(right)
        })
        .and_then(|right| Ok(right && check(&new).map_err(errno)?));
    if written != Ok(true) {
        let _ = remove(target, NEW.as_bytes());
        return written;
    }
    unflag(parent, name)?;
    renameat(target, NEW, parent, name)?;
    if sealed {
        flag::set(&new, true)?;
    }
    fsync(&new)?;
    fsync(parent)?;
    fsync(target)?;
    Ok(true)
}

/// Takes the flag off one file, if it is there.
fn unflag(folder: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        // Not there, or a link: nothing that carries a flag.
        Err(Errno::NOENT | Errno::LOOP) => Ok(()),
        opened => match flag::set(opened?, false) {
            Err(errno) if !flag::is_no_flag_here(errno) => Err(errno),
            _ => Ok(()),
        },
    }
}

fn remove(folder: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    unflag(folder, name)?;
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Folders of a vault that can be changed while this is there.
struct Opened<'a> {
    folders: Vec<&'a OwnedFd>,
    sealed: bool,
}

impl<'a> Opened<'a> {
    fn new(folders: &[&'a OwnedFd], sealed: bool) -> Result<Self, Errno> {
        let opened = Self {
            folders: folders.to_vec(),
            sealed,
        };
        for folder in folders {
            match flag::set(folder, false) {
                Err(errno) if !flag::is_no_flag_here(errno) => return Err(errno),
                _ => fchmod(folder, Mode::from(0o700))?,
            }
        }
        Ok(opened)
    }

    /// Closes them; what cannot be closed is trouble.
    fn close(mut self) -> Result<(), Errno> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), Errno> {
        let mut all = Ok(());
        for folder in std::mem::take(&mut self.folders) {
            let shut = fchmod(folder, Mode::from(0o500)).and_then(|()| {
                if self.sealed {
                    flag::set(folder, true)?;
                }
                fsync(folder)
            });
            all = all.and(shut);
        }
        all
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let _ = self.shut();
    }
}

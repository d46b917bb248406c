//! Subvolumes: the one a target lies in, and those that lie below it, found by descriptors and never
//! outside the root.

use std::{
    collections::BTreeMap,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use super::ioctl::{self, TOP};
use crate::{
    capture::place::open_below,
    enforce::{flag, site::Site},
};

/// How a subvolume's own folder is opened.
pub const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);

/// How many times a list is begun again because something moved while it was made.
const TRIES: usize = 5;

/// A subvolume that holds a target.
#[derive(Debug)]
pub struct Top {
    /// Its own folder, open.
    pub fd: OwnedFd,
    /// Where it is below the root; empty for the root itself.
    pub place: PathBuf,
    /// Where the target is in it; empty for the subvolume itself.
    pub inside: PathBuf,
}

/// Whether something open is a subvolume's own folder.
pub fn is_top(fd: impl AsFd) -> Result<bool, Errno> {
    let stat = flag::look_at(fd)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    Ok(stat.stx_ino == TOP && kind == FileType::Directory)
}

/// The nearest subvolume that holds the target and lies in its root.
///
/// None where the subvolume begins above the root: a snapshot of it would take in what this agent
/// was not given.
pub fn top(site: &Site) -> Result<Option<Top>, Errno> {
    if site.file_system != "btrfs" {
        return Ok(None);
    }
    let mut place = site.relative.clone();
    loop {
        let path = place.as_os_str().as_bytes();
        let here = open_below(site.root.as_fd(), path, OFlags::PATH)?;
        if is_top(&here)? {
            let inside = site.relative.strip_prefix(&place).unwrap_or(Path::new(""));
            return Ok(Some(Top {
                fd: open_below(site.root.as_fd(), path, FOLDER)?,
                inside: inside.to_owned(),
                place,
            }));
        }
        if !place.pop() {
            return Ok(None);
        }
    }
}

/// What lies below a subvolume.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Nested {
    /// Their paths below it, those above before those below them, and their numbers.
    pub found: BTreeMap<Vec<u8>, u64>,
    /// Subvolumes that cannot be reached, such as below a path that the kernel does not give.
    pub unreachable: u64,
}

/// Finds all subvolumes below an open one for which `wanted` says yes, at any depth.
pub fn nested(top: BorrowedFd<'_>, wanted: impl Fn(&[u8]) -> bool) -> Result<Nested, Errno> {
    for _ in 0..TRIES {
        if let Some(nested) = list(top, &wanted)? {
            return Ok(nested);
        }
    }
    // Whoever moves subvolumes about all the time does not keep the rest from being held.
    let mut nested = list(top, &wanted)?.unwrap_or_default();
    nested.unreachable += 1;
    Ok(nested)
}

/// One listing; none where something moved meanwhile.
fn list(top: BorrowedFd<'_>, wanted: &impl Fn(&[u8]) -> bool) -> Result<Option<Nested>, Errno> {
    let mut nested = Nested::default();
    let mut waiting = vec![(
        Vec::new(),
        top.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
    )];
    while let Some((above, fd)) = waiting.pop() {
        for below in ioctl::below(&fd)? {
            let path = match ioctl::path_of(&fd, below) {
                Ok(path) => path,
                Err(Errno::NOENT) => return Ok(None),
                Err(_) => {
                    nested.unreachable += 1;
                    continue;
                }
            };
            let whole = match above.as_slice() {
                b"" => path.clone(),
                above => [above, &path].join(&b'/'),
            };
            if !wanted(&whole) {
                continue;
            }
            match open_below(fd.as_fd(), &path, FOLDER) {
                Ok(opened) if ioctl::info(&opened)?.id == below.id => {
                    nested.found.insert(whole.clone(), below.id);
                    waiting.push((whole, opened));
                }
                Ok(_) | Err(Errno::NOENT) => return Ok(None),
                // Something is mounted on it, or on the way to it.
                Err(_) => nested.unreachable += 1,
            }
        }
    }
    Ok(Some(nested))
}

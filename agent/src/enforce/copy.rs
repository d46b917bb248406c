//! Copies one file into a vault: a clone that shares its blocks where the file system has it,
//! else every byte, hashed on the way. The original is only read.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use custody::digest::Digest;
use rustix::{
    fs::{Advice, Stat, fadvise, fstat, ftruncate, ioctl_ficlone},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::capture::hash::BUFFER;

/// How a file was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As a clone, taken in one moment.
    Cloned,
    /// Byte by byte; the hash is of what was read from the original.
    Copied(Digest),
}

/// On which side something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyTrouble {
    /// The original could not be read.
    Original(Errno),
    /// The vault could not be written.
    Vault(Errno),
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Keeps the content of `from` in `to`. `clones` becomes false once cloning turns out not to
/// work between these two places at all.
pub fn keep(from: &OwnedFd, to: &File, clones: &mut bool) -> Result<Kept, CopyTrouble> {
    ftruncate(to, 0).map_err(CopyTrouble::Vault)?;
    if *clones {
        match ioctl_ficlone(to, from) {
            Ok(()) => return Ok(Kept::Cloned),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => return Err(CopyTrouble::Vault(errno)),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => *clones = false,
            // This one file cannot be cloned, such as one without copy-on-write on btrfs.
            Err(_) => {}
        }
    }
    let from = from
        .try_clone()
        .map_err(|e| CopyTrouble::Original(errno(&e)))?;
    let from = File::from(from);
    let (mut hasher, mut at, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        let count = match from.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyTrouble::Original(errno(&error))),
        };
        let block = &buffer[..count];
        hasher.update(block);
        // Zeros become a hole: a sparse file must not fill the vault.
        if block.iter().any(|&b| b != 0) {
            to.write_all_at(block, at)
                .map_err(|e| CopyTrouble::Vault(errno(&e)))?;
        }
        at += count as u64;
    }
    ftruncate(to, at).map_err(CopyTrouble::Vault)?;
    Ok(Kept::Copied(Digest::from_bytes(hasher.finalize().into())))
}

/// Hashes a copy that was flushed, from the disk where the kernel lets go of what it has cached.
pub fn hash_again(copy: OwnedFd) -> Result<Digest, Errno> {
    let _ = fadvise(&copy, 0, None, Advice::DontNeed);
    let (file, mut hasher, mut at) = (File::from(copy), Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Digest::from_bytes(hasher.finalize().into())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(&error)),
        }
    }
}

/// What must stay the same while a file is kept: size, and the times of its last changes.
pub type Stamp = (i64, i64, i64, i64, i64);

/// The stamp of an open file, now.
pub fn stamp(file: impl AsFd) -> Result<Stamp, Errno> {
    fstat(file).map(|stat| stamp_of(&stat))
}

/// The stamp of a file as it was when it was looked at.
pub fn stamp_of(stat: &Stat) -> Stamp {
    let nanos = |n| i64::try_from(n).unwrap_or(0);
    (
        stat.st_size,
        stat.st_mtime,
        nanos(stat.st_mtime_nsec),
        stat.st_ctime,
        nanos(stat.st_ctime_nsec),
    )
}

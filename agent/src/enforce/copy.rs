//! Copies one file into a vault: a clone that shares its blocks where the file system has it,
//! else what it has, without its holes, hashed on the way. The original is only read, and no
//! further than it was long when its copy was begun: one that grows must not fill the vault.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use custody::digest::Digest;
use rustix::{
    fs::{Advice, SeekFrom, Stat, fadvise, fstat, fstatvfs, ftruncate, ioctl_ficlone, seek},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::capture::hash::BUFFER;

/// How a file was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As a clone, taken in one moment.
    Cloned,
    /// Block by block; the digest is of what was read from the original.
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
pub fn keep(from: &OwnedFd, to: &File, clones: &AtomicBool) -> Result<Kept, CopyTrouble> {
    ftruncate(to, 0).map_err(CopyTrouble::Vault)?;
    if clones.load(Ordering::Relaxed) {
        match ioctl_ficlone(to, from) {
            Ok(()) => return Ok(Kept::Cloned),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => return Err(CopyTrouble::Vault(errno)),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
                clones.store(false, Ordering::Relaxed);
            }
            // This one file cannot be cloned, such as one without copy-on-write on btrfs.
            Err(_) => {}
        }
    }
    // To fill the vault to the brim would be noticed, and help nobody.
    let stat = fstat(from).map_err(CopyTrouble::Original)?;
    let bytes = u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512);
    if free(to)
        .map_err(CopyTrouble::Vault)?
        .is_some_and(|free| free < bytes)
    {
        return Err(CopyTrouble::Vault(Errno::NOSPC));
    }
    let from = from
        .try_clone()
        .map_err(|e| CopyTrouble::Original(errno(&e)))?;
    let (digest, length) = content(&from.into(), |at, block| {
        to.write_all_at(block, at)
            .map_err(|e| CopyTrouble::Vault(errno(&e)))
    })?;
    ftruncate(to, length).map_err(CopyTrouble::Vault)?;
    Ok(Kept::Copied(digest))
}

/// The free bytes of the file system of something open; none where it has no measure of them, such
/// as ramfs.
pub fn free(there: impl AsFd) -> Result<Option<u64>, Errno> {
    let stat = fstatvfs(there)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Ok((stat.f_blocks > 0).then_some(free))
}

/// The digest of a copy that was flushed, from the disk where the kernel lets go of what it has
/// cached.
pub fn read_again(copy: OwnedFd) -> Result<Digest, CopyTrouble> {
    let _ = fadvise(&copy, 0, None, Advice::DontNeed);
    content(&copy.into(), |_, _| Ok(())).map(|(digest, _)| digest)
}

/// Gives what a file has, in blocks at multiples of [`BUFFER`], without those that are all zeros,
/// and says how long it is. The digest is of these blocks with where they stand, and of the
/// length: a hole of 8 EiB takes no time, and a copy that has holes where the original has
/// zeros gives the same.
fn content(
    file: &File,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), CopyTrouble>,
) -> Result<(Digest, u64), CopyTrouble> {
    let wrong = CopyTrouble::Original;
    let size = || fstat(file).map(|stat| u64::try_from(stat.st_size).unwrap_or(0));
    let end = size().map_err(wrong)?;
    let (mut hasher, mut at, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    while at < end {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = data - data % BUFFER as u64,
            Err(Errno::NXIO) => break,
            // It cannot be told where its holes are: then it is read from here.
            Err(_) => {}
        }
        let most = end.saturating_sub(at).min(BUFFER as u64);
        let block = &mut buffer[..usize::try_from(most).unwrap_or(0)];
        let count = read_full(file, block, at).map_err(|e| wrong(errno(&e)))?;
        if count == 0 {
            break;
        }
        let block = &block[..count];
        if block.iter().any(|&b| b != 0) {
            hasher.update(at.to_be_bytes());
            hasher.update(block);
            take(at, block)?;
        }
        at += BUFFER as u64;
    }
    let length = end.min(size().map_err(wrong)?);
    hasher.update(length.to_be_bytes());
    Ok((Digest::from_bytes(hasher.finalize().into()), length))
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
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

//! Reads one thing and makes its row: content hashed once, oddities said.

use std::{
    io::Read as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use custody::{
    digest::Digest,
    manifest::row::{Kind, Row, Status},
};
use rustix::{
    fs::{SeekFrom, Stat, fgetxattr, flistxattr, fstat, readlinkat, seek},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{
    shared::{Shared, stamp},
    trouble::{Trouble, errno_word},
    walk::{Step, kind_of_stat},
};

/// How much is read at a time: small enough to stay in a core's cache.
pub const BUFFER: usize = 256 * 1024;
/// From this size on a file is long: others should not wait behind it.
pub const LONG: u64 = 1 << 20;
/// The most bytes of extended attributes that a row carries.
const MOST_XATTRS: usize = 64 * 1024;
pub(super) fn nanos(seconds: i64, nanoseconds: impl TryInto<i64>) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds.try_into().unwrap_or(0))
}

/// The row of what was looked at, without content.
pub fn row_of(index: u64, path: Vec<u8>, stat: &Stat) -> Row {
    let kind = kind_of_stat(stat);
    Row {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        nlink: stat.st_nlink,
        inode: stat.st_ino,
        status: match kind {
            Kind::File | Kind::Folder | Kind::Symlink => Status::Read,
            _ => Status::NotOpened,
        },
        reason: None,
        ..Row::unknown(index, path, "")
    }
}

/// Makes the row of a step of a walk. `long` is called before content of [`LONG`] bytes or
/// more is read.
pub fn read(
    step: &Step,
    index: u64,
    shared: &Shared,
    buffer: &mut [u8],
    long: &mut dyn FnMut(),
) -> Row {
    if let Some(trouble) = step.trouble {
        let mut row = match &step.stat {
            Some(stat) => row_of(index, step.path.clone(), stat),
            None => match step.place.stat() {
                Ok(stat) if trouble != Trouble::Moved => row_of(index, step.path.clone(), &stat),
                _ => Row::unknown(index, step.path.clone(), ""),
            },
        };
        row.status = Status::Unreadable;
        if trouble == Trouble::Excluded {
            row.status = Status::NotOpened;
        }
        row.reason = Some(trouble.word());
        return row;
    }
    match step.kind {
        Kind::File => file(step, index, shared, buffer, long),
        Kind::Folder => folder(step, index),
        Kind::Mount => mount(index, step.path.clone()),
        _ => other(step, index),
    }
}

/// The row of a place where another file system is mounted, of which nothing is asked.
pub fn mount(index: u64, path: Vec<u8>) -> Row {
    Row {
        kind: Kind::Mount,
        status: Status::NotOpened,
        ..Row::unknown(index, path, "other-file-system")
    }
}

/// The row of what is there and could not be read, for a reason in a word.
pub fn unreadable(step: &Step, index: u64, reason: impl Into<String>) -> Row {
    let mut row = match step.place.stat() {
        Ok(stat) => row_of(index, step.path.clone(), &stat),
        Err(_) => Row::unknown(index, step.path.clone(), ""),
    };
    row.status = Status::Unreadable;
    row.reason = Some(reason.into());
    row
}

fn folder(step: &Step, index: u64) -> Row {
    let Some(stat) = &step.stat else {
        return unreadable(step, index, errno_word(Errno::NOENT));
    };
    let mut row = row_of(index, step.path.clone(), stat);
    if let Some(fd) = &step.folder {
        row.xattrs = xattrs(fd.as_fd());
    }
    row
}

fn other(step: &Step, index: u64) -> Row {
    let stat = match step.stat.map_or_else(|| step.place.stat(), Ok) {
        Ok(stat) => stat,
        Err(errno) => return unreadable(step, index, errno_word(errno)),
    };
    let mut row = row_of(index, step.path.clone(), &stat);
    if row.kind == Kind::Symlink {
        match readlinkat(&step.place.parent, step.place.name.as_slice(), Vec::new()) {
            Ok(target) => row.target = Some(target.into_bytes()),
            Err(errno) => return unreadable(step, index, errno_word(errno)),
        }
    }
    row
}

fn file(
    step: &Step,
    index: u64,
    shared: &Shared,
    buffer: &mut [u8],
    long: &mut dyn FnMut(),
) -> Row {
    let opened = shared.patience.open(&step.place);
    let (fd, before) = match opened.and_then(|fd| fstat(&fd).map(|stat| (fd, stat))) {
        Ok(opened) => opened,
        Err(Errno::XDEV) => return mount(index, step.path.clone()),
        Err(errno) => return unreadable(step, index, errno_word(errno)),
    };
    let mut row = row_of(index, step.path.clone(), &before);
    if row.kind != Kind::File {
        // It was a file when its folder was listed: someone put another thing in its place.
        row.status = Status::Unreadable;
        row.reason = Some("replaced-while-walking".to_owned());
        return row;
    }
    row.xattrs = xattrs(fd.as_fd());
    if let Some((digest, holes)) = shared.known(&before) {
        row.sha256 = Some(digest);
        row.holes = holes;
        return row;
    }
    let data = u64::try_from(before.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512);
    let zeros = row.size.saturating_sub(data);
    if !shared.affords(zeros, data) {
        row.holes = zeros;
        row.status = Status::Unreadable;
        row.reason = Some("too-many-holes".to_owned());
        return row;
    }
    if row.size >= LONG {
        long();
    }
    let hashed = if zeros > 0 {
        hash_sparse(fd, shared, buffer)
    } else {
        hash(fd, row.size, shared, buffer).map(|h| (h, 0))
    };
    let ((digest, length, fd), holes) = match hashed {
        Ok(hashed) => hashed,
        Err(errno) => {
            row.status = Status::Unreadable;
            row.reason = Some(errno_word(errno));
            return row;
        }
    };
    row.sha256 = Some(digest);
    row.holes = holes;
    match fstat(&fd) {
        Ok(after) if stamp(&after) == stamp(&before) && length == row.size => {
            shared.remember(&before, digest, holes);
        }
        Ok(_) => {
            row.size = length;
            row.status = Status::Changed;
            row.reason = Some("changed-while-read".to_owned());
        }
        Err(errno) => {
            row.status = Status::Unreadable;
            row.reason = Some(errno_word(errno));
        }
    }
    row
}

type Hashed = (Digest, u64, OwnedFd);

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Hashes a file of a known size. Whether it grew meanwhile is seen by looking at it again.
fn hash(fd: OwnedFd, size: u64, shared: &Shared, buffer: &mut [u8]) -> Result<Hashed, Errno> {
    let mut file = std::fs::File::from(fd);
    let (mut hasher, mut length) = (Sha256::new(), 0);
    // Some file systems say 0 for files that have content.
    while length < size || size == 0 {
        let left = usize::try_from(size.saturating_sub(length)).unwrap_or(usize::MAX);
        let want = if size == 0 {
            buffer.len()
        } else {
            left.min(buffer.len())
        };
        shared.before_read(want);
        match file.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(&error)),
        }
    }
    Ok((
        Digest::from_bytes(hasher.finalize().into()),
        length,
        file.into(),
    ))
}

/// Hashes a file with holes: the zeros of a hole are hashed without being read.
fn hash_sparse(fd: OwnedFd, shared: &Shared, buffer: &mut [u8]) -> Result<(Hashed, u64), Errno> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let end = u64::try_from(fstat(&fd)?.st_size).unwrap_or(0);
    let file = std::fs::File::from(fd);
    let (mut hasher, mut at, mut holes) = (Sha256::new(), 0, 0);
    while at < end {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            Err(Errno::NXIO) => end,
            Err(errno) => return Err(errno),
        };
        holes += data - at;
        while at < data {
            let count = (data - at).min(ZEROS.len() as u64);
            hasher.update(&ZEROS[..usize::try_from(count).unwrap_or(0)]);
            at += count;
        }
        if at == end {
            break;
        }
        let until = seek(&file, SeekFrom::Hole(at))?.min(end);
        while at < until {
            let want = usize::try_from(until - at)
                .unwrap_or(buffer.len())
                .min(buffer.len());
            use std::os::unix::fs::FileExt as _;
            shared.before_read(want);
            match file.read_at(&mut buffer[..want], at) {
                Ok(0) => {
                    return Ok((
                        (
                            Digest::from_bytes(hasher.finalize().into()),
                            at,
                            file.into(),
                        ),
                        holes,
                    ));
                }
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(&error)),
            }
        }
    }
    Ok((
        (
            Digest::from_bytes(hasher.finalize().into()),
            at,
            file.into(),
        ),
        holes,
    ))
}

/// The extended attributes in the manifest's encoding; `None` where there are none.
pub fn xattrs(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut list = [0_u8; 4096];
    // The kernel gives no longer list than the second one.
    let (mut long, list) = (Vec::new(), &mut list[..]);
    let list = match flistxattr(fd, &mut *list) {
        Ok(0) => return None,
        Ok(length) => &list[..length],
        Err(Errno::RANGE) => {
            long.resize(MOST_XATTRS, 0);
            let length = flistxattr(fd, &mut long[..]).ok()?;
            &long[..length]
        }
        Err(_) => return None,
    };
    let mut names: Vec<&[u8]> = list.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    let mut out = Vec::new();
    let mut value = vec![0_u8; MOST_XATTRS];
    for name in names {
        let Ok(length) = fgetxattr(fd, name, &mut value[..]) else {
            continue;
        };
        if out.len() + name.len() + length + 8 > MOST_XATTRS {
            break;
        }
        for part in [name, &value[..length]] {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    Some(out)
}

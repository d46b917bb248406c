//! Makes the rows of things: what they look like, what stands in the way of reading them, and
//! whether they were still what they were once they had been read.

use std::os::fd::{AsFd as _, BorrowedFd};

use custody::{
    digest::Digest,
    manifest::row::{Kind, Row, Status},
};
use rustix::{
    fs::{Stat, fgetxattr, flistxattr, fstat, readlinkat},
    io::Errno,
};

use super::{
    content::Content,
    shared::{Shared, stamp},
    trouble::{Trouble, errno_word},
    walk::{Step, kind_of_stat},
};

/// How much is read at a time: two of these stay in a core's cache.
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

/// Makes the row of a step of a walk without opening anything: of a file it has no content.
pub fn look(step: &Step, index: u64) -> Row {
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

/// A file that is open, and what is to be read of it.
pub(super) struct Opened {
    pub(super) row: Row,
    pub(super) before: Stat,
    pub(super) content: Content,
}

/// Opens a file of a walk; gives its row at once where there is nothing to be read.
pub(super) fn open(
    mut step: Box<Step>,
    index: u64,
    shared: &Shared,
) -> Result<Box<Opened>, Box<Row>> {
    let opened = shared.patience.open(&step.place);
    let (fd, before) = match opened.and_then(|fd| fstat(&fd).map(|stat| (fd, stat))) {
        Ok(opened) => opened,
        Err(Errno::XDEV) => return Err(Box::new(mount(index, step.path))),
        Err(errno) => return Err(Box::new(unreadable(&step, index, errno_word(errno)))),
    };
    let mut row = row_of(index, std::mem::take(&mut step.path), &before);
    if row.kind != Kind::File {
        // It was a file when its folder was listed: someone put another thing in its place.
        return Err(Box::new(failed(row, "replaced-while-walking")));
    }
    row.xattrs = xattrs(fd.as_fd());
    if let Some((digest, holes)) = shared.marks().take(index, &before) {
        shared.remember(&before, digest, holes);
        (row.sha256, row.holes) = (Some(digest), holes);
        return Err(Box::new(row));
    }
    if let Some((digest, holes)) = shared.known(&before) {
        shared.marks().hashed(index, &before);
        row.sha256 = Some(digest);
        row.holes = holes;
        return Err(Box::new(row));
    }
    let data = u64::try_from(before.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512);
    let zeros = row.size.saturating_sub(data);
    if !shared.affords(zeros, data) {
        row.holes = zeros;
        return Err(Box::new(failed(row, "too-many-holes")));
    }
    let content = Content::new(fd, row.size, zeros > 0);
    Ok(Box::new(Opened {
        row,
        before,
        content,
    }))
}

impl Opened {
    /// Makes the row once everything was read, or reading failed.
    pub(super) fn close(self: Box<Self>, read: Result<Digest, Errno>, shared: &Shared) -> Row {
        let mut row = self.row;
        let digest = match read {
            Ok(digest) => digest,
            Err(errno) => return failed(row, errno_word(errno)),
        };
        let (length, holes) = (self.content.length(), self.content.holes());
        (row.sha256, row.holes) = (Some(digest), holes);
        match self.content.stat() {
            Ok(after) if stamp(&after) == stamp(&self.before) && length == row.size => {
                shared.remember(&self.before, digest, holes);
                shared.marks().hashed(row.index, &self.before);
                row
            }
            Ok(_) => {
                row.size = length;
                row.status = Status::Changed;
                row.reason = Some("changed-while-read".to_owned());
                row
            }
            Err(errno) => failed(row, errno_word(errno)),
        }
    }
}

fn failed(mut row: Row, reason: impl Into<String>) -> Row {
    row.status = Status::Unreadable;
    row.reason = Some(reason.into());
    row
}

/// The extended attributes in the manifest's encoding; `None` where there are none.
pub fn xattrs(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    // Few files have many names of attributes; the kernel gives no longer list than the second.
    let mut list = [0_u8; 256];
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

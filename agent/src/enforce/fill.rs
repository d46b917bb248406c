//! Fills a vault: every thing of the living tree gets its origin's row, every file its clone or
//! copy, every symbolic link its like. What cannot be kept is a row that says why.

use std::{fs::File, os::fd::OwnedFd, time::Duration};

use custody::manifest::row::{Kind, Row, Status};
use rustix::{
    fs::{Mode, OFlags, fstat, fstatvfs, ioctl_ficlone, openat},
    io::Errno,
};

use super::{
    copy::{self, CopyTrouble, Kept},
    keeper::Job,
    own::Cursor,
    trouble::{self, HoldTrouble, while_doing},
};
use crate::capture::{
    hash::{self, Links},
    origins::{OriginsReader, OriginsWriter},
    walk::{Step, errno_word},
};

/// How often a file that changes is begun again.
const TRIES: u32 = 4;

/// What a vault was filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Files kept as clones.
    pub cloned: u64,
    /// Files kept byte by byte.
    pub copied: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that would not hold still.
    pub changed: u64,
    /// Things that could not be read.
    pub unreadable: u64,
}

/// Whether a vault's file system clones at all, tried on two files without a name.
pub fn clones(vault: &OwnedFd) -> Result<bool, HoldTrouble> {
    let nameless = || {
        openat(
            vault,
            ".",
            OFlags::TMPFILE | OFlags::RDWR,
            Mode::from(0o600),
        )
    };
    let (Ok(from), Ok(to)) = (nameless(), nameless()) else {
        return Ok(false);
    };
    rustix::io::write(&from, &[1; 4096]).map_err(while_doing("the vault cannot be written"))?;
    Ok(ioctl_ficlone(&to, &from).is_ok())
}

/// Whether clones can come from the target's root: surely so where both lie on one device, or
/// the vault lies in the root and the kernel let us get there without crossing a mount.
pub fn same_file_system(job: &Job<'_>, vault: &OwnedFd) -> bool {
    let device = |fd: &OwnedFd| fstat(fd).map(|stat| stat.st_dev).ok();
    job.site.vault_path.starts_with(&job.site.root_path) || device(vault) == device(&job.site.root)
}

/// Refuses when the vault has no room for so many bytes.
pub fn room(vault: &OwnedFd, bytes: u64) -> Result<(), HoldTrouble> {
    let stat = fstatvfs(vault).map_err(while_doing("the vault's room cannot be measured"))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Names and indexes take room too.
    let needed = bytes.saturating_add(bytes / 32);
    // A file system without blocks, such as ramfs, has no measure of its room.
    if stat.f_blocks > 0 && free < needed {
        return Err(HoldTrouble::NoSpace { needed, free });
    }
    Ok(())
}

/// Fills `tree` and puts the origins in their place.
pub fn fill(job: &Job<'_>, tree: OwnedFd, mut clones: bool) -> Result<Filled, HoldTrouble> {
    let writing = trouble::own("the hold's origins cannot be written");
    let mut origins = OriginsWriter::create(&job.file("origins")).map_err(&writing)?;
    let (mut cursor, mut filled) = (Cursor::new(tree), Filled::default());
    let links = Links::default();
    for (index, step) in (0..).zip(job.walk(None)?) {
        job.progress.step()?;
        let row = if step.kind == Kind::File && step.trouble.is_none() {
            keep_file(&step, index, &mut cursor, &mut clones, &mut filled)?
        } else {
            keep_other(&step, index, &mut cursor, &links, &mut filled)?
        };
        filled.unreadable += u64::from(row.status == Status::Unreadable);
        filled.changed += u64::from(row.status == Status::Changed);
        origins.push(&row).map_err(&writing)?;
    }
    origins.finish().map_err(&writing)?;
    Ok(filled)
}

fn keep_other(
    step: &Step,
    index: u64,
    cursor: &mut Cursor,
    links: &Links,
    filled: &mut Filled,
) -> Result<Row, HoldTrouble> {
    let writing = while_doing("the vault cannot be written");
    // Without content: for these kinds nothing is opened and the buffer is not used.
    let row = hash::read(step, index, links, &mut [], &mut || {});
    let kept = row.status == Status::Read;
    match (step.kind, &row.target) {
        (Kind::Folder, _) if kept => {
            filled.folders += 1;
            if step.path != b"." {
                cursor.make_folder(&step.path).map_err(writing)?;
            }
        }
        (Kind::Symlink, Some(target)) if kept => {
            filled.symlinks += 1;
            cursor.make_link(&step.path, target).map_err(writing)?;
        }
        _ => {}
    }
    Ok(row)
}

fn unreadable(mut row: Row, reason: impl Into<String>) -> Row {
    row.status = Status::Unreadable;
    row.reason = Some(reason.into());
    row
}

fn keep_file(
    step: &Step,
    index: u64,
    cursor: &mut Cursor,
    clones: &mut bool,
    filled: &mut Filled,
) -> Result<Row, HoldTrouble> {
    let writing = while_doing("the vault cannot be written");
    let mut copy: Option<File> = None;
    for tried in 1.. {
        let again = tried < TRIES;
        let (from, stat) = match hash::open_file(&step.place) {
            // Somebody is asked to give up a lease on it and needs a moment.
            Err(Errno::AGAIN) if again => {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            Err(errno) => {
                let unknown = Row::unknown(index, step.path.clone(), "");
                let looked = step.place.stat();
                let row = looked.map_or(unknown, |s| hash::row_of(index, step.path.clone(), &s));
                if copy.is_some() {
                    cursor.remove(&step.path).map_err(&writing)?;
                }
                return Ok(unreadable(row, errno_word(errno)));
            }
            Ok(opened) => opened,
        };
        let mut row = hash::row_of(index, step.path.clone(), &stat);
        if row.kind != Kind::File {
            if copy.is_some() {
                cursor.remove(&step.path).map_err(&writing)?;
            }
            return Ok(unreadable(row, "replaced-while-walking"));
        }
        row.xattrs = hash::xattrs(std::os::fd::AsFd::as_fd(&from));
        let to = match copy.take() {
            Some(to) => to,
            None => File::from(cursor.make_file(&step.path).map_err(&writing)?),
        };
        let looking = while_doing("a file in the target cannot be looked at");
        let before = copy::stamp(&from).map_err(&looking)?;
        let kept = match copy::keep(&from, &to, clones) {
            Err(CopyTrouble::Vault(errno)) => return Err(writing(errno)),
            Err(CopyTrouble::Original(errno)) => {
                cursor.remove(&step.path).map_err(&writing)?;
                return Ok(unreadable(row, errno_word(errno)));
            }
            Ok(kept) => kept,
        };
        let steady =
            copy::stamp(&from).map_err(&looking)? == before && before == copy::stamp_of(&stat);
        if !steady && again {
            copy = Some(to);
            continue;
        }
        if !steady {
            row.status = Status::Changed;
            row.reason = Some("changed-while-read".to_owned());
            let length = fstat(&to).map_err(&writing)?.st_size;
            row.size = u64::try_from(length).unwrap_or(0);
        }
        filled.bytes += row.size;
        match kept {
            Kept::Cloned => filled.cloned += 1,
            Kept::Copied(digest) => {
                filled.copied += 1;
                row.sha256 = Some(digest);
            }
        }
        return Ok(row);
    }
    Ok(unreadable(
        Row::unknown(index, step.path.clone(), ""),
        "EAGAIN",
    ))
}

/// Reads every copied file again, after it was flushed, and compares it with what was read.
pub fn compare(job: &Job<'_>, tree: OwnedFd) -> Result<(), HoldTrouble> {
    let reading = trouble::own("the hold's origins cannot be read");
    let (mut cursor, mut differ) = (Cursor::new(tree), 0);
    for row in OriginsReader::open(&job.file("origins")).map_err(&reading)? {
        let row = row.map_err(&reading)?;
        let Some(digest) = row.sha256 else { continue };
        job.progress.step()?;
        let again = cursor.open_file(&row.path).and_then(copy::hash_again);
        differ += u64::from(again != Ok(digest));
    }
    if differ > 0 {
        return Err(HoldTrouble::BytesDiffer(differ));
    }
    Ok(())
}

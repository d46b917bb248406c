//! Narrowing a vault: the copies of what leaves are removed, and so are their origins.

use std::{
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fchmod, syncfs, unlinkat},
    io::Errno,
};

use super::{relative, walk};
use crate::{
    capture::{
        origins::{OriginsReader, OriginsWriter},
        place::{open_below, split},
        seal::digest_of,
    },
    enforce::{
        flag,
        job::{Job, bytes_path, is_below},
        keeper, own,
        record::{Lowered, Record},
        survey,
        trouble::{self, HoldTrouble, while_doing},
    },
};

pub(super) fn narrow(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    let vault = job.site.vault()?.ok_or(HoldTrouble::NotFound)?;
    origins(job, record)?;
    let tree = relative(record);
    for left in record.left.clone() {
        job.progress.step()?;
        let path = tree.join(bytes_path(&left));
        remove(&vault, &path)?;
    }
    syncfs(&vault).map_err(while_doing("the vault cannot be flushed"))?;
    let found = survey::survey(
        walk(&vault, record, None)?,
        job.threads,
        job.progress,
        |_, _| true,
    )?;
    record.things = found.things;
    // What somebody else changed is to be found afterwards too.
    if record.was_clean {
        record.since_ns = keeper::now_ns();
    }
    if let Some(raised) = &mut record.raised {
        raised.files = found.files;
        // The target's own folder around the tree is not the customer's.
        raised.folders = found.folders.saturating_sub(1);
        raised.bytes = found.size;
    }
    // Counted before the first went: a crash may have come in between.
    Ok(record.narrowed.clone().unwrap_or_default().1)
}

/// Takes the rows of what left out of the origins.
fn origins(job: &Job<'_>, record: &mut Record) -> Result<(), HoldTrouble> {
    let writing = trouble::own("the hold's origins cannot be narrowed");
    let path = job.file("origins");
    let mut staying = OriginsWriter::create(&path).map_err(&writing)?;
    for row in OriginsReader::open(&path).map_err(&writing)? {
        let row = row.map_err(&writing)?;
        if !record.left.iter().any(|left| is_below(&row.path, left)) {
            staying.push(&row).map_err(&writing)?;
        }
    }
    staying.finish().map_err(&writing)?;
    record.origins = Some(digest_of(&path).map_err(&writing)?.0);
    job.store.put(record)
}

/// Removes a copy with all below it, and closes the folder it lay in again.
fn remove(vault: &OwnedFd, path: &Path) -> Result<(), HoldTrouble> {
    let removing = while_doing("a copy cannot be removed from the vault");
    let (above, name) = split(path.as_os_str().as_bytes());
    let list = OFlags::RDONLY | OFlags::DIRECTORY;
    let parent = match open_below(vault.as_fd(), above, list) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        opened => opened.map_err(&removing)?,
    };
    let flagged = flag::is_set(&parent).unwrap_or(false);
    if flagged {
        flag::set(&parent, false).map_err(&removing)?;
    }
    fchmod(&parent, Mode::from(0o700)).map_err(&removing)?;
    // A symbolic link carries no flag.
    if let Ok(copy) = open_below(parent.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK) {
        let _ = flag::set(copy, false);
    }
    let removed = match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => own::empty_tree(parent.as_fd(), name)
            .and_then(|()| unlinkat(&parent, name, AtFlags::REMOVEDIR)),
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    };
    fchmod(&parent, Mode::from(0o500)).map_err(&removing)?;
    if flagged {
        flag::set(&parent, true).map_err(&removing)?;
    }
    removed.map_err(removing)
}

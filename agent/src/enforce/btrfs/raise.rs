//! Raising a snapshot hold: one call for the moment, then what makes it whole and keeps it so.

use std::os::{
    fd::{AsFd as _, OwnedFd},
    unix::ffi::OsStrExt as _,
};

use custody::house::mechanism::Mechanism;
use rustix::{
    fs::{AtFlags, Mode, Timespec, Timestamps, fchmod, futimens, syncfs, unlinkat},
    io::Errno,
};

use super::{
    Frozen, Part, TREE, exclude, ioctl, limits, open, relative, remove,
    subvolumes::{self, FOLDER, Top},
    top, wanted,
};
use crate::{
    capture::{
        place::{open_below, split},
        walk::Walk,
    },
    enforce::{
        amount, flag,
        job::Job,
        record::{Lowered, Phase, Raised, Record},
        trouble::{HoldTrouble, while_doing},
    },
};

const MAKING: &str = "the snapshot cannot be made";

pub(super) fn raise(job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
    let top = top(job)?;
    let vault = job.vault()?;
    let making = while_doing(MAKING);
    let name = record.target.to_string();
    let begun = matches!(record.phase, Phase::Sealing | Phase::Raised);
    if !begun {
        record.phase = Phase::Filling;
        record.raised = None;
        job.store.put(record)?;
    }
    let folder = match open(&vault, &name) {
        Err(Errno::NOENT) => {
            job.progress.step()?;
            job.door.make(&vault, &name).map_err(&making)?;
            open(&vault, &name)
        }
        opened => opened,
    }
    .map_err(&making)?;
    let tree = freeze(job, record, &top, &folder, begun)?;
    job.progress.step()?;
    syncfs(&vault).map_err(while_doing("the snapshot cannot be flushed"))?;
    note(record, &top, &tree)?;
    job.progress.step()?;
    record.phase = Phase::Sealing;
    job.store.put(record)?;
    protect(job, record, &folder, &vault)?;
    count(job, record, &vault)
}

/// Has a whole, read-only snapshot in its place: the one that is there, or a new one.
fn freeze(
    job: &Job<'_>,
    record: &mut Record,
    top: &Top,
    folder: &OwnedFd,
    begun: bool,
) -> Result<OwnedFd, HoldTrouble> {
    let (making, wanted) = (while_doing(MAKING), wanted(job, top));
    let (mut there, mut fresh) = (open(folder, TREE), false);
    if let Ok(tree) = &there {
        let info = ioctl::info(tree).map_err(&making)?;
        let known = record
            .frozen
            .as_ref()
            .and_then(|frozen| frozen.parts.first());
        if begun && known.is_some_and(|known| known.uuid != info.uuid) {
            return Err(HoldTrouble::NotSupported(
                "something else stands in the snapshot's place in the vault. Look who put it there, then move it away",
            ));
        }
        // A crash came before it was whole: nobody was told of it, and it is begun again.
        if !begun && !info.read_only {
            remove::tree(folder)?;
            there = Err(Errno::NOENT);
        }
    }
    let before = subvolumes::nested(top.fd.as_fd(), &wanted).map_err(&making)?;
    let tree = match there {
        Err(Errno::NOENT) => {
            job.progress.step()?;
            remove::open_up(folder)?;
            let read_only = before.found.is_empty();
            ioctl::snapshot(&top.fd, folder, TREE.as_bytes(), read_only).map_err(not_here)?;
            fresh = true;
            open(folder, TREE)
        }
        there => there,
    }
    .map_err(&making)?;
    let known: Vec<Vec<u8>> = match &record.frozen {
        Some(frozen) if !fresh => frozen.parts.iter().map(|part| part.place.clone()).collect(),
        _ => Vec::new(),
    };
    compose(job, top, &tree, &wanted, &known)?;
    let stubs = before.found.keys().filter(|place| is_stub(&tree, place));
    record.frozen = Some(Frozen {
        missed: before.unreachable + stubs.count() as u64,
        ..record.frozen.take().unwrap_or_default()
    });
    remove::read_only(&tree, true)?;
    Ok(tree)
}

/// Where this kernel or mount makes no snapshots, another mechanism may do.
fn not_here(errno: Errno) -> HoldTrouble {
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::XDEV | Errno::NOTTY | Errno::OPNOTSUPP => {
            HoldTrouble::NotSupported(
                "no snapshot can be made here. Run the agent as root, with the vault on the same btrfs",
            )
        }
        errno => while_doing(MAKING)(errno),
    }
}

fn inode(tree: &OwnedFd, place: &[u8]) -> Result<u64, Errno> {
    let fd = open_below(tree.as_fd(), place, rustix::fs::OFlags::PATH)?;
    flag::look_at(fd).map(|stat| stat.stx_ino)
}

fn is_stub(tree: &OwnedFd, place: &[u8]) -> bool {
    inode(tree, place) == Ok(ioctl::STUB)
}

/// Puts a snapshot of every nested subvolume in its place, where the first snapshot has an empty
/// folder, or one that was known is gone.
fn compose(
    job: &Job<'_>,
    top: &Top,
    tree: &OwnedFd,
    wanted: &impl Fn(&[u8]) -> bool,
    known: &[Vec<u8>],
) -> Result<(), HoldTrouble> {
    let making = while_doing("a nested subvolume cannot be frozen");
    let nested = subvolumes::nested(top.fd.as_fd(), wanted).map_err(&making)?;
    let (mut writable, mut left) = (false, nested.found.into_keys().collect::<Vec<_>>());
    // One that lies in a part that is made here shows only once that is there.
    while !left.is_empty() {
        let missing = |place: &Vec<u8>| match inode(tree, place) {
            Ok(inode) => inode == ioctl::STUB,
            Err(_) => known.contains(place),
        };
        let Some(at) = left.iter().position(missing) else {
            return Ok(());
        };
        let place = left.remove(at);
        let Ok(living) = open_below(top.fd.as_fd(), &place, FOLDER) else {
            continue;
        };
        job.progress.step()?;
        if !writable {
            remove::read_only(tree, false)?;
            writable = true;
        }
        let (above, name) = split(&place);
        let parent = open_below(tree.as_fd(), above, FOLDER).map_err(&making)?;
        graft(&living, &parent, name).map_err(&making)?;
    }
    Ok(())
}

/// Puts one snapshot in the place of an empty folder, whose folder keeps its times and its flag.
fn graft(living: &OwnedFd, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let before = flag::look_at(parent)?;
    let flagged = flag::is_flagged(&before);
    if flagged {
        flag::set(parent, false)?;
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    ioctl::snapshot(living, parent, name, false)?;
    let time = |time: rustix::fs::StatxTimestamp| Timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec.into(),
    };
    let times = Timestamps {
        last_access: time(before.stx_atime),
        last_modification: time(before.stx_mtime),
    };
    futimens(parent, &times)?;
    if flagged {
        flag::set(parent, true)?;
    }
    Ok(())
}

/// Notes what the snapshots are known by.
fn note(record: &mut Record, top: &Top, tree: &OwnedFd) -> Result<(), HoldTrouble> {
    let looking = while_doing("the snapshot cannot be looked at");
    let nested = subvolumes::nested(tree.as_fd(), |_| true).map_err(&looking)?;
    let mut parts = Vec::new();
    for place in std::iter::once(Vec::new()).chain(nested.found.into_keys()) {
        let fd = open_below(tree.as_fd(), &place, FOLDER).map_err(&looking)?;
        let info = ioctl::info(fd).map_err(&looking)?;
        parts.push(Part {
            place,
            uuid: info.uuid,
            made: info.made,
            made_ns: info.made_ns,
            changed: info.changed,
        });
    }
    record.since_ns = parts.first().map_or(0, |first| first.made_ns);
    record.as_of_ns = record.since_ns;
    record.frozen = Some(Frozen {
        top: top.place.as_os_str().as_bytes().to_vec(),
        inside: top.inside.as_os_str().as_bytes().to_vec(),
        parts,
        missed: record.frozen.as_ref().map_or(0, |frozen| frozen.missed),
    });
    Ok(())
}

/// Sets the flag on the folder around the snapshot, and closes the vault.
fn protect(
    job: &Job<'_>,
    record: &mut Record,
    folder: &OwnedFd,
    vault: &OwnedFd,
) -> Result<(), HoldTrouble> {
    let sealing = while_doing("the snapshot's folder cannot be sealed");
    job.progress.step()?;
    if !flag::is_set(folder).unwrap_or(false) {
        fchmod(folder, Mode::from(0o500)).map_err(&sealing)?;
    }
    let sealed = match flag::set(folder, true) {
        Err(errno) if flag::is_no_flag_here(errno) => false,
        set => set.map(|_| true).map_err(&sealing)?,
    };
    record.sealed = job.door.close(vault).map_err(&sealing)? && sealed;
    syncfs(vault).map_err(sealing)
}

/// Leaves places out. No part of a snapshot can be taken away: their bytes stay until it goes.
pub(super) fn narrow(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    let vault = job.site.vault()?.ok_or(HoldTrouble::NotFound)?;
    let narrowed = record.narrowed.clone().unwrap_or_default().1;
    count(job, record, &vault)?;
    Ok(narrowed)
}

/// Counts what is held, in what no longer moves, and says that it is.
fn count(job: &Job<'_>, record: &mut Record, vault: &OwnedFd) -> Result<Raised, HoldTrouble> {
    let walk = Walk::open_with(
        vault.as_fd(),
        &relative(record),
        &exclude(job, vault, record),
        None,
    )
    .map_err(while_doing("the snapshot cannot be opened"))?;
    let found = amount::count(walk, job.threads, job.progress)?;
    let frozen = record.frozen.clone().unwrap_or_default();
    let nested = frozen.parts.len().saturating_sub(1) as u64;
    let mut limits = limits(job, &frozen, nested, record.sealed);
    if !record.left.is_empty() {
        limits.push(format!(
            "{} places have left the hold; their bytes go when the snapshot goes",
            record.left.len()
        ));
    }
    let raised = Raised {
        mechanism: Mechanism::BtrfsSnapshot,
        file_system: job.site.file_system.clone(),
        does_not_prevent: limits,
        files: found.files,
        folders: found.folders,
        bytes: found.bytes,
    };
    job.progress.step()?;
    record.things = frozen.parts.len() as u64;
    record.raised = Some(raised.clone());
    record.phase = Phase::Raised;
    job.store.put(record)?;
    Ok(raised)
}

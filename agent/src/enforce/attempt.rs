//! Attempts: tries to change what is held, so that "held" is what the kernel answered and not
//! what we believe. No attempt may lose anything if it succeeds against all expectation.
//!
//! Writing is tried by opening, without truncating. Renaming is undone at once. For unlinking the
//! wrong call for the kind is made (`rmdir` of a file, `unlink` of a folder): the kernel asks for
//! the permission to delete first, and answers `EPERM` where that is refused; were it granted,
//! the answer would be `ENOTDIR` or `EISDIR`, and nothing would be gone. An unlinked file could
//! not be brought back, not even through a descriptor.

use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use custody::manifest::row::Kind;
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, mkdirat, renameat_with, unlinkat},
    io::Errno,
};

use crate::capture::{place::Place, walk::Step};

/// On how many files, spread evenly, attempts are made; every folder is tried.
pub const TRIED: u64 = 2_000;

/// What the attempts gave so far.
#[derive(Debug, Default)]
pub struct Tally {
    attempts: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    /// Counts one attempt. A protection that is found missing is one that was not refused.
    pub fn count(&self, refused: bool) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.refused
            .fetch_add(u64::from(refused), Ordering::Relaxed);
    }

    /// Attempts and refusals.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.attempts.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }
}

/// Whether the kernel said that this may not be done, and not that it cannot be done.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::ROFS)
}

/// A name that is not in use in any folder of a customer.
fn spare_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".holdfast-attempt-{}-{number}", std::process::id())
}

/// Tries everything that makes sense for a thing that was found.
pub fn on(step: &Step, tally: &Tally) {
    if let Some(folder) = &step.folder {
        to_add_to(folder, tally);
    }
    if step.kind == Kind::File {
        to_write(&step.place, tally);
    }
    if step.place.name != b"." && step.kind != Kind::Mount {
        to_rename(&step.place, tally);
        to_unlink(&step.place, step.kind, tally);
    }
}

/// Tries to open a file for writing; it is closed again without a byte written.
fn to_write(place: &Place, tally: &Tally) {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    tally.count(matches!(place.open(flags), Err(errno) if is_refusal(errno)));
}

/// Tries to make a folder in a folder.
fn to_add_to(folder: impl AsFd, tally: &Tally) {
    let name = spare_name();
    let made = mkdirat(&folder, &name, Mode::from(0o700));
    if made.is_ok() {
        let _ = unlinkat(&folder, &name, AtFlags::REMOVEDIR);
    }
    tally.count(matches!(made, Err(errno) if is_refusal(errno)));
}

/// Tries to rename something within its folder; the name is given back at once.
pub fn to_rename(place: &Place, tally: &Tally) {
    let (from, to) = (place.name.as_slice(), spare_name());
    let parent = &place.parent;
    let moved = renameat_with(parent, from, parent, &to, RenameFlags::NOREPLACE);
    if moved.is_ok() {
        let _ = renameat_with(parent, &to, parent, from, RenameFlags::NOREPLACE);
    }
    tally.count(matches!(moved, Err(errno) if is_refusal(errno)));
}

/// Asks to delete a name by the call that could not do it.
pub fn to_unlink(place: &Place, kind: Kind, tally: &Tally) {
    let wrong_call = match kind {
        Kind::Folder => AtFlags::empty(),
        _ => AtFlags::REMOVEDIR,
    };
    let asked = unlinkat(&place.parent, place.name.as_slice(), wrong_call);
    tally.count(matches!(asked, Err(errno) if is_refusal(errno)));
}

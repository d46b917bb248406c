//! Beneath: what a mount hides.
//!
//! The flag keeps nobody from mounting over what carries it. What lies under such a mount is still
//! held, and must be neither forgotten when a hold ends nor taken for somebody else's. The kernel
//! shows it through a copy of the mount of the file system that has nothing mounted on it, which is
//! seen by nobody but who made it. Nothing is opened for reading, and the hiding file system is not
//! asked anything.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::Statx,
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
};

use super::flag;
use crate::capture::{place::Place, walk::Walk};

/// The folder of a place as it is without what is mounted in it; none where this process may not
/// see that.
fn bare(place: &Place) -> Result<Option<OwnedFd>, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match open_tree(&place.parent, ".", flags) {
        Err(Errno::PERM | Errno::NOSYS) => Ok(None),
        bare => bare.map(Some),
    }
}

/// Looks at what lies under whatever is mounted at a place.
pub fn look(place: &Place) -> Result<Option<Statx>, Errno> {
    let Some(bare) = bare(place)? else {
        return Ok(None);
    };
    let under = Place {
        parent: Arc::new(bare),
        name: place.name.clone(),
    };
    flag::look(&under).map(Some)
}

/// Walks all that lies under whatever is mounted at a place, that itself first.
pub fn walk(place: &Place) -> Result<Option<Walk>, Errno> {
    let Some(bare) = bare(place)? else {
        return Ok(None);
    };
    Walk::open(bare.as_fd(), Path::new(OsStr::from_bytes(&place.name))).map(Some)
}

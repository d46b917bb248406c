//! Beneath: what a mount hides.
//!
//! The flag keeps nobody from mounting over what carries it. What lies under such a mount is still
//! held, and must be neither forgotten when a hold ends nor taken for somebody else's. The kernel
//! shows it through a copy of the mount of the file system that has nothing mounted on it, which is
//! seen by nobody but who made it. Nothing is opened for reading, and the hiding file system is not
//! asked anything.

use rustix::{
    fs::Statx,
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
};

use super::flag;
use crate::capture::place::Place;

/// Looks at what lies under whatever is mounted at a place; none where this process may not.
pub fn look(place: &Place) -> Result<Option<Statx>, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let bare = match open_tree(&place.parent, ".", flags) {
        Err(Errno::PERM | Errno::NOSYS) => return Ok(None),
        bare => bare?,
    };
    let under = Place {
        parent: std::sync::Arc::new(bare),
        name: place.name.clone(),
    };
    flag::look(&under).map(Some)
}

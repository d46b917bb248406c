//! What a walk leaves out: places that are no part of what is looked at, though they lie in it.

use std::collections::HashSet;

/// One such place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Apart {
    /// A folder by device and inode, wherever it is found: a vault, or the agent's own. It gives a
    /// step that says so.
    Folder(u64, u64),
    /// A path below the target, and all below it: it has left the hold, and gives no step at all.
    Path(Vec<u8>),
}

/// Many such places.
#[derive(Debug, Default)]
pub struct Aside {
    folders: HashSet<(u64, u64)>,
    paths: HashSet<Vec<u8>>,
}

impl Aside {
    /// Adds places.
    pub fn add<'a>(&mut self, all: impl IntoIterator<Item = &'a Apart>) {
        for apart in all {
            match apart {
                Apart::Folder(device, inode) => _ = self.folders.insert((*device, *inode)),
                Apart::Path(path) => _ = self.paths.insert(path.clone()),
            }
        }
    }

    /// Whether a folder is one of them.
    pub fn has_folder(&self, identity: (u64, u64)) -> bool {
        self.folders.contains(&identity)
    }

    /// Whether any of them is known by its path.
    pub fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Whether a path is one of them.
    pub fn has_path(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
    }
}

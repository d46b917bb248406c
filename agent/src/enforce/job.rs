//! One target at work: where it lies, and what the other targets do there.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    os::{
        fd::AsFd as _,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use custody::id::TargetId;
use rustix::fs::{OFlags, fstat};

use super::{
    door::Door,
    inodes::{Inode, Inodes},
    moved,
    record::{Record, Store},
    site::{Root, Site},
    sweep::Progress,
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::{
    place::{Place, open_below, split},
    walk::{OnEnter, Walk},
};

/// One target at work.
pub struct Job<'a> {
    /// The records.
    pub store: &'a Store,
    /// The roots.
    pub roots: &'a [Root],
    /// Where it lies.
    pub site: Site,
    /// The vaults' door.
    pub door: &'a Door,
    /// The agent's own folders.
    pub own: &'a [(u64, u64)],
    /// Where those are.
    pub own_paths: &'a [PathBuf],
    /// Which.
    pub target: TargetId,
    /// Its path.
    pub path: PathBuf,
    /// All other records.
    pub others: Vec<Record>,
    /// How many hands.
    pub threads: usize,
    /// How far it is.
    pub progress: &'a Progress,
}

/// What other targets do for the things of one target.
#[derive(Debug, Default)]
pub struct Cover {
    whole: bool,
    inside: HashSet<Vec<u8>>,
    linked: Inodes,
    /// What those targets know to be flagged by others.
    pub theirs: Inodes,
}

impl Cover {
    /// Adds a target at `path` for who is `here`.
    fn add(&mut self, here: &Path, path: &Path) {
        if here.starts_with(path) {
            self.whole = true;
        } else if let Ok(inside) = path.strip_prefix(here) {
            self.inside.insert(inside.as_os_str().as_bytes().to_vec());
        }
    }

    /// Whether another target covers a thing, by its path below the target or by another name.
    pub fn covers(&self, path: &[u8], inode: Inode) -> bool {
        let by_path = || {
            let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
            let mut above = ends.map(|(at, _)| &path[..at]);
            self.inside.contains(path) || above.any(|part| self.inside.contains(part))
        };
        self.whole || self.linked.0.contains(&inode) || (!self.inside.is_empty() && by_path())
    }
}

impl Job<'_> {
    /// A file about this target among the records.
    pub fn file(&self, what: &str) -> PathBuf {
        self.store.file(self.target, what)
    }

    /// What no walk may enter: vaults and the agent's own folders.
    pub fn exclude(&self) -> Vec<(u64, u64)> {
        exclude(self.roots, self.own)
    }

    /// Begins a walk of the target that leaves the vaults out.
    pub fn walk(&self, on_enter: Option<OnEnter>) -> Result<Walk, HoldTrouble> {
        let (root, relative) = (self.site.root.as_fd(), &self.site.relative);
        Walk::open_with(root, relative, &self.exclude(), on_enter)
            .map_err(while_doing("the target cannot be opened"))
    }

    /// The target's own name in the folder above it; none for a root.
    pub fn own_name(&self) -> Result<Option<Place>, HoldTrouble> {
        let (above, name) = split(self.site.relative.as_os_str().as_bytes());
        if name.is_empty() {
            return Ok(None);
        }
        let parent = open_below(
            self.site.root.as_fd(),
            above,
            OFlags::PATH | OFlags::DIRECTORY,
        )
        .map_err(while_doing("the folder above the target cannot be opened"))?;
        Ok(Some(Place {
            parent: Arc::new(parent),
            name: name.to_vec(),
        }))
    }

    /// What those other targets do here for which `counts` says yes. It goes by where all of
    /// them are now: a folder around one may have been moved, in here or away from here.
    pub fn cover(&self, counts: impl Fn(&Record) -> bool) -> Result<Cover, HoldTrouble> {
        let (mut cover, mut lost) = (Cover::default(), BTreeMap::new());
        let here = self.site.root_path.join(&self.site.relative);
        let device = |site: &Site| fstat(&site.root).map(|stat| stat.st_dev).ok();
        for other in self.others.iter().filter(|other| counts(other)) {
            let path = path_of(other);
            let Ok(site) = Site::find(self.roots, &path) else {
                continue;
            };
            if device(&site) == device(&self.site) {
                let of = |what| Inodes::read(&self.store.file(other.target, what));
                cover.linked.0.extend(of("linked")?.0);
                cover.theirs.0.extend(of("theirs")?.0);
            }
            let (is_at_its_path, missing) = moved::look(&site, other)?;
            if is_at_its_path {
                cover.add(&here, &path);
            }
            let (_, all) = lost
                .entry(site.root_path)
                .or_insert_with(|| (site.root, HashSet::new()));
            all.extend(missing);
        }
        for (root_path, (root, missing)) in lost {
            for found in moved::search(&root, &self.exclude(), missing, self.progress)? {
                cover.add(&here, &root_path.join(found));
            }
        }
        Ok(cover)
    }
}

/// What no walk below a root may enter: vaults and the agent's own folders.
pub fn exclude(roots: &[Root], own: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let sites = roots
        .iter()
        .filter_map(|root| Site::find(std::slice::from_ref(root), &root.path).ok());
    let vaults = sites.filter_map(|site| site.exclude());
    vaults.chain(own.iter().copied()).collect()
}

/// The path of a record.
pub fn path_of(record: &Record) -> PathBuf {
    bytes_path(&record.path)
}

/// A path from its bytes.
pub fn bytes_path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

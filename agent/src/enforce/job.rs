//! One target at work: where it lies, and what the other targets do there.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    os::{
        fd::{AsFd as _, OwnedFd},
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
    owner::Owner,
    record::{Record, Store},
    site::{Root, Site},
    sweep::Progress,
    trouble::{HoldTrouble, while_doing},
    zfs::host::Zfs,
};
use crate::capture::{
    apart::Apart,
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
    /// What has left the hold, below the target.
    pub left: Vec<Vec<u8>>,
    /// What was mounted over parts of it since it was raised.
    pub over: Vec<PathBuf>,
    /// The host's ZFS.
    pub zfs: &'a dyn Zfs,
    /// Whose the vaults are.
    pub owner: &'a Owner,
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
    /// Targets that parts have left: their place here, and the paths below it that left; or none
    /// where the target lies above, with the path from there.
    partly: Vec<Partly>,
    linked: Inodes,
    /// What those targets know to be flagged by others.
    pub theirs: Inodes,
}

/// Another target of which parts have left.
#[derive(Debug)]
struct Partly {
    /// Where it is below this one; empty where it is the same, or lies above.
    above: Vec<u8>,
    /// Where this one is below it; empty where it is the same, or lies below.
    below: Vec<u8>,
    left: Vec<Vec<u8>>,
}

impl Partly {
    fn covers(&self, path: &[u8]) -> bool {
        let path = if path == b"." { b"" } else { path };
        if !is_below(path, &self.above) {
            return false;
        }
        let rest = &path[self.above.len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let there = match (self.below.as_slice(), rest) {
            (below, b"") => below.to_vec(),
            (b"", rest) => rest.to_vec(),
            (below, rest) => [below, rest].join(&b'/'),
        };
        !self.left.iter().any(|left| is_below(&there, left))
    }
}

impl Cover {
    /// Adds a target at `path` for who is `here`.
    fn add(&mut self, here: &Path, path: &Path, left: &[Vec<u8>]) {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        if !left.is_empty() {
            let left = left.to_vec();
            if let Ok(down) = here.strip_prefix(path) {
                let (above, below) = (Vec::new(), bytes(down));
                self.partly.push(Partly { above, below, left });
            } else if let Ok(inside) = path.strip_prefix(here) {
                let (above, below) = (bytes(inside), Vec::new());
                self.partly.push(Partly { above, below, left });
            }
        } else if here.starts_with(path) {
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
        self.whole
            || self.linked.0.contains(&inode)
            || (!self.inside.is_empty() && by_path())
            || self.partly.iter().any(|partly| partly.covers(path))
    }
}

impl Job<'_> {
    /// A file about this target among the records.
    pub fn file(&self, what: &str) -> PathBuf {
        self.store.file(self.target, what)
    }

    /// What no walk may enter: vaults, the agent's own folders, and what has left the hold.
    pub fn exclude(&self) -> Vec<Apart> {
        let left = self.left.iter().map(|path| Apart::Path(path.clone()));
        left.chain(exclude(self.roots, self.own)).collect()
    }

    /// Begins a walk of the target that leaves the vaults out.
    pub fn walk(&self, on_enter: Option<OnEnter>) -> Result<Walk, HoldTrouble> {
        let (root, relative) = (self.site.root.as_fd(), &self.site.relative);
        Walk::open_with(root, relative, &self.exclude(), on_enter)
            .map_err(while_doing("the target cannot be opened"))
    }

    /// The vault, made if it is not there, and ours.
    pub fn vault(&self) -> Result<OwnedFd, HoldTrouble> {
        let vault = self.site.make_vault()?;
        self.owner.claim(&vault, self.door)?;
        Ok(vault)
    }

    /// Refuses a root whose vault is another agent's.
    pub fn claim(&self) -> Result<(), HoldTrouble> {
        match self.site.vault() {
            Ok(Some(vault)) => self.owner.claim(&vault, self.door),
            // The hold that needs one says what is wrong with it.
            _ => Ok(()),
        }
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
                cover.add(&here, &path, &other.left);
            }
            let (_, all) = lost
                .entry(site.root_path)
                .or_insert_with(|| (site.root, HashSet::new()));
            all.extend(missing);
        }
        for (root_path, (root, missing)) in lost {
            for found in moved::search(&root, &self.exclude(), missing, self.progress)? {
                cover.add(&here, &root_path.join(found), &[]);
            }
        }
        Ok(cover)
    }
}

/// What no walk below a root may enter: vaults and the agent's own folders.
pub fn exclude(roots: &[Root], own: &[(u64, u64)]) -> Vec<Apart> {
    let sites = roots
        .iter()
        .filter_map(|root| Site::find(std::slice::from_ref(root), &root.path).ok());
    let vaults = sites.filter_map(|site| site.exclude());
    let all = vaults.chain(own.iter().copied());
    all.map(|(device, inode)| Apart::Folder(device, inode))
        .collect()
}

/// Whether a path is another one or lies below it; an empty one holds all.
pub fn is_below(path: &[u8], above: &[u8]) -> bool {
    let rest = path.strip_prefix(above);
    above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The path of a record.
pub fn path_of(record: &Record) -> PathBuf {
    bytes_path(&record.path)
}

/// A path from its bytes.
pub fn bytes_path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

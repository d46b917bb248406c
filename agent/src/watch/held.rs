//! What is held, as the watch keeps it in mind: taken anew only when a hold has changed.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use custody::{house::mechanism::Mechanism, id::TargetId};

use crate::enforce::{Keeper, Phase, Record, Root, job::path_of, site::Site};

/// One target that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its record.
    pub record: Record,
    /// Where it is.
    pub path: PathBuf,
    /// The root it lies in, and that root's vault.
    pub root: Root,
}

impl Held {
    /// Which.
    pub const fn target(&self) -> TargetId {
        self.record.target
    }

    /// Whether flags in place keep it: then its own things are watched, and else only what is
    /// kept of it. Whoever writes to the living files of a preserved target does nothing wrong.
    pub fn in_place(&self) -> bool {
        self.record.mechanism == Mechanism::ImmutableFlag
    }

    /// Where what keeps it lies: the target itself, or its folder in the vault.
    pub fn kept_at(&self) -> PathBuf {
        if self.in_place() {
            self.path.clone()
        } else {
            self.root.vault.join(self.target().to_string())
        }
    }

    /// Whether a thing has left the hold.
    pub fn has_left(&self, path: &Path) -> bool {
        let base = self.kept_at();
        let base = if self.in_place() {
            base
        } else {
            base.join("tree")
        };
        let left = self.record.left.iter();
        let mut left = left.map(|left| base.join(OsStr::from_bytes(left)));
        left.any(|left| path.starts_with(left))
    }

    /// Which raising of it this is, and how much has left it since.
    pub const fn state(&self) -> (i64, usize) {
        (self.record.since_ns, self.record.left.len())
    }

    /// Whether every folder of it is worth a mark of its own: nothing in a snapshot can change
    /// without the snapshot itself.
    pub fn is_deep(&self) -> bool {
        self.record.mechanism != Mechanism::BtrfsSnapshot
    }
}

/// All targets that stand on this machine's own file systems, by root.
#[derive(Clone, Debug, Default)]
pub struct All {
    /// By the root's path.
    pub roots: BTreeMap<PathBuf, Vec<Arc<Held>>>,
    by_id: BTreeMap<TargetId, Arc<Held>>,
    /// By where what keeps each lies.
    at: BTreeMap<PathBuf, Vec<Arc<Held>>>,
    /// The vaults of all roots: what lies in one is no part of what is held around it.
    vaults: Vec<PathBuf>,
    /// Those whose root is not in the configuration any more.
    lost: Vec<Record>,
}

impl All {
    /// Takes what the keeper has.
    pub fn of(keeper: &Keeper) -> Self {
        let vaults = keeper.roots().iter().map(|root| root.vault.clone());
        let mut all = Self {
            vaults: vaults.collect(),
            ..Self::default()
        };
        let stands = |record: &Record| {
            let elsewhere = matches!(
                record.mechanism,
                Mechanism::ObjectLock | Mechanism::ZfsSnapshot
            );
            record.phase == Phase::Raised && !elsewhere
        };
        for record in keeper.all().into_iter().filter(stands) {
            let path = path_of(&record);
            let Some(root) = Site::root_of(keeper.roots(), &path).cloned() else {
                all.lost.push(record);
                continue;
            };
            let held = Arc::new(Held { record, path, root });
            let of_root = all.roots.entry(held.root.path.clone()).or_default();
            of_root.push(Arc::clone(&held));
            all.by_id.insert(held.target(), Arc::clone(&held));
            all.at.entry(held.kept_at()).or_default().push(held);
        }
        all
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.by_id.values()
    }

    /// One of them.
    pub fn get(&self, target: TargetId) -> Option<&Arc<Held>> {
        self.by_id.get(&target)
    }

    /// Every target that stands, when it was raised, and the paths that must lead where they led:
    /// what is mounted on the living files of a preserved target is its owner's business. Nothing
    /// is known of the paths of one whose root is gone.
    pub fn leads(&self) -> impl Iterator<Item = (TargetId, i64, Vec<PathBuf>)> {
        let near = self.iter().map(|held| {
            let path = if held.in_place() {
                &held.path
            } else {
                &held.root.vault
            };
            (held.target(), held.record.since_ns, vec![path.clone()])
        });
        let lost = self.lost.iter();
        near.chain(lost.map(|record| (record.target, record.since_ns, Vec::new())))
    }

    /// Whether a target stands.
    pub fn stands(&self, target: TargetId) -> bool {
        self.get(target).is_some() || self.lost.iter().any(|record| record.target == target)
    }

    /// Those that a thing is a part of, by its path. A vault's own folder is a part of all that
    /// it keeps.
    pub fn around(&self, path: &Path) -> Vec<&Arc<Held>> {
        let above = path.ancestors().filter_map(|path| self.at.get(path));
        let in_a_vault = self.vaults.iter().any(|vault| path.starts_with(vault));
        let above = above
            .flatten()
            .filter(|held| !(in_a_vault && held.in_place()));
        let mut found: Vec<_> = above.collect();
        if found.is_empty() {
            let in_vault = |held: &&Arc<Held>| !held.in_place() && held.root.vault == path;
            found.extend(self.iter().filter(in_vault));
        }
        found
    }
}

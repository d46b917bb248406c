//! The keeper: the one door to everything that this agent holds.

mod look;
mod narrow;
mod raise;
mod repair;
mod stores;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{house::mechanism::Mechanism, id::TargetId};

use super::{
    btrfs,
    door::Door,
    found::Found,
    homes::Homes,
    immutable,
    job::{Job, path_of},
    mechanism,
    objects::Objects,
    owner::Owner,
    record::{Lowered, Phase, Proof, Record, Store},
    site::{Root, Site},
    sweep::Progress,
    trouble::{HoldTrouble, own},
    vault,
    zfs::{
        self,
        host::{ThisHost, Zfs},
    },
};
use crate::capture::apart::Apart;

/// Where what is held is read: for capture, and for a release that reads it again.
#[derive(Debug)]
pub struct Source {
    /// The allowed root, or the vault, open.
    pub root: OwnedFd,
    /// Its path, for messages only.
    pub root_path: PathBuf,
    /// What to read below it.
    pub relative: PathBuf,
    /// What to leave out.
    pub exclude: Vec<Apart>,
    /// For a vault: what the originals looked like.
    pub origins: Option<PathBuf>,
}

pub use look::Watched;

/// All that this agent holds. Flags are set and taken off for one target at a time.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    roots: Vec<Root>,
    threads: usize,
    /// The agent's own folders, which are never held, by device and inode.
    own: Vec<(u64, u64)>,
    /// Where those are.
    own_paths: Vec<PathBuf>,
    records: Mutex<BTreeMap<TargetId, Record>>,
    /// Held while flags are set or taken off: overlapping targets count on each other. Copies wait
    /// for nothing and keep nothing waiting.
    turn: Mutex<()>,
    door: Door,
    /// The host's ZFS.
    zfs: Box<dyn Zfs>,
    /// Whose the vaults are.
    owner: Owner,
    /// Where the roots lay.
    homes: Homes,
    /// What is held elsewhere than on this host's disks.
    objects: Objects,
}

/// A path without links, also of a folder that is still to be made.
fn without_links(path: PathBuf) -> PathBuf {
    let plain = std::fs::canonicalize(&path).or_else(|_| {
        let above = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
        Ok::<_, std::io::Error>(above.join(path.file_name().unwrap_or_default()))
    });
    plain.unwrap_or(path)
}

/// Now, nanoseconds since 1970, by the clock that stamps files.
pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

impl Keeper {
    /// Opens the records in `state` and makes the roots' vaults where they are missing.
    pub fn open(state: &Path, roots: Vec<Root>) -> Result<Self, HoldTrouble> {
        let store = Store::open(state).map_err(own("the holds' folder cannot be opened"))?;
        let records = store.all().map_err(own("a hold's record cannot be read"))?;
        let mut found = Vec::new();
        for root in roots {
            // A root that is not there today must not keep the others from being held.
            let path = std::fs::canonicalize(&root.path).unwrap_or_else(|_| root.path.clone());
            // A vault inside its root is spelled as the root is.
            let vault = match root.vault.strip_prefix(&root.path) {
                Ok(inside) => path.join(inside),
                Err(_) => without_links(root.vault),
            };
            found.push(Root { path, vault });
        }
        let homes = Homes::open(state)?;
        for root in found
            .iter()
            .filter(|root| homes.became(&root.path).is_none())
        {
            // Once the root itself is frozen no vault can be made in it; where it cannot be made
            // now, the hold that needs one says so.
            if let Ok(site) = Site::find(std::slice::from_ref(root), &root.path) {
                let _ = site.make_vault();
            }
        }
        let mut keeper = Self {
            store,
            roots: found,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            own: Vec::new(),
            own_paths: Vec::new(),
            records: Mutex::new(records),
            turn: Mutex::new(()),
            door: Door::default(),
            zfs: Box::new(ThisHost),
            owner: Owner::open(state)?,
            homes,
            objects: Objects::default(),
        };
        keeper.leave_out(state);
        Ok(keeper)
    }

    /// Names a folder of the agent's own, such as its data folder: should it lie below a target it
    /// is left out, because an agent that freezes itself holds nothing more.
    pub fn leave_out(&mut self, folder: &Path) {
        if let Ok(stat) = rustix::fs::stat(folder) {
            self.own.push((stat.st_dev, stat.st_ino));
            self.own_paths.push(without_links(folder.to_owned()));
        }
    }

    /// Names another host's ZFS, such as a recorded one.
    pub fn with_zfs(&mut self, zfs: Box<dyn Zfs>) {
        self.zfs = zfs;
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<TargetId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All records, as they are now.
    pub fn all(&self) -> Vec<Record> {
        self.records().values().cloned().collect()
    }

    /// The roots, with their paths made plain.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn record(&self, target: TargetId) -> Result<Record, HoldTrouble> {
        let found = self.records().get(&target).cloned();
        found.ok_or(HoldTrouble::UnknownTarget)
    }

    fn job<'a>(
        &'a self,
        target: TargetId,
        path: &Path,
        progress: &'a Progress,
    ) -> Result<Job<'a>, HoldTrouble> {
        let root = Site::root_of(&self.roots, path).ok_or(HoldTrouble::OutsideRoots)?;
        self.homes.require(&root.path)?;
        let records = self.records();
        let left = records.get(&target).map(|record| record.left.clone());
        let others = records.values().filter(|other| other.target != target);
        Ok(Job {
            store: &self.store,
            roots: &self.roots,
            door: &self.door,
            own: &self.own,
            own_paths: &self.own_paths,
            site: Site::find(&self.roots, path)?,
            target,
            path: path.components().collect(),
            left: left.unwrap_or_default(),
            over: Vec::new(),
            owner: &self.owner,
            zfs: self.zfs.as_ref(),
            others: others.cloned().collect(),
            threads: self.threads,
            progress,
        })
    }

    /// Works on a record and keeps it in step with the disk, whatever comes of the work.
    fn with<T>(
        &self,
        record: &mut Record,
        work: impl FnOnce(&mut Record) -> Result<T, HoldTrouble>,
    ) -> Result<T, HoldTrouble> {
        let result = work(record);
        self.records().insert(record.target, record.clone());
        result
    }

    /// Waits for the turn of one that sets flags, or takes them off.
    fn turn(&self, mechanism: Mechanism) -> Option<MutexGuard<'_, ()>> {
        let turn = || self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (mechanism == Mechanism::ImmutableFlag).then(turn)
    }

    /// Proves a raised hold by trying to break it.
    pub fn prove(&self, target: TargetId, progress: &Progress) -> Result<Proof, HoldTrouble> {
        let record = self.record(target)?;
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        if record.mechanism == Mechanism::ObjectLock {
            return self.prove_objects(&record, progress);
        }
        let job = self.job(target, &path_of(&record), progress)?;
        mechanism::of(record.mechanism)?.prove(&job, &record)
    }

    /// Looks for what is not as it was when the hold was raised.
    pub fn check(&self, target: TargetId, progress: &Progress) -> Result<Vec<Found>, HoldTrouble> {
        let record = self.record(target)?;
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        if record.mechanism == Mechanism::ObjectLock {
            return self.check_objects(&record, progress);
        }
        self.look(&record, progress)
    }

    /// Takes a reason away, and frees what no other reason holds. For a target that was never
    /// raised here there is nothing to free.
    pub fn lower(&self, target: TargetId, progress: &Progress) -> Result<Lowered, HoldTrouble> {
        let Ok(known) = self.record(target) else {
            return Ok(Lowered::default());
        };
        if known.mechanism == Mechanism::ObjectLock {
            return self.lower_objects(target, progress);
        }
        let turn = self.turn(known.mechanism);
        let mut record = self.record(target)?;
        if record.phase == Phase::Lowered {
            return Ok(record.lowered.unwrap_or_default());
        }
        self.go_on_narrowing(&mut record, progress)?;
        if turn.is_some() {
            let job = self.job(target, &path_of(&record), progress)?;
            self.survey_waiting(&job, progress);
        }
        // Those surveyed above count now.
        let mut job = self.job(target, &path_of(&record), progress)?;
        let lowered = self.with(&mut record, |record| {
            let lowered = mechanism::of(record.mechanism)?.lower(&mut job, record)?;
            record.phase = Phase::Lowered;
            record.lowered = Some(lowered);
            self.store.put(record)?;
            for what in ["theirs", "linked", "origins"] {
                let _ = std::fs::remove_file(job.file(what));
            }
            Ok(lowered)
        })?;
        if !self.holds_in(&job.site.root_path)
            && let Ok(Some(vault)) = job.site.vault()
        {
            self.owner.release(&vault, &self.door);
        }
        Ok(lowered)
    }

    /// Surveys targets that wait to be raised and overlap this one, while it can still be said
    /// which flags are ours: so they keep what they need. One that cannot be surveyed holds
    /// nothing yet, and loses nothing.
    fn survey_waiting(&self, job: &Job<'_>, progress: &Progress) {
        for other in &job.others {
            let path = path_of(other);
            let waits =
                other.phase == Phase::Planned && other.mechanism == Mechanism::ImmutableFlag;
            let overlaps = path.starts_with(&job.path) || job.path.starts_with(&path);
            if waits && overlaps {
                let mut other = other.clone();
                let _ = self.with(&mut other, |other| {
                    let job = self.job(other.target, &path, progress)?;
                    immutable::plan(&job, other).map(|_| ())
                });
            }
        }
    }

    /// Where what is held is read.
    pub fn source(&self, target: TargetId) -> Result<Source, HoldTrouble> {
        let record = self.record(target)?;
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        let progress = Progress::default();
        let job = self.job(target, &path_of(&record), &progress)?;
        let site = Site::find(&self.roots, &path_of(&record))?;
        if record.mechanism == Mechanism::ImmutableFlag {
            return Ok(Source {
                exclude: job.exclude(),
                root: site.root,
                root_path: site.root_path,
                relative: site.relative,
                origins: None,
            });
        }
        if record.mechanism == Mechanism::ZfsSnapshot {
            let root = zfs::open(&site, target)?;
            return Ok(Source {
                exclude: zfs::exclude(&job, &root, &record),
                root,
                root_path: site.root_path,
                relative: site.relative,
                origins: None,
            });
        }
        let vault = site.vault()?.ok_or(HoldTrouble::NotFound)?;
        if record.mechanism == Mechanism::BtrfsSnapshot {
            return Ok(Source {
                relative: btrfs::relative(&record),
                exclude: btrfs::exclude(&job, &vault, &record),
                root: vault,
                root_path: site.vault_path,
                origins: None,
            });
        }
        Ok(Source {
            relative: vault::relative(&record),
            root: vault,
            root_path: site.vault_path,
            exclude: Vec::new(),
            origins: Some(self.store.file(target, "origins")),
        })
    }
}

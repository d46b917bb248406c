//! The keeper: the one door to everything that this agent holds.

use std::{
    collections::{BTreeMap, HashSet},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use custody::{house::regime::Holding, id::TargetId};
use rustix::fs::{Mode, OFlags, fstat, openat2};

use super::{
    immutable,
    inodes::{Inode, Inodes},
    mechanism, moved,
    record::{Found, Lowered, Means, Phase, Proof, Raised, Record, Store},
    site::{Root, Site},
    sweep::Progress,
    trouble::{HoldTrouble, own, while_doing},
    vault,
};
use crate::capture::{
    place::{INSIDE, Place},
    walk::{OnEnter, Walk},
};

/// Where what is held is read: for capture, and for a release that reads it again.
#[derive(Debug)]
pub struct Source {
    /// The allowed root, or the vault, open.
    pub root: OwnedFd,
    /// Its path, for messages only.
    pub root_path: PathBuf,
    /// What to read below it.
    pub relative: PathBuf,
    /// Folders to leave out, by device and inode.
    pub exclude: Vec<(u64, u64)>,
    /// For a vault: what the originals looked like.
    pub origins: Option<PathBuf>,
}

/// All that this agent holds. One thing is raised or lowered at a time.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    roots: Vec<Root>,
    threads: usize,
    /// The agent's own folders, which are never held, by device and inode.
    own: Vec<(u64, u64)>,
    records: Mutex<BTreeMap<TargetId, Record>>,
    /// Held while something is raised or lowered: overlapping targets count on each other.
    turn: Mutex<()>,
}

/// One target at work.
pub struct Job<'a> {
    /// The records.
    pub store: &'a Store,
    /// The roots.
    pub roots: &'a [Root],
    /// Where it lies.
    pub site: Site,
    /// The agent's own folders.
    own: &'a [(u64, u64)],
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
        let Some(name) = self.site.relative.file_name() else {
            return Ok(None);
        };
        let above = match self.site.relative.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat2(&self.site.root, above, flags, Mode::empty(), INSIDE)
            .map_err(while_doing("the folder above the target cannot be opened"))?;
        Ok(Some(Place {
            parent: Arc::new(parent),
            name: name.as_bytes().to_vec(),
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

fn exclude(roots: &[Root], own: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let sites = roots
        .iter()
        .filter_map(|root| Site::find(std::slice::from_ref(root), &root.path).ok());
    let vaults = sites.filter_map(|site| site.exclude());
    vaults.chain(own.iter().copied()).collect()
}

/// A path without links, also of a folder that is still to be made.
fn without_links(path: PathBuf) -> PathBuf {
    let plain = std::fs::canonicalize(&path).or_else(|_| {
        let above = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
        Ok::<_, std::io::Error>(above.join(path.file_name().unwrap_or_default()))
    });
    plain.unwrap_or(path)
}

fn path_of(record: &Record) -> PathBuf {
    std::ffi::OsString::from_vec(record.path.clone()).into()
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
        for root in &found {
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
            records: Mutex::new(records),
            turn: Mutex::new(()),
        };
        keeper.leave_out(state);
        Ok(keeper)
    }

    /// Names a folder of the agent's own, such as its data folder: should it lie below a target it
    /// is left out, because an agent that freezes itself holds nothing more.
    pub fn leave_out(&mut self, folder: &Path) {
        if let Ok(stat) = rustix::fs::stat(folder) {
            self.own.push((stat.st_dev, stat.st_ino));
        }
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
        let records = self.records();
        let others = records.values().filter(|other| other.target != target);
        Ok(Job {
            store: &self.store,
            roots: &self.roots,
            own: &self.own,
            site: Site::find(&self.roots, path)?,
            target,
            path: path.components().collect(),
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

    /// Makes a hold true. A call after a crash goes on; a call when all stands only looks.
    pub fn raise(
        &self,
        target: TargetId,
        path: &Path,
        holding: Holding,
        progress: &Progress,
    ) -> Result<Raised, HoldTrouble> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let job = self.job(target, path, progress)?;
        let stat = job.site.target()?;
        let known = self.record(target).ok();
        let mut record = match known {
            Some(record) if record.phase != Phase::Lowered => record,
            _ => {
                let means = match holding {
                    Holding::Freeze => Means::ImmutableFlag,
                    Holding::Preserve => Means::SealedCopy,
                };
                let path = job.path.as_os_str().as_bytes().to_vec();
                Record::planned(target, path, holding, means)
            }
        };
        record.single = stat.st_mode & 0o170_000 == 0o100_000;
        if record.phase == Phase::Planned {
            progress.step()?;
            self.with(&mut record, |record| self.store.put(record))?;
        }
        if record.phase == Phase::Raised
            && mechanism::of(record.means).check(&job, &record)?.is_empty()
            && record.unprotected == 0
            && let Some(raised) = &record.raised
        {
            return Ok(raised.clone());
        }
        self.with(&mut record, |record| {
            match mechanism::of(record.means).raise(&job, record) {
                // No flag stands: it could not be set on the target itself, which comes first.
                Err(HoldTrouble::NotSupported(_))
                    if record.means == Means::ImmutableFlag && record.since_ns == 0 =>
                {
                    record.means = Means::SealedCopy;
                    record.phase = Phase::Planned;
                    self.store.put(record)?;
                    mechanism::of(record.means).raise(&job, record)
                }
                raised => raised,
            }
        })
    }

    /// Proves a raised hold by trying to break it.
    pub fn prove(&self, target: TargetId, progress: &Progress) -> Result<Proof, HoldTrouble> {
        let record = self.record(target)?;
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        let job = self.job(target, &path_of(&record), progress)?;
        mechanism::of(record.means).prove(&job, &record)
    }

    /// Looks for what is not as it was when the hold was raised.
    pub fn check(&self, target: TargetId, progress: &Progress) -> Result<Vec<Found>, HoldTrouble> {
        let record = self.record(target)?;
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        let job = self.job(target, &path_of(&record), progress)?;
        mechanism::of(record.means).check(&job, &record)
    }

    /// Takes a reason away, and frees what no other reason holds. For a target that was never
    /// raised here there is nothing to free.
    pub fn lower(&self, target: TargetId, progress: &Progress) -> Result<Lowered, HoldTrouble> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut record) = self.record(target) else {
            return Ok(Lowered::default());
        };
        if record.phase == Phase::Lowered {
            return Ok(record.lowered.unwrap_or_default());
        }
        let job = self.job(target, &path_of(&record), progress)?;
        self.survey_waiting(&job, progress);
        // Surveyed above: they count now.
        let mut job = self.job(target, &path_of(&record), progress)?;
        self.with(&mut record, |record| {
            let lowered = mechanism::of(record.means).lower(&mut job, record)?;
            record.phase = Phase::Lowered;
            record.lowered = Some(lowered);
            self.store.put(record)?;
            for what in ["theirs", "linked", "origins"] {
                let _ = std::fs::remove_file(job.file(what));
            }
            Ok(lowered)
        })
    }

    /// Surveys targets that wait to be raised and overlap this one, while it can still be said
    /// which flags are ours: so they keep what they need. One that cannot be surveyed holds
    /// nothing yet, and loses nothing.
    fn survey_waiting(&self, job: &Job<'_>, progress: &Progress) {
        for other in &job.others {
            let path = path_of(other);
            let waits = other.phase == Phase::Planned && other.means == Means::ImmutableFlag;
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
        let site = Site::find(&self.roots, &path_of(&record))?;
        if record.means == Means::ImmutableFlag {
            return Ok(Source {
                exclude: exclude(&self.roots, &self.own),
                root: site.root,
                root_path: site.root_path,
                relative: site.relative,
                origins: None,
            });
        }
        let relative = vault::relative(&record);
        Ok(Source {
            root: site.vault()?.ok_or(HoldTrouble::NotFound)?,
            root_path: site.vault_path,
            relative,
            exclude: Vec::new(),
            origins: Some(self.store.file(target, "origins")),
        })
    }
}

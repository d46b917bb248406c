//! ZFS snapshots with a user hold: `zfs snapshot`, `zfs hold`.
//!
//! A snapshot of ZFS is read-only for everybody, and while a user hold is on it `zfs destroy`
//! refuses it, root's too; root can release the hold first, which is found. There is nothing in the
//! vault: what is held is read at `MOUNT/.zfs/snapshot/NAME`.
//!
//! **No ZFS was there when this was written.** It runs the `zfs` program with exact arguments
//! ([`call`]) behind a trait ([`host::Zfs`]), and is tested against a recorded program: the answers
//! are those that OpenZFS documents, not ones that a pool gave.

pub mod call;
pub mod host;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use custody::{
    house::{finding::FindingKind, mechanism::Mechanism},
    id::TargetId,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

use self::{call::Known, host::Zfs};
use super::{
    amount,
    attempt::{self, Tally},
    found::Found,
    job::Job,
    mechanism,
    mounts::{self, Mount},
    plan::Plan,
    record::{Lowered, Phase, Proof, Raised, Record},
    site::Site,
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::{apart::Apart, walk::Walk};

/// On how many things attempts are made.
const TRIED: usize = 64;

/// A snapshot hold of ZFS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The snapshot.
    pub known: Known,
}

/// A ZFS snapshot with a user hold.
#[derive(Clone, Copy, Debug)]
pub struct ZfsSnapshot;

/// The dataset of a root, if the root is where one is mounted: a snapshot of one that begins above
/// would take in what this agent was not given.
pub fn dataset(site: &Site, zfs: &dyn Zfs) -> Option<Mount> {
    let table = zfs.mounts();
    let mount = mounts::of(&table, &site.root_path)?;
    let ours = mount.file_system == "zfs" && mount.point == site.root_path;
    (ours && zfs.is_here()).then(|| mount.clone())
}

fn tag(target: TargetId) -> String {
    format!("holdfast-{target}")
}

fn name(job: &Job<'_>) -> Result<String, HoldTrouble> {
    let dataset = dataset(&job.site, job.zfs).and_then(|mount| {
        let name = mount.source.to_str().map(str::to_owned);
        // As an argument it is a name and nothing else.
        name.filter(|name| !name.starts_with('-') && !name.contains('@'))
    });
    let dataset = dataset.ok_or(HoldTrouble::NotSupported(
        "the target's root is not the mount of a ZFS dataset. Give the dataset a root of its own in agent.toml",
    ))?;
    Ok(format!("{dataset}@{}", tag(job.target)))
}

/// Where the snapshot is read.
fn place(site: &Site, target: TargetId) -> PathBuf {
    let snapshots = site.root_path.join(".zfs/snapshot");
    snapshots.join(tag(target))
}

/// Opens the snapshot, which the kernel mounts when it is asked for.
pub fn open(site: &Site, target: TargetId) -> Result<OwnedFd, HoldTrouble> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = place(site, target);
    openat2(rustix::fs::CWD, &path, flags, Mode::empty(), resolve)
        .map_err(while_doing("the snapshot cannot be opened"))
}

/// What a walk of the snapshot must leave out.
pub fn exclude(job: &Job<'_>, root: &OwnedFd, record: &Record) -> Vec<Apart> {
    let vaults = job.roots.iter().map(|root| root.vault.as_path());
    let own = job.own_paths.iter().map(PathBuf::as_path);
    let inside = vaults
        .chain(own)
        .filter_map(|path| path.strip_prefix(&job.site.root_path).ok());
    let held = inside.filter_map(|path| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(root, path, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(fd).ok()?;
        Some(Apart::Folder(stat.st_dev, stat.st_ino))
    });
    let left = record.left.iter().map(|path| Apart::Path(path.clone()));
    held.chain(left).collect()
}

fn limits(job: &Job<'_>, left: usize) -> Vec<String> {
    let mut limits = vec![
        "the living files can be changed or deleted; the snapshot is what is kept".to_owned(),
        "root can release the hold and destroy the snapshot, or the pool; that is found and recorded"
            .to_owned(),
    ];
    if !job.site.relative.as_os_str().is_empty() {
        limits.push(
            "all of the dataset is kept with the target, and takes space as it changes".to_owned(),
        );
    }
    let below = mounts::below(&job.path);
    let below = below.iter().filter(|point| **point != job.site.root_path);
    match below.count() {
        0 => {}
        count => limits.push(format!(
            "{count} mounted file systems below it, other datasets too, are not held"
        )),
    }
    if left > 0 {
        limits.push(format!(
            "{left} places have left the hold; their bytes go when the snapshot goes"
        ));
    }
    limits
}

/// Counts what is held, and says that it is.
fn count(job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
    let root = open(&job.site, job.target)?;
    let exclude = exclude(job, &root, record);
    let walk = Walk::open_with(root.as_fd(), &job.site.relative, &exclude, None)
        .map_err(while_doing("the snapshot cannot be opened"))?;
    let found = amount::count(walk, job.threads, job.progress)?;
    let raised = Raised {
        mechanism: Mechanism::ZfsSnapshot,
        file_system: "zfs".to_owned(),
        does_not_prevent: limits(job, record.left.len()),
        files: found.files,
        folders: found.folders,
        bytes: found.bytes,
    };
    job.progress.step()?;
    record.things = found.things;
    record.raised = Some(raised.clone());
    record.phase = Phase::Raised;
    job.store.put(record)?;
    Ok(raised)
}

impl mechanism::Mechanism for ZfsSnapshot {
    fn plan(&self, job: &Job<'_>) -> Result<Plan, HoldTrouble> {
        name(job)?;
        Ok(Plan {
            mechanism: Mechanism::ZfsSnapshot,
            file_system: "zfs".to_owned(),
            does_not_prevent: limits(job, 0),
            files: None,
            bytes: None,
            needs: 0,
            free: super::copy::free(&job.site.root).ok().flatten(),
            because: String::new(),
        })
    }

    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
        let (name, tag) = (name(job)?, tag(job.target));
        if !matches!(record.phase, Phase::Sealing | Phase::Raised) {
            record.phase = Phase::Filling;
            record.raised = None;
            job.store.put(record)?;
        }
        let known = match call::look(job.zfs, &name)? {
            Some(known) => known,
            None => {
                job.progress.step()?;
                call::snapshot(job.zfs, &name)?;
                call::look(job.zfs, &name)?.ok_or(HoldTrouble::NotFound)?
            }
        };
        job.progress.step()?;
        call::hold(job.zfs, &tag, &name)?;
        record.since_ns = known.made_at.saturating_mul(1_000_000_000);
        record.as_of_ns = record.since_ns;
        record.pinned = Some(Pinned { known });
        record.sealed = call::is_held(job.zfs, &tag, &name)?;
        job.progress.step()?;
        record.phase = Phase::Sealing;
        job.store.put(record)?;
        count(job, record)
    }

    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
        let (name, tag) = (name(job)?, tag(job.target));
        let tally = Tally::default();
        // To try `zfs destroy` would lose everything if it worked.
        tally.count(call::is_held(job.zfs, &tag, &name)?);
        let root = open(&job.site, job.target)?;
        let exclude = exclude(job, &root, record);
        let walk = Walk::open_with(root.as_fd(), &job.site.relative, &exclude, None)
            .map_err(while_doing("the snapshot cannot be opened"))?;
        for step in walk.take(TRIED) {
            job.progress.step()?;
            attempt::on(&step, &tally);
        }
        let (attempts, refused) = tally.totals();
        Ok(Proof {
            attempts,
            refused,
            writers: 0,
        })
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        let place: &Path = &place(&job.site, job.target);
        let gone = || vec![Found::at(FindingKind::SnapshotGone, place)];
        let Some(Pinned { known }) = &record.pinned else {
            return Ok(gone());
        };
        match call::look(job.zfs, &known.name)? {
            Some(now) if now == *known => {}
            _ => return Ok(gone()),
        }
        Ok(
            match call::is_held(job.zfs, &tag(job.target), &known.name)? {
                true => Vec::new(),
                false => vec![Found::at(FindingKind::ProtectionGone, place)],
            },
        )
    }

    fn narrow(&self, job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        let narrowed = record.narrowed.clone().unwrap_or_default().1;
        count(job, record)?;
        Ok(narrowed)
    }

    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        record.phase = Phase::Lowering;
        job.store.put(record)?;
        let name = match &record.pinned {
            Some(pinned) => pinned.known.name.clone(),
            None => name(job)?,
        };
        job.progress.step()?;
        call::release(job.zfs, &tag(job.target), &name)?;
        job.progress.step()?;
        call::destroy(job.zfs, &name)?;
        job.progress.step()?;
        Ok(Lowered {
            freed: record.raised.as_ref().map_or(0, |raised| raised.files),
            kept: 0,
        })
    }
}

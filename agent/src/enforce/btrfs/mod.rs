//! Read-only btrfs snapshots: the moment itself, kept while the living subvolume goes on.
//!
//! Layout: `VAULT/<target id>/tree` is the snapshot of the subvolume that holds the target. A
//! snapshot has an empty folder in place of each subvolume nested in it; each of those is replaced
//! by a snapshot of that subvolume, so what is held is one tree, and only the folder in which one
//! lies has a new change time. A snapshot without nested ones is read-only from birth; with them it
//! is writable, in a folder that only root can enter, until it is whole. A subvolume that is
//! read-only takes no flags, so the flag is set on the folder around it: without taking that off
//! nobody can rename or delete the snapshot.
//!
//! Order: snapshot (the moment that is held), nested ones, read-only, flush, record, flag, record;
//! counting what is in it comes last and moves nothing. It must never take in what lies above the
//! root, and it never deletes a snapshot that stands.

mod check;
pub mod ioctl;
mod raise;
mod remove;
pub mod subvolumes;

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use custody::house::mechanism::Mechanism;
use rustix::{
    fs::{OFlags, fstat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    copy,
    found::Found,
    job::{Job, bytes_path, is_below},
    mechanism, mounts,
    plan::Plan,
    record::{Lowered, Proof, Raised, Record},
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::{
    apart::Apart,
    place::{Place, open_below},
};

/// The name of the snapshot in its target's folder.
const TREE: &str = "tree";

/// What a snapshot hold is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Where the subvolume is below the root.
    pub top: Vec<u8>,
    /// Where the target is in it.
    pub inside: Vec<u8>,
    /// The snapshot, and those nested in it, each after the one it lies in.
    pub parts: Vec<Part>,
    /// Nested subvolumes of which there is no snapshot.
    pub missed: u64,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it is below the first one; empty for that one.
    pub place: Vec<u8>,
    /// Its own id, never given twice.
    pub uuid: [u8; 16],
    /// The transaction in which it was made: what the living subvolume changed later has a larger.
    pub made: u64,
    /// When it was made, nanoseconds since 1970.
    pub made_ns: i64,
    /// The transaction in which anything in it last changed.
    pub changed: u64,
}

/// A read-only snapshot.
#[derive(Clone, Copy, Debug)]
pub struct BtrfsSnapshot;

impl mechanism::Mechanism for BtrfsSnapshot {
    fn plan(&self, job: &Job<'_>) -> Result<Plan, HoldTrouble> {
        let top = top(job)?;
        let looking = while_doing("the subvolumes cannot be listed");
        let nested = subvolumes::nested(std::os::fd::AsFd::as_fd(&top.fd), wanted(job, &top))
            .map_err(looking)?;
        let count = nested.found.len() as u64;
        let inside = top.inside.as_os_str().as_bytes().to_vec();
        let frozen = Frozen {
            top: top.place.as_os_str().as_bytes().to_vec(),
            inside,
            parts: Vec::new(),
            missed: nested.unreachable,
        };
        let free = job.site.vault()?.and_then(|vault| copy::free(&vault).ok());
        Ok(Plan {
            mechanism: Mechanism::BtrfsSnapshot,
            file_system: job.site.file_system.clone(),
            does_not_prevent: limits(job, &frozen, count, true),
            files: None,
            bytes: None,
            needs: 0,
            free: free.flatten(),
            because: String::new(),
        })
    }

    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
        raise::raise(job, record)
    }

    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
        check::prove(job, record)
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        check::check(job, record)
    }

    fn narrow(&self, job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        raise::narrow(job, record)
    }

    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        remove::lower(job, record)
    }
}

/// The subvolume that holds the target.
fn top(job: &Job<'_>) -> Result<subvolumes::Top, HoldTrouble> {
    let found =
        subvolumes::top(&job.site).map_err(while_doing("the subvolume cannot be opened"))?;
    found.ok_or(HoldTrouble::NotSupported(
        "the target lies in no btrfs subvolume of its root. Give the subvolume a root of its own in agent.toml",
    ))
}

/// Paths below a subvolume that are never held: vaults and the agent's own folders.
fn apart(job: &Job<'_>, top: &Path) -> Vec<Vec<u8>> {
    let base = job.site.root_path.join(top);
    let vaults = job.roots.iter().map(|root| root.vault.as_path());
    let own = job.own_paths.iter().map(PathBuf::as_path);
    let inside = vaults.chain(own).filter_map(|p| p.strip_prefix(&base).ok());
    let paths = inside.map(|path| path.as_os_str().as_bytes().to_vec());
    paths.filter(|path| !path.is_empty()).collect()
}

/// Which subvolumes below the one of the target are held with it.
fn wanted(job: &Job<'_>, top: &subvolumes::Top) -> impl Fn(&[u8]) -> bool + use<> {
    let inside = top.inside.as_os_str().as_bytes().to_vec();
    let apart = apart(job, &top.place);
    move |path| is_below(path, &inside) && !apart.iter().any(|apart| is_below(path, apart))
}

/// Where the held target is below the vault.
pub fn relative(record: &Record) -> PathBuf {
    let tree = PathBuf::from(record.target.to_string()).join(TREE);
    match &record.frozen {
        Some(frozen) if !frozen.inside.is_empty() => tree.join(bytes_path(&frozen.inside)),
        _ => tree,
    }
}

/// What a walk of the snapshot must leave out, by its own devices and inodes: what was left out of
/// the living tree, as it stands in the snapshot.
pub fn exclude(job: &Job<'_>, vault: &OwnedFd, record: &Record) -> Vec<Apart> {
    let Some(frozen) = &record.frozen else {
        return Vec::new();
    };
    let tree = format!("{}/{TREE}/", record.target).into_bytes();
    let paths = apart(job, &bytes_path(&frozen.top)).into_iter();
    let held = paths.filter_map(|path| {
        let whole = [tree.as_slice(), &path].concat();
        let fd = open_below(std::os::fd::AsFd::as_fd(vault), &whole, OFlags::PATH).ok()?;
        let stat = fstat(fd).ok()?;
        Some(Apart::Folder(stat.st_dev, stat.st_ino))
    });
    let left = record.left.iter().map(|path| Apart::Path(path.clone()));
    held.chain(left).collect()
}

/// Opens a folder of ours by its name in another.
fn open(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    place(parent, name.as_bytes())?.open(subvolumes::FOLDER)
}

fn place(parent: &OwnedFd, name: &[u8]) -> Result<Place, Errno> {
    Ok(Place {
        parent: Arc::new(parent.try_clone().map_err(|_| Errno::MFILE)?),
        name: name.to_vec(),
    })
}

/// What a snapshot does not prevent here.
fn limits(job: &Job<'_>, frozen: &Frozen, nested: u64, sealed: bool) -> Vec<String> {
    let mut limits = vec![
        "the living files can be changed or deleted; the snapshot is what is kept".to_owned(),
        "root can make the snapshot writable; that is found and recorded".to_owned(),
        if sealed {
            "root can take the flag off the folder around it and delete it; that is found and recorded"
        } else {
            "root can delete the snapshot: the folder around it carries no flag"
        }
        .to_owned(),
    ];
    if !frozen.inside.is_empty() {
        limits.push(
            "all of the subvolume is kept with the target, and takes space as it changes"
                .to_owned(),
        );
    }
    let mounts = mounts::below(&job.path).len();
    for (count, what) in [
        (
            nested,
            "nested subvolumes: each is of a moment of its own, and the folder it lies in has a new change time",
        ),
        (
            frozen.missed,
            "nested subvolumes could not be reached: they are empty folders in the snapshot",
        ),
        (
            mounts as u64,
            "mounted file systems below it are not held; what lies under them is",
        ),
    ] {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    limits
}

//! Leads: remembers, over restarts, which file system each held place led to.
//!
//! One small file beside the records. It is the agent's own, and believed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use custody::{digest::Digest, house::finding::FindingKind, id::TargetId};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatvfs, openat2};
use serde::{Deserialize, Serialize};

use super::{
    held::All,
    kernel,
    mounts::{Lead, Mount, Table},
};
use crate::durable;

/// The file's name. It is no record, and must not end as one does.
const FILE: &str = "leads";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Of the raising that these are from.
    since_ns: i64,
    leads: Vec<Lead>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// SHA-256 of the boot id of the run of the machine that they were last right in.
    boot: Digest,
    #[serde(default)]
    targets: BTreeMap<TargetId, Known>,
}

/// Where every held place led.
#[derive(Debug)]
pub struct Leads {
    file: PathBuf,
    boot: Digest,
    stored: Mutex<Stored>,
}

/// What is amiss with a target: what, and where.
pub type Amiss = BTreeMap<TargetId, (FindingKind, PathBuf)>;

impl Leads {
    /// Opens what is remembered in a folder. What cannot be read is begun anew, and said.
    pub fn open(folder: &Path, boot: Digest) -> Self {
        let file = folder.join(FILE);
        let fresh = Stored {
            boot,
            targets: BTreeMap::new(),
        };
        let read = fs::read(&file).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let stored = read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "which file systems held places led to cannot be read, and is taken down anew");
            }
            fresh
        });
        Self {
            file,
            boot,
            stored: Mutex::new(stored),
        }
    }

    /// Compares where all held places lead now with where they led when they were raised, and
    /// takes down what is new.
    pub fn compare(&self, all: &All, table: &Table) -> Amiss {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stored.clone();
        let same_boot = stored.boot == self.boot;
        let stamps = RefCell::new(HashMap::new());
        let lead = |path: &Path| {
            Lead::now(table, path, |mount| {
                let mut stamps = stamps.borrow_mut();
                let known = stamps.entry(mount.id).or_insert_with(|| stamp(mount));
                known.clone()
            })
        };
        let mut amiss = Amiss::new();
        for (target, since_ns, paths) in all.leads() {
            let known = stored.targets.get(&target);
            let led = known.map_or(&[][..], |known| &known.leads);
            let became = led.iter().find_map(|led| {
                let now = lead(&led.path)?;
                led.became(&now, same_boot)
            });
            if let Some(became) = became {
                amiss.insert(target, became);
            } else if !paths.is_empty()
                && (!same_boot || known.is_none_or(|known| known.since_ns != since_ns))
            {
                let leads = paths.iter().filter_map(|path| lead(path)).collect();
                stored.targets.insert(target, Known { since_ns, leads });
            }
        }
        stored.targets.retain(|target, _| all.stands(*target));
        // While one is amiss the numbers of its devices are still those of before.
        if amiss.is_empty() {
            stored.boot = self.boot;
        }
        if *stored != before {
            let kept = serde_json::to_vec(&*stored).map_err(io::Error::from);
            let kept = kept.and_then(|bytes| durable::write(&self.file, 0o600, &bytes));
            if let Err(error) = kept {
                tracing::warn!(%error, "which file systems held places lead to cannot be written");
            }
        }
        amiss
    }
}

/// Reads the kernel's table of mounts.
pub fn table() -> io::Result<Table> {
    Ok(Table::parse(&fs::read("/proc/self/mountinfo")?))
}

/// What a mounted file system is known by as long as it exists. Only local file systems are
/// asked: the server of another might never answer.
fn stamp(mount: &Mount) -> Option<String> {
    if !matches!(mount.kind.as_str(), "ext4" | "xfs" | "btrfs" | "f2fs") {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let point = mount.point.as_os_str().as_bytes();
    let fd = openat2(CWD, point, flags, Mode::empty(), no_links).ok()?;
    match mount.kind.as_str() {
        // What it gives as its number is its device's, which may be another tomorrow.
        "xfs" => kernel::uuid(&fd).map(hex::encode),
        // Half of it changes with the subvolume.
        "btrfs" => Some(format!("{:x}", fstatvfs(&fd).ok()?.f_fsid & 0xffff_ffff)),
        _ => Some(format!("{:x}", fstatvfs(&fd).ok()?.f_fsid)),
    }
}

//! Records: what this agent holds, one durable file a target, written before what it speaks of.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    house::{mechanism::Mechanism, regime::Holding},
    id::TargetId,
};
use serde::{Deserialize, Serialize};

use super::{
    btrfs::Frozen,
    inodes::Inode,
    trouble::{HoldTrouble, own},
    zfs::Pinned,
};
use crate::durable;

/// How far a target is. Every state says what a crash in it reads back as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Asked for and nothing touched. After a crash: begun from the beginning.
    Planned,
    /// Flag: what others had flagged is on disk, and ours may stand anywhere. After a crash: every
    /// flag that is not on that list is ours; the rest are set.
    Raising,
    /// Vault: the copy is being made. After a crash: it is thrown away and begun again; so is a
    /// snapshot that is not whole.
    Filling,
    /// Vault: the copy and its origins, or the snapshot, are whole and on disk. After a crash:
    /// sealing goes on.
    Sealing,
    /// All stands and is on disk. After a crash: the same.
    Raised,
    /// Raised, and parts of it are leaving. After a crash: they go on leaving; the rest stands.
    Narrowing,
    /// No longer a reason; some of it may be undone. After a crash: undoing goes on.
    Lowering,
    /// Nothing of it is left. After a crash: the same, with the same counts.
    Lowered,
}

/// What a raised hold is: the body of `hold.raised`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// What keeps it.
    pub mechanism: Mechanism,
    /// Such as `ext4`.
    pub file_system: String,
    /// What this does not prevent here.
    pub does_not_prevent: Vec<String>,
    /// Regular files held.
    pub files: u64,
    /// Folders held.
    pub folders: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// What trying to change it gave: the body of `hold.verified` or `hold.unproved`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that were refused. A protection found missing is an attempt not refused.
    pub refused: u64,
    /// Files on which a writer is left, or may be.
    pub writers: u64,
}

impl Proof {
    /// Whether the target may be called verified.
    pub const fn holds(&self) -> bool {
        self.attempts > 0 && self.refused == self.attempts && self.writers == 0
    }
}

/// What lowering did: the body of `hold.lowered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// Files that are free now.
    pub freed: u64,
    /// Files that stay held, by another target or by a flag that was there before.
    pub kept: u64,
}

/// What is kept of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub target: TargetId,
    /// Where, raw bytes, absolute.
    pub path: Vec<u8>,
    /// What the hold does.
    pub holding: Holding,
    /// What keeps it.
    #[serde(alias = "means")]
    pub mechanism: Mechanism,
    /// The weakest mechanism that will do, as it was last asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Mechanism>,
    /// How far it is.
    pub phase: Phase,
    /// The target's own inode, by which it is found again if a folder above it was renamed:
    /// subvolume and number.
    #[serde(default)]
    pub inode: Option<(u64, u64)>,
    /// Inodes that were the target before: something else was put in their place, and they may
    /// still be held somewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<(u64, u64)>,
    /// Whether the target is one file.
    #[serde(default)]
    pub single: bool,
    /// Whether the vault carries the immutable flag.
    #[serde(default)]
    pub sealed: bool,
    /// Things counted when it was raised, of every kind.
    #[serde(default)]
    pub things: u64,
    /// Things that could not be protected.
    #[serde(default)]
    pub unprotected: u64,
    /// When the last protection stood, nanoseconds since 1970: what changed later changed under it.
    #[serde(default)]
    pub since_ns: i64,
    /// SHA-256 of the origins, for a vault.
    #[serde(default)]
    pub origins: Option<Digest>,
    /// The moment of which what is held is: what came later is not in it. Nanoseconds since 1970.
    #[serde(default)]
    pub as_of_ns: i64,
    /// What has left the hold: paths below the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Vec<u8>>,
    /// Of that, what left last, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<(Vec<Vec<u8>>, Lowered)>,
    /// Whether all was as it should be when that began: then what is changed since is our own doing.
    #[serde(default)]
    pub was_clean: bool,
    /// What was mounted below it, or in its vault, when it was raised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Vec<u8>>,
    /// The snapshots, for one of btrfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// The snapshot, for one of ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pinned>,
    /// What was reported.
    #[serde(default)]
    pub raised: Option<Raised>,
    /// What was reported.
    #[serde(default)]
    pub lowered: Option<Lowered>,
}

impl Record {
    /// A record of a target on which nothing was done yet.
    pub fn planned(
        target: TargetId,
        path: Vec<u8>,
        holding: Holding,
        mechanism: Mechanism,
    ) -> Self {
        Self {
            target,
            path,
            holding,
            mechanism,
            at_least: None,
            phase: Phase::Planned,
            inode: None,
            replaced: Vec::new(),
            single: false,
            sealed: false,
            things: 0,
            unprotected: 0,
            since_ns: 0,
            origins: None,
            as_of_ns: 0,
            left: Vec::new(),
            narrowed: None,
            was_clean: false,
            mounts: Vec::new(),
            frozen: None,
            pinned: None,
            raised: None,
            lowered: None,
        }
    }

    /// All inodes that are, or were, the target.
    pub fn inodes(&self) -> impl Iterator<Item = Inode> {
        let all = self.inode.iter().chain(&self.replaced);
        all.map(|&(subvolume, number)| Inode(subvolume, number))
    }

    /// Notes which inode the target is now; says whether that is news.
    pub fn is_now(&mut self, inode: Inode) -> bool {
        let now = (inode.0, inode.1);
        let before = self.inode.replace(now);
        if before == Some(now) {
            return false;
        }
        self.replaced.retain(|replaced| *replaced != now);
        self.replaced.extend(before);
        true
    }

    /// Whether it is a reason for a flag in place, with its survey on disk.
    pub fn flags_stand(&self) -> bool {
        let stands = matches!(
            self.phase,
            Phase::Raising | Phase::Raised | Phase::Narrowing
        );
        self.mechanism == Mechanism::ImmutableFlag && stands
    }

    /// Whether flags of it may be found in place.
    pub fn flags_may_be_found(&self) -> bool {
        self.flags_stand()
            || (self.mechanism == Mechanism::ImmutableFlag && self.phase == Phase::Lowering)
    }
}

/// The records of an agent, in a folder of its own.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder, or makes it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        durable::sync_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where a file about a target lies.
    pub fn file(&self, target: TargetId, what: &str) -> PathBuf {
        self.folder.join(format!("{target}.{what}"))
    }

    /// Puts a record on disk.
    pub fn put(&self, record: &Record) -> Result<(), HoldTrouble> {
        let text = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .map_err(own("the hold's record cannot be written"))?;
        durable::write(&self.file(record.target, "json"), 0o600, &text)
            .map_err(own("the hold's record cannot be written"))
    }

    /// All records.
    pub fn all(&self) -> io::Result<BTreeMap<TargetId, Record>> {
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "json") {
                let record: Record = serde_json::from_slice(&fs::read(&path)?)?;
                records.insert(record.target, record);
            }
        }
        Ok(records)
    }
}

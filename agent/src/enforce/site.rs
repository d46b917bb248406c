//! Sites: where a target lies, found from an allowed root and never by following anything.

use std::{
    fs,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, mkdirat, openat2},
    io::Errno,
};

use super::trouble::{HoldTrouble, own, while_doing};
use crate::capture::place::{INSIDE, open_below};

/// On the way to a root or a vault there may be mounts, and no links.
const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

/// A part of the host in which this agent may hold things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The folder.
    pub path: PathBuf,
    /// Where its vault is. Best on the same file system: only there it can hold clones.
    pub vault: PathBuf,
}

/// Where one target lies.
#[derive(Debug)]
pub struct Site {
    /// The root, open.
    pub root: OwnedFd,
    /// The root's own path.
    pub root_path: PathBuf,
    /// The target below it; empty for the root itself.
    pub relative: PathBuf,
    /// The vault's path.
    pub vault_path: PathBuf,
    /// Such as `ext4`.
    pub file_system: String,
}

impl Site {
    /// The root that an absolute, plain path lies in.
    pub fn root_of<'r>(roots: &'r [Root], path: &Path) -> Option<&'r Root> {
        let plain = path.is_absolute()
            && path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        roots
            .iter()
            .filter(|root| plain && path.starts_with(&root.path))
            .max_by_key(|root| root.path.components().count())
    }

    /// Finds the root of an absolute path, without looking at the path itself.
    pub fn find(roots: &[Root], path: &Path) -> Result<Self, HoldTrouble> {
        let root = Self::root_of(roots, path).ok_or(HoldTrouble::OutsideRoots)?;
        if roots.iter().any(|root| path.starts_with(&root.vault)) {
            return Err(HoldTrouble::OutsideRoots);
        }
        let relative = path
            .strip_prefix(&root.path)
            .map_err(|_| HoldTrouble::OutsideRoots)?
            .components()
            .collect();
        // The root's path is plain: a link in it was put there since.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(CWD, &root.path, flags, Mode::empty(), NO_LINKS)
            .map_err(while_doing("the root cannot be opened"))?;
        let file_system = file_system(&fd);
        Ok(Self {
            root: fd,
            root_path: root.path.clone(),
            relative,
            vault_path: root.vault.clone(),
            file_system,
        })
    }

    /// Takes hold of the target without opening it.
    pub fn pin(&self) -> Result<OwnedFd, Errno> {
        let path = self.relative.as_os_str().as_bytes();
        open_below(self.root.as_fd(), path, OFlags::PATH)
    }

    /// Looks at the target itself: a folder or a regular file, reached without a link.
    pub fn target(&self) -> Result<Stat, HoldTrouble> {
        let fd = self
            .pin()
            .map_err(while_doing("the target cannot be opened"))?;
        let stat = fstat(&fd).map_err(while_doing("the target cannot be looked at"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile => Ok(stat),
            FileType::Symlink => Err(HoldTrouble::Symlink),
            _ => Err(HoldTrouble::NotSupported(
                "only folders and regular files can be held. Name the folder it lies in",
            )),
        }
    }

    /// Opens what stands in the vault's place.
    fn open_vault(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self.vault_path.strip_prefix(&self.root_path) {
            Ok(inside) => openat2(&self.root, inside, flags, Mode::empty(), INSIDE),
            Err(_) => openat2(CWD, &self.vault_path, flags, Mode::empty(), NO_LINKS),
        }
    }

    /// Opens the vault, if it is there: a folder of this agent's user that nobody else can enter.
    pub fn vault(&self) -> Result<Option<OwnedFd>, HoldTrouble> {
        let fd = match self.open_vault() {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(HoldTrouble::NotSupported(
                    "something that is no folder stands in the vault's place. Move it away; the vault is made anew",
                ));
            }
            opened => opened.map_err(while_doing("the vault cannot be opened"))?,
        };
        let stat = fstat(&fd).map_err(while_doing("the vault cannot be looked at"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(HoldTrouble::NotSupported(
                "the vault's folder belongs to others or is open to them. Move it away; it is made anew",
            ));
        }
        Ok(Some(fd))
    }

    /// Opens the vault, or makes it.
    pub fn make_vault(&self) -> Result<OwnedFd, HoldTrouble> {
        if let Some(fd) = self.vault()? {
            return Ok(fd);
        }
        match self.vault_path.strip_prefix(&self.root_path) {
            Ok(inside) if inside.components().count() == 1 => {
                match mkdirat(&self.root, inside, Mode::from(0o700)) {
                    Err(Errno::EXIST) => Ok(()),
                    made => made,
                }
                .map_err(while_doing("the vault cannot be made"))?;
            }
            // A longer way through the customer's tree could be led astray.
            Ok(_) => {
                return Err(HoldTrouble::NotSupported(
                    "a vault inside its root must lie directly in it. Correct agent.toml",
                ));
            }
            Err(_) => fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.vault_path)
                .map_err(own("the vault cannot be made"))?,
        }
        self.vault()?.ok_or(HoldTrouble::NotFound)
    }

    /// What a walk of this root must leave out: its vault, by device and inode, whoever can enter
    /// it by now. Copies of one customer's files must never be found below another target.
    pub fn exclude(&self) -> Option<(u64, u64)> {
        let stat = self.open_vault().and_then(fstat).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }
}

/// The name of the file system that something open lies on.
pub fn file_system(fd: &OwnedFd) -> String {
    let Ok(stat) = fstatfs(fd) else {
        return "unknown".to_owned();
    };
    // From linux/magic.h.
    let name = match u32::try_from(stat.f_type).unwrap_or(0) {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x4d44 => "vfat",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        other => return format!("unknown-{other:x}"),
    };
    name.to_owned()
}

/// Whether a restart of the machine empties a file system.
pub fn is_memory(file_system: &str) -> bool {
    matches!(file_system, "tmpfs" | "ramfs")
}

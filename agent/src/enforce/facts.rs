//! Facts: asks a place what it can do, without leaving a trace in it.
//!
//! What is tried is tried on files without a name, which are gone when they are closed.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{IFlags, Mode, OFlags, fstat, fstatfs, ioctl_ficlone, ioctl_getflags, openat},
    io::Errno,
};

use super::{
    btrfs::subvolumes,
    choose::Facts,
    copy, flag,
    site::Site,
    zfs::{dataset, host::Zfs},
};

/// What is known of a target's place.
pub fn of(site: &Site, zfs: &dyn Zfs) -> Facts {
    let vault = vault(site);
    let vault = vault.as_ref();
    let beside = vault.is_some_and(|vault| same_file_system(site, vault));
    Facts {
        file_system: site.file_system.clone(),
        root: rustix::process::geteuid().is_root(),
        flag: carries_flag(&site.root),
        seal: vault.is_some_and(carries_flag),
        reflink: beside && vault.is_some_and(clones),
        subvolume: beside && matches!(subvolumes::top(site), Ok(Some(_))),
        dataset: dataset(site, zfs).is_some(),
        free: vault.and_then(|vault| copy::free(vault).ok().flatten()),
    }
}

/// The vault, or the folder in which it would be made. None where it cannot be used: whoever needs
/// it is told why.
fn vault(site: &Site) -> Option<OwnedFd> {
    if let Some(vault) = site.vault().ok()? {
        return Some(vault);
    }
    let above = site.vault_path.parent().unwrap_or(Path::new("/"));
    above.ancestors().find_map(|folder| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::empty()).ok()
    })
}

/// Whether clones can come from the target's root: surely so where both lie on one device, or
/// the vault lies in the root and the kernel let us get there without crossing a mount.
pub fn same_file_system(site: &Site, vault: &OwnedFd) -> bool {
    let device = |fd: &OwnedFd| fstat(fd).map(|stat| stat.st_dev).ok();
    let kind = |fd: &OwnedFd| fstatfs(fd).map(|stat| stat.f_type).ok();
    kind(vault) == kind(&site.root)
        && (site.vault_path.starts_with(&site.root_path) || device(vault) == device(&site.root))
}

fn nameless(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(folder, ".", flags, Mode::from(0o600))
}

/// Whether a file system clones at all, tried on two files without a name.
pub fn clones(folder: &OwnedFd) -> bool {
    let (Ok(from), Ok(to)) = (nameless(folder), nameless(folder)) else {
        return false;
    };
    rustix::io::write(&from, &[1; 4096]).is_ok() && ioctl_ficlone(&to, &from).is_ok()
}

/// Whether the immutable flag can be set on the file system of a folder.
fn carries_flag(folder: &OwnedFd) -> bool {
    match nameless(folder) {
        Ok(file) => {
            let set = flag::set(file.as_fd(), true);
            // What stays flagged when it is closed would stay on disk.
            set == Ok(true) && flag::set(file, false) == Ok(true)
        }
        // It is frozen itself, which answers the question for whoever may set flags.
        Err(Errno::PERM) => {
            ioctl_getflags(folder).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE))
                && rustix::process::geteuid().is_root()
        }
        // No files without a name here: the flag is tried on the target itself.
        Err(_) => ioctl_getflags(folder).is_ok() && rustix::process::geteuid().is_root(),
    }
}

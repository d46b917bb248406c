//! The vault's own folder: closed by the flag, and opened only for the moment in which a target
//! comes or goes.
//!
//! Closed it cannot be renamed by whoever owns the folder around it. One thing comes or goes at a
//! time; what goes on inside a target's folder needs no open vault, so a copy that takes a day
//! keeps nothing else waiting.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, Mode, mkdirat, unlinkat},
    io::Errno,
};

use super::{flag, own};

/// The door of all vaults.
#[derive(Debug, Default)]
pub struct Door(Mutex<()>);

impl Door {
    /// Makes a target's folder.
    pub fn make(&self, vault: &OwnedFd, name: &str) -> Result<(), Errno> {
        self.opened(vault, || mkdirat(vault, name, Mode::from(0o700)))
    }

    /// Removes a target's folder with all that is in it; one that is not there is removed.
    pub fn remove(&self, vault: &OwnedFd, name: &str) -> Result<(), Errno> {
        own::empty_tree(vault.as_fd(), name.as_bytes())?;
        self.opened(vault, || match unlinkat(vault, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        })
    }

    /// Closes the vault; says whether it can be closed here.
    pub fn close(&self, vault: &OwnedFd) -> Result<bool, Errno> {
        let _one = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set(vault, true)
    }

    /// Does something in the open vault.
    pub fn opened(
        &self,
        vault: &OwnedFd,
        act: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let _one = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set(vault, false)?;
        let done = act();
        // An empty vault is nobody's to keep.
        if !own::is_empty(vault)? {
            set(vault, true)?;
        }
        done
    }
}

fn set(vault: &OwnedFd, on: bool) -> Result<bool, Errno> {
    match flag::set(vault, on) {
        Ok(_) => Ok(true),
        Err(errno) if flag::is_no_flag_here(errno) => Ok(false),
        Err(errno) => Err(errno),
    }
}

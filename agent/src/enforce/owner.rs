//! Owners: the mark on a vault that says whose it is.
//!
//! Two agents that hold in one root would each take the other's flags for a customer's, and one
//! would free what the other holds. So a vault carries the id of the records it belongs to, as an
//! extended attribute, and another agent does nothing in that root. The id is made once and lies
//! beside the records: who restores those is the same agent.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr},
    io::Errno,
};

use super::{
    door::Door,
    trouble::{HoldTrouble, own, while_doing},
};
use crate::{durable, edge::Edge as _};

const NAME: &str = "user.holdfast.agent";

/// Whose vaults are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// Reads the id beside the records, or makes it.
    pub fn open(folder: &Path) -> Result<Self, HoldTrouble> {
        let opening = own("the id beside the holds' records cannot be read or made");
        let file = folder.join("owner");
        match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(Self).map_err(opening),
        }
        let random = crate::edge::Machine::new().and_then(|machine| machine.random());
        let id = hex::encode(&random.map_err(&opening)?[..16]);
        durable::write(&file, 0o600, id.as_bytes()).map_err(opening)?;
        Ok(Self(id))
    }

    /// Whether a vault is another agent's.
    pub fn is_another(&self, vault: &OwnedFd) -> bool {
        matches!(mark(vault), Ok(Some(mark)) if mark != self.0.as_bytes())
    }

    /// Marks a vault as ours. One that is another's is refused.
    pub fn claim(&self, vault: &OwnedFd, door: &Door) -> Result<(), HoldTrouble> {
        let marking = while_doing("the vault cannot be marked as this agent's");
        match mark(vault) {
            Ok(Some(mark)) if mark == self.0.as_bytes() => Ok(()),
            Ok(Some(_)) => Err(HoldTrouble::OtherAgent),
            Ok(None) => {
                let mark = || fsetxattr(vault, NAME, self.0.as_bytes(), XattrFlags::CREATE);
                match door.opened(vault, mark) {
                    // Another came first.
                    Err(Errno::EXIST) => Err(HoldTrouble::OtherAgent),
                    Err(Errno::OPNOTSUPP) => Ok(()),
                    marked => marked.map_err(marking),
                }
            }
            // No attributes here, such as on ramfs.
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(marking(errno)),
        }
    }

    /// Takes our mark off a vault in whose root nothing is held any more.
    pub fn release(&self, vault: &OwnedFd, door: &Door) {
        if matches!(mark(vault), Ok(Some(mark)) if mark == self.0.as_bytes()) {
            // A mark that stays keeps others out, and loses nothing.
            let _ = door.opened(vault, || fremovexattr(vault, NAME));
        }
    }
}

fn mark(vault: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut mark = [0; 64];
    match fgetxattr(vault, NAME, &mut mark[..]) {
        Ok(length) => Ok(Some(mark[..length].to_vec())),
        Err(Errno::NODATA) => Ok(None),
        // Longer than ours are: somebody else's.
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(errno) => Err(errno),
    }
}

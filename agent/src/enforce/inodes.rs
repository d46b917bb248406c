//! Inode sets: who had flagged what before us, and which held files have several names.
//!
//! Device numbers change from one start of the machine to the next, so an inode is known by
//! its number and, on btrfs, by the number of its subvolume, below a given root.

use std::{collections::HashSet, fs, io, os::unix::fs::FileExt as _, path::Path};

use rustix::fs::Statx;

use super::trouble::{HoldTrouble, own};
use crate::durable;

/// What an inode is known by below a root: subvolume (0 where there are none) and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode(pub u64, pub u64);

impl Inode {
    /// The inode that was looked at.
    pub fn of(stat: &Statx) -> Self {
        let has_subvolume = stat.stx_mask & super::flag::SUBVOLUME != 0;
        Self(
            if has_subvolume { stat.stx_subvol } else { 0 },
            stat.stx_ino,
        )
    }
}

impl Inode {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.1.to_le_bytes());
        bytes
    }
}

/// A set of inodes on disk: 16 bytes each, little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inodes(pub HashSet<Inode>);

impl Inodes {
    /// Reads a set; a file that is not there is an empty one.
    pub fn read(path: &Path) -> Result<Self, HoldTrouble> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(own("a hold's list of inodes cannot be read"))?,
        };
        // A rest is of one that a crash kept from being added; nothing was done to it yet.
        let (pairs, _) = bytes.as_chunks::<16>();
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        let inode = |pair: &[u8; 16]| Inode(number(&pair[..8]), number(&pair[8..]));
        Ok(Self(pairs.iter().map(inode).collect()))
    }

    /// Puts it on disk.
    pub fn write(&self, path: &Path) -> Result<(), HoldTrouble> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let mut bytes = Vec::with_capacity(sorted.len() * 16);
        for inode in sorted {
            bytes.extend_from_slice(&inode.bytes());
        }
        durable::write(path, 0o600, &bytes)
            .map_err(own("a hold's list of inodes cannot be written"))
    }

    /// Adds one, also on disk, to a set that is there already; says whether it is new. What this
    /// costs does not grow with the set: a customer can make it happen for each of his files.
    pub fn add(&mut self, inode: Inode, path: &Path) -> Result<bool, HoldTrouble> {
        if !self.0.insert(inode) {
            return Ok(false);
        }
        let add = || {
            let file = fs::File::options().write(true).open(path)?;
            let length = file.metadata()?.len();
            file.write_all_at(&inode.bytes(), length - length % 16)?;
            file.sync_data()
        };
        add().map_err(own("a hold's list of inodes cannot be written"))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_added_is_read_back_also_behind_what_a_crash_tore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        let mut set = Inodes(HashSet::from([Inode(1, 2), Inode(0, u64::MAX)]));
        set.write(&path).unwrap();
        assert!(set.add(Inode(3, 4), &path).unwrap());
        assert!(!set.add(Inode(1, 2), &path).unwrap());
        assert_eq!(Inodes::read(&path).unwrap(), set);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend([7; 9]);
        fs::write(&path, bytes).unwrap();
        assert_eq!(Inodes::read(&path).unwrap(), set);
        assert!(set.add(Inode(5, 6), &path).unwrap());
        assert_eq!(Inodes::read(&path).unwrap(), set);
    }
}

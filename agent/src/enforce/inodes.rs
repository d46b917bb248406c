//! Inode sets: who had flagged what before us, and which held files have several names.
//!
//! Device numbers change from one start of the machine to the next, so an inode is known by
//! its number and, on btrfs, by the number of its subvolume, below a given root.

use std::{collections::HashSet, fs, io, path::Path};

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
        let (pairs, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(own("a hold's list of inodes is damaged")(
                io::ErrorKind::InvalidData.into(),
            ));
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        let inode = |pair: &[u8; 16]| Inode(number(&pair[..8]), number(&pair[8..]));
        Ok(Self(pairs.iter().map(inode).collect()))
    }

    /// Puts it on disk.
    pub fn write(&self, path: &Path) -> Result<(), HoldTrouble> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let mut bytes = Vec::with_capacity(sorted.len() * 16);
        for Inode(subvolume, number) in sorted {
            bytes.extend_from_slice(&subvolume.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        durable::write(path, 0o600, &bytes)
            .map_err(own("a hold's list of inodes cannot be written"))
    }
}

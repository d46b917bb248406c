//! Tiles (C2SP tlog-tiles): the tree and its entries as files that never change.

use super::tree::{Nodes, node_hash};
use crate::digest::Digest;

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u64 = 256;
/// The longest entry, in bytes.
pub const LONGEST_ENTRY: usize = 65_535;

/// Names one tile of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Level 0 holds leaf hashes; each level above, the roots of full tiles below.
    pub level: u32,
    /// Which one of its level.
    pub index: u64,
    /// How many hashes: 256 when full.
    pub width: u64,
}

fn digits(index: u64) -> String {
    let mut rest = index / 1000;
    let mut path = format!("{:03}", index % 1000);
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn suffix(width: u64) -> String {
    if width == WIDTH {
        String::new()
    } else {
        format!(".p/{width}")
    }
}

impl Tile {
    /// Where it lies below the log's folder: `tile/L/N[.p/W]`.
    pub fn path(&self) -> String {
        format!(
            "tile/{}/{}{}",
            self.level,
            digits(self.index),
            suffix(self.width)
        )
    }

    /// Where the bundle of the same place lies: `tile/entries/N[.p/W]`.
    pub fn bundle_path(&self) -> String {
        format!("tile/entries/{}{}", digits(self.index), suffix(self.width))
    }
}

/// How many hashes level `level` has in a tree of `size` leaves.
pub const fn hashes(level: u32, size: u64) -> u64 {
    if level >= 8 { 0 } else { size >> (8 * level) }
}

/// Every tile of a tree of that size that is new or wider than at the old size.
pub fn grown(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in 0..8 {
        let (from, to) = (hashes(level, old), hashes(level, new));
        if to == 0 {
            break;
        }
        if from == to {
            continue;
        }
        for index in from / WIDTH..to.div_ceil(WIDTH) {
            let width = (to - index * WIDTH).min(WIDTH);
            tiles.push(Tile {
                level,
                index,
                width,
            });
        }
    }
    tiles
}

/// Every tile of a tree of that size.
pub fn all(size: u64) -> Vec<Tile> {
    grown(0, size)
}

/// Where tiles' hashes are read.
pub trait Hashes {
    /// Hash `index` of a tile level; `None` when it is not there.
    fn hash(&self, level: u32, index: u64) -> Option<Digest>;
}

/// Reads the tree's perfect subtrees off tile levels.
pub struct TileNodes<'a>(pub &'a dyn Hashes);

impl Nodes for TileNodes<'_> {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        if level.is_multiple_of(8) {
            return self.0.hash(level / 8, index);
        }
        let left = self.node(level - 1, index * 2)?;
        Some(node_hash(&left, &self.node(level - 1, index * 2 + 1)?))
    }
}

/// What can be wrong with a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry is longer than a bundle can say.
    #[error("an entry has {0} bytes; at most 65535 fit")]
    TooLong(usize),
    /// The bundle ends inside an entry.
    #[error("the bundle is cut off at byte {0}")]
    CutOff(usize),
}

/// Adds an entry to a bundle: its length, big-endian, and its bytes.
pub fn put_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle, in order.
pub fn entries(bundle: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bundle.len() {
        let cut = || BundleError::CutOff(at);
        let length = bundle.get(at..at + 2).ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        found.push(bundle.get(at + 2..at + 2 + length).ok_or_else(cut)?);
        at += 2 + length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_grouped_by_three_digits() {
        let tile = Tile {
            level: 1,
            index: 1_234_067,
            width: WIDTH,
        };
        assert_eq!(tile.path(), "tile/1/x001/x234/067");
        assert_eq!(Tile { width: 8, ..tile }.path(), "tile/1/x001/x234/067.p/8");
        assert_eq!(Tile { index: 0, ..tile }.bundle_path(), "tile/entries/000");
    }

    #[test]
    fn no_empty_tile_is_ever_named() {
        for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537] {
            assert!(
                all(size)
                    .iter()
                    .all(|tile| (1..=WIDTH).contains(&tile.width)),
                "{size}"
            );
        }
        assert_eq!(all(256).len(), 2);
        assert_eq!(grown(256, 256), []);
    }
}

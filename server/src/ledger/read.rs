//! Reads the published tiles, for proofs and for checking what was written.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    ledger::{
        checkpoint::Checkpoint,
        tile::{self, Hashes, Tile, TileNodes, WIDTH, hashes},
        tree::{self, Frontier},
    },
};

use super::{Breach, NotPublished, edge::root, tiles::read_back};

/// Tiles that were read, by level and index; `None` for one that is not there.
type Tiles = BTreeMap<(u32, u64), Option<Vec<Digest>>>;

/// The tiles of a log at one size. Each tile is read at most once, from the disk.
pub struct Disk {
    log: PathBuf,
    size: u64,
    tiles: RefCell<Tiles>,
    /// Whether the disk itself is asked, past what the kernel kept.
    fresh: bool,
}

impl Disk {
    /// The tiles below a log's folder, as they were published for `size`.
    pub fn new(log: &Path, size: u64) -> Self {
        Self {
            log: log.to_owned(),
            size,
            tiles: RefCell::default(),
            fresh: false,
        }
    }

    /// As [`Disk::new`], past the kernel's memory: for reading back what was just written.
    pub(super) fn fresh(log: &Path, size: u64) -> Self {
        Self {
            fresh: true,
            ..Self::new(log, size)
        }
    }

    /// The size.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root that the tiles give.
    pub fn root(&self) -> Option<Digest> {
        Frontier::read(&TileNodes(self), self.size).map(|frontier| frontier.root())
    }

    fn width(&self, level: u32, index: u64) -> u64 {
        hashes(level, self.size)
            .saturating_sub(index * WIDTH)
            .min(WIDTH)
    }

    fn file(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.log.join(name);
        if self.fresh {
            read_back(&path)
        } else {
            std::fs::read(path)
        }
    }

    fn tile(&self, level: u32, index: u64) -> Option<Vec<Digest>> {
        let width = self.width(level, index);
        if width == 0 {
            return None;
        }
        let name = Tile {
            level,
            index,
            width,
        }
        .path();
        let bytes = self.file(&name).ok()?;
        if bytes.len() as u64 != width * 32 {
            return None;
        }
        let (hashes, _) = bytes.as_chunks::<32>();
        Some(
            hashes
                .iter()
                .map(|hash| Digest::from_bytes(*hash))
                .collect(),
        )
    }

    /// Checks what grew since `from`: each entry's leaf hash is in its tile, and each full tile's
    /// root is in the tile above.
    pub(super) fn check_grown(&self, from: u64) -> Result<(), NotPublished> {
        let differs = |name: String| Breach::FileDiffers(self.log.join(name));
        for grown in tile::grown(from, self.size) {
            let name = grown.path();
            if grown.level == 0 {
                let bundle = grown.bundle_path();
                let bytes = self.file(&bundle)?;
                let entries = tile::entries(&bytes).map_err(|_| differs(bundle.clone()))?;
                let leaves = entries.iter().map(|entry| Some(tree::leaf_hash(entry)));
                let first = grown.index * WIDTH;
                if !leaves.eq((first..first + grown.width).map(|at| self.hash(0, at))) {
                    return Err(differs(bundle).into());
                }
            } else {
                let first = grown.index * WIDTH;
                for below in first.max(hashes(grown.level, from))..first + grown.width {
                    let full = self.tile(grown.level - 1, below);
                    if full.map(|row| root(&row)) != self.hash(grown.level, below) {
                        return Err(differs(name).into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that the tree here begins with that of a checkpoint.
    pub(super) fn check_consistent(
        &self,
        old: &Checkpoint,
        new_root: &Digest,
    ) -> Result<(), NotPublished> {
        let breach = Breach::RootsDiffer(old.size);
        let proof = tree::consistency_proof(&TileNodes(self), old.size, self.size);
        let proof = proof.ok_or_else(|| breach.clone())?;
        tree::verify_consistency(old.size, &old.root, self.size, new_root, &proof)
            .map_err(|_| breach.into())
    }

    /// The first of the log's files at this size that is not there, or not of its length.
    pub(super) fn missing(&self) -> Option<PathBuf> {
        tile::all(self.size).into_iter().find_map(|tile| {
            let path = self.log.join(tile.path());
            let there = std::fs::metadata(&path).is_ok_and(|m| m.len() == tile.width * 32);
            if !there {
                return Some(path);
            }
            let bundle = self.log.join(tile.bundle_path());
            (tile.level == 0 && !bundle.is_file()).then_some(bundle)
        })
    }
}

impl Hashes for Disk {
    fn hash(&self, level: u32, index: u64) -> Option<Digest> {
        let at = (level, index / WIDTH);
        let mut tiles = self.tiles.borrow_mut();
        let row = tiles.entry(at).or_insert_with(|| self.tile(at.0, at.1));
        row.as_ref()?
            .get(usize::try_from(index % WIDTH).ok()?)
            .copied()
    }
}

//! The right edge: what is needed to go on writing tiles, whatever the log's size.

use custody::{
    digest::Digest,
    ledger::{
        tile::{Hashes as _, Tile, TileNodes, WIDTH, hashes},
        tree::{Frontier, node_hash},
    },
};

use super::{NotPublished, read::Disk, tiles::Sink};

/// The unfinished tile of each level, and the tree's frontier.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    /// `levels[l]` are the hashes of level l's last tile; fewer than 256 each.
    levels: Vec<Vec<Digest>>,
    /// The size at which the unfinished tile of each level was last written.
    written: Vec<u64>,
    frontier: Frontier,
}

impl Edge {
    /// Reads the edge of a log of that size off its tiles; `None` when they do not have it.
    pub(super) fn read(disk: &Disk) -> Option<Self> {
        let size = disk.size();
        let mut levels = Vec::new();
        for level in 0.. {
            let count = hashes(level, size);
            if count == 0 {
                break;
            }
            let row = (count - count % WIDTH..count)
                .map(|at| disk.hash(level, at))
                .collect::<Option<Vec<_>>>()?;
            levels.push(row);
        }
        let written = (0..levels.len())
            .map(|level| hashes(u32::try_from(level).unwrap_or(u32::MAX), size))
            .collect();
        let frontier = Frontier::read(&TileNodes(disk), size)?;
        Some(Self {
            levels,
            written,
            frontier,
        })
    }

    pub(super) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// Adds a leaf and writes each tile that it fills.
    pub(super) fn push(
        &mut self,
        leaf: Digest,
        writing: &mut dyn Sink,
    ) -> Result<(), NotPublished> {
        self.frontier.push(leaf);
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
                self.written.push(0);
            }
            let row = &mut self.levels[level];
            row.push(hash);
            if (row.len() as u64) < WIDTH {
                break;
            }
            hash = root(row);
            self.put(level, writing)?;
            self.levels[level].clear();
        }
        Ok(())
    }

    /// Writes the unfinished tiles that grew.
    pub(super) fn finish(&mut self, writing: &mut dyn Sink) -> Result<(), NotPublished> {
        for level in 0..self.levels.len() {
            if !self.levels[level].is_empty() && self.written[level] != self.count(level) {
                self.put(level, writing)?;
            }
        }
        Ok(())
    }

    /// How many hashes a level has.
    fn count(&self, level: usize) -> u64 {
        hashes(u32::try_from(level).unwrap_or(u32::MAX), self.size())
    }

    fn put(&mut self, level: usize, writing: &mut dyn Sink) -> Result<(), NotPublished> {
        let row = &self.levels[level];
        let count = self.count(level);
        let tile = Tile {
            level: u32::try_from(level).unwrap_or(u32::MAX),
            index: (count - 1) / WIDTH,
            width: row.len() as u64,
        };
        let bytes: Vec<u8> = row.iter().flat_map(|h| *h.as_bytes()).collect();
        writing.put(&tile.path(), &bytes)?;
        self.written[level] = count;
        Ok(())
    }
}

/// The root of a full tile.
pub(super) fn root(row: &[Digest]) -> Digest {
    let mut row = row.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                _ => pair[0],
            })
            .collect();
    }
    row[0]
}

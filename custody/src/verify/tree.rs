//! The tree under verification: which of two disagreeing files the signed root bears out.
//!
//! A group is 256 neighbouring entries: one bundle and the tile of their leaf hashes. Where the
//! two differ, the tile above or the root says which one is right, so that damage is named
//! where it is and nowhere else.

use super::report::Findings;
use crate::{
    digest::Digest,
    ledger::{
        tile::{Hashes, Tile, TileNodes, WIDTH},
        tree::Frontier,
    },
};

/// The hash of a subtree of these leaves, up to 256 of them; not of none.
pub fn subtree(leaves: &[Digest]) -> Option<Digest> {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    (!leaves.is_empty()).then(|| frontier.root())
}

/// Every full tile's hash so far, level 1 and up: with the leaves of one group they give the root
/// at every size in that group. It takes an eighth of a byte for each entry of the log.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    levels: Vec<Vec<Digest>>,
}

impl Roots {
    /// Adds the next full group by its hash.
    pub fn push(&mut self, group: Digest) {
        let mut hash = group;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            let above = row
                .len()
                .is_multiple_of(256)
                .then(|| subtree(&row[row.len() - 256..]));
            match above.flatten() {
                Some(above) => hash = above,
                None => break,
            }
        }
    }

    /// The hash of a full group.
    pub fn group(&self, group: u64) -> Option<Digest> {
        let row = self.levels.first()?;
        row.get(usize::try_from(group).ok()?).copied()
    }

    /// The hashes of a tile of level 1 or above.
    pub fn tile(&self, tile: &Tile) -> Option<&[Digest]> {
        let row = self.levels.get(tile.level.checked_sub(1)? as usize)?;
        let begin = usize::try_from(tile.index * WIDTH).ok()?;
        row.get(begin..begin + usize::try_from(tile.width).ok()?)
    }

    /// The root at a size whose last, partial group begins with these leaves.
    pub fn root(&self, size: u64, leaves: &[Digest]) -> Option<Digest> {
        let view = View {
            roots: self,
            group: size / WIDTH,
            leaves,
        };
        Frontier::read(&TileNodes(&view), size).map(|frontier| frontier.root())
    }
}

struct View<'a> {
    roots: &'a Roots,
    group: u64,
    leaves: &'a [Digest],
}

impl Hashes for View<'_> {
    fn hash(&self, level: u32, index: u64) -> Option<Digest> {
        let Some(above) = level.checked_sub(1) else {
            let here = index / WIDTH == self.group;
            let at = usize::try_from(index % WIDTH).ok()?;
            return self.leaves.get(at).filter(|_| here).copied();
        };
        let row = self.roots.levels.get(above as usize)?;
        row.get(usize::try_from(index).ok()?).copied()
    }
}

/// One group as its two files tell it.
pub struct Group<'a> {
    /// Which one.
    pub index: u64,
    /// How many entries the log has in it.
    pub width: usize,
    /// The leaf hashes of the bundle's entries, as many as could be read.
    pub bundle: &'a [Digest],
    /// The hashes of the tile, as many as could be read.
    pub tile: &'a [Digest],
    /// Where the tile lies.
    pub tile_path: &'a str,
    /// Whether the tile was there at all.
    pub tile_there: bool,
}

/// Which file of a group to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Both say the same.
    Both,
    /// The entries; the tile is damaged.
    Bundle,
    /// The tile; entries are damaged.
    Tile,
    /// They differ and nothing says which one is right.
    Unknown,
    /// Neither is whole.
    Neither,
}

impl Group<'_> {
    /// Compares the two. `bears_out` says whether leaves lead to what stands above them, where
    /// that is known.
    pub fn compare(&self, bears_out: impl Fn(&[Digest]) -> Option<bool>) -> Truth {
        let whole = |hashes: &[Digest]| hashes.len() == self.width;
        match (whole(self.bundle), whole(self.tile)) {
            (true, true) if self.bundle == self.tile => Truth::Both,
            (true, true) => match (bears_out(self.bundle), bears_out(self.tile)) {
                (Some(true), _) => Truth::Bundle,
                (_, Some(true)) => Truth::Tile,
                _ => Truth::Unknown,
            },
            (true, false) if bears_out(self.bundle) == Some(false) => Truth::Unknown,
            (true, false) => Truth::Bundle,
            (false, true) => Truth::Tile,
            (false, false) => Truth::Neither,
        }
    }

    /// Names every difference, by which file is right.
    pub fn report(&self, truth: Truth, findings: &mut Findings) {
        let base = self.index * WIDTH;
        if !self.tile_there {
            let what = "The tile is missing";
            findings.broken("tile.missing", self.tile_path, what);
        }
        if truth == Truth::Unknown && self.tile.len() < self.width {
            let what = "At least one of these is not what the tree above them has: changed, \
                        moved or put in later";
            let last = base + self.width as u64 - 1;
            findings.entries("entry.changed", base, last, what);
        }
        for at in 0..self.width {
            let (entry, hash) = (self.bundle.get(at), self.tile.get(at));
            let index = base + at as u64;
            match (entry, hash) {
                (Some(entry), Some(hash)) if entry == hash => {}
                (Some(_), Some(_)) if truth == Truth::Bundle => {
                    let what = "It is not the hash of its entry, which the root bears out";
                    findings.hash("tile.hash", self.tile_path, at as u64, what);
                }
                (Some(entry), Some(_)) if truth == Truth::Tile => {
                    self.misplaced(index, entry, findings);
                }
                (Some(_), Some(_)) => {
                    let what = "It and the hash in its tile differ, and nothing left says which \
                                one is right";
                    findings.entries("entry.or-tile", index, index, what);
                    let what = "It and its entry differ, and nothing left says which one is right";
                    findings.hash("tile.or-entry", self.tile_path, at as u64, what);
                }
                (None, _) => {
                    let what = "It is missing: the bundle is gone, cut off or unreadable there";
                    findings.entries("entry.missing", index, index, what);
                }
                (Some(_), None) if self.tile_there => {
                    let what = "It is missing: the tile is cut off or unreadable there";
                    findings.hash("tile.hash", self.tile_path, at as u64, what);
                }
                (Some(_), None) => {}
            }
        }
    }

    /// An entry whose bytes are not what the tree has in its place.
    fn misplaced(&self, index: u64, entry: &Digest, findings: &mut Findings) {
        let what = match self.tile.iter().position(|hash| hash == entry) {
            Some(at) => format!(
                "In its place stand the bytes of entry {}: moved, repeated or put in between",
                self.index * WIDTH + at as u64
            ),
            None => "Its bytes are not those that the signed root commits to: changed or put in \
                     later"
                .to_owned(),
        };
        findings.entries("entry.changed", index, index, what);
    }

    /// The leaves to go on with.
    pub fn leaves(&self, truth: Truth) -> Option<&[Digest]> {
        match truth {
            Truth::Both | Truth::Bundle | Truth::Unknown => Some(self.bundle),
            Truth::Tile => Some(self.tile),
            Truth::Neither => None,
        }
    }
}

//! The walk over a log: every group compared, folded and added to the tree, in order.

use std::collections::BTreeMap;

use super::{
    Files,
    entries::EntryAudit,
    load::{Extent, Loaded, MOST_BUNDLE, MOST_TILE, load, part, partials},
    log::{Anchor, Asked, sentence},
    report::{Findings, Level},
    tree::{Group, Roots, Truth, subtree},
};
use crate::{
    digest::Digest,
    ledger::{
        checkpoint::Checkpoint,
        proof::LogProof,
        tile::{self, Tile, WIDTH},
        tree::leaf_hash,
    },
};

/// Groups that each worker reads ahead.
const AHEAD: usize = 4;

pub(super) struct Walk<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) size: u64,
    pub(super) root: Option<Digest>,
    pub(super) extent: Extent,
    pub(super) roots: Roots,
    /// Leaves of the last group when it is partial.
    pub(super) last: Vec<Digest>,
    /// Whether every group gave a hash, so that roots mean something.
    pub(super) whole: bool,
    pub(super) entries: EntryAudit,
    pub(super) findings: Findings,
}

impl Walk<'_> {
    pub(super) fn groups(&mut self, workers: usize, progress: &dyn Fn(u64, u64)) {
        let count = self.size.div_ceil(WIDTH);
        let mut next = 0;
        while next < count {
            let end = count.min(next + (workers * AHEAD) as u64);
            let wanted: Vec<_> = (next..end)
                .filter(|group| self.extent.reaches(*group))
                .map(|index| {
                    let width = (self.size - index * WIDTH).min(WIDTH);
                    Tile {
                        level: 0,
                        index,
                        width,
                    }
                })
                .collect();
            if wanted.is_empty() {
                break;
            }
            for loaded in self.load(wanted, workers) {
                next = loaded.group.index + 1;
                self.take(loaded);
                progress((next * WIDTH).min(self.size), self.size);
            }
        }
        if next < count {
            self.whole = false;
            self.entries.hole(next * WIDTH);
            let what = "They are missing: the files end before the size that the checkpoint signs";
            self.findings
                .entries("entry.missing", next * WIDTH, self.size - 1, what);
        }
        let beyond = self
            .extent
            .bundles
            .max(self.extent.tiles)
            .map_or(0, |last| last + 1);
        if beyond > count {
            let what = "There are files for more entries than the checkpoint covers; those \
                        entries are not verified";
            self.findings.add(Level::Note, "log.beyond", "tile/", what);
        }
    }

    fn load(&self, wanted: Vec<Tile>, workers: usize) -> Vec<Loaded> {
        let files = self.files;
        let share = wanted.len().div_ceil(workers).max(1);
        std::thread::scope(|scope| {
            let work = |tiles: Vec<Tile>| {
                scope.spawn(move || {
                    tiles
                        .into_iter()
                        .map(|tile| load(files, tile))
                        .collect::<Vec<_>>()
                })
            };
            let started: Vec<_> = wanted
                .chunks(share)
                .map(|tiles| work(tiles.to_vec()))
                .collect();
            started
                .into_iter()
                .zip(wanted.chunks(share))
                .flat_map(|(handle, tiles)| {
                    // A worker that fails is done again here, where the failure shows.
                    handle
                        .join()
                        .unwrap_or_else(|_| tiles.iter().map(|t| load(files, *t)).collect())
                })
                .collect()
        })
    }

    /// Compares one group's files, folds its entries and adds it to the tree.
    fn take(&mut self, mut loaded: Loaded) {
        for part in [&loaded.bundle, &loaded.tile] {
            if let Some(why) = &part.trouble {
                self.findings.add(
                    Level::Unreadable,
                    "file.unreadable",
                    &part.path,
                    why.clone(),
                );
            } else if part.wider {
                let what = "Only the wider file is there; its beginning was used";
                self.findings
                    .add(Level::Note, "file.wider", &part.path, what);
            }
        }
        for (flaw, path) in [
            (&loaded.bundle_flaw, &loaded.bundle.path),
            (&loaded.tile_flaw, &loaded.tile.path),
        ] {
            if let Some(flaw) = flaw {
                self.findings.broken("file.length", path, flaw.clone());
            }
        }
        let width = usize::try_from(loaded.group.width).unwrap_or(0);
        let group = Group {
            index: loaded.group.index,
            width,
            bundle: &loaded.leaves,
            tile: &loaded.hashes,
            tile_path: &loaded.tile.path,
            tile_there: loaded.tile.bytes.is_some(),
        };
        let differ = group.bundle != group.tile || group.bundle.len() < width;
        let above = differ.then(|| self.above(&loaded.group)).flatten();
        let truth = group.compare(|leaves| match (above, self.root) {
            (Some(above), _) => subtree(leaves).map(|hash| hash == above),
            (None, Some(root)) if group.width < 256 && self.whole => {
                Some(self.roots.root(self.size, leaves)? == root)
            }
            _ => None,
        });
        if differ {
            group.report(truth, &mut self.findings);
        }
        let kept = group.leaves(truth).map(<[Digest]>::to_vec);
        // Entries that the tree does not have in their place are not folded.
        for (at, prepared) in std::mem::take(&mut loaded.prepared).into_iter().enumerate() {
            if truth == Truth::Tile && loaded.hashes.get(at) != loaded.leaves.get(at) {
                self.entries.hole(loaded.group.index * WIDTH + at as u64);
            } else {
                self.entries.fold(prepared, &mut self.findings);
            }
        }
        if loaded.leaves.len() < width {
            self.entries
                .hole(loaded.group.index * WIDTH + loaded.leaves.len() as u64);
        }
        self.partial_files(&loaded.group, kept.as_deref().unwrap_or(&[]));
        match (kept, width == WIDTH as usize) {
            (Some(leaves), true) => self.roots.push(subtree(&leaves).unwrap_or(leaf_hash(b""))),
            (Some(leaves), false) => self.last = leaves,
            (None, true) if above.is_some() => self.roots.push(above.unwrap_or(leaf_hash(b""))),
            (None, _) => {
                self.whole = false;
                self.roots.push(leaf_hash(b""));
            }
        }
    }

    /// What the tile above says a full group's hash is.
    fn above(&self, group: &Tile) -> Option<Digest> {
        let full = group.width == WIDTH;
        let (index, count) = (group.index / WIDTH, tile::hashes(1, self.size));
        let width = count.checked_sub(index * WIDTH)?.min(WIDTH);
        let tile = Tile {
            level: 1,
            index,
            width,
        };
        let bytes = part(self.files, &tile, Tile::path, MOST_TILE).bytes?;
        let at = usize::try_from(group.index % WIDTH).ok()? * 32;
        let hash = bytes.get(at..at + 32).filter(|_| full)?;
        Some(Digest::from_bytes(hash.try_into().ok()?))
    }

    /// Partial files of earlier sizes: each must be the beginning of what is there now.
    fn partial_files(&mut self, group: &Tile, leaves: &[Digest]) {
        let full = Tile {
            width: WIDTH,
            ..*group
        };
        let fits = |width: &u64| (1..WIDTH).contains(width) && *width <= leaves.len() as u64;
        for width in partials(self.files, &full.bundle_path())
            .into_iter()
            .filter(fits)
        {
            let path = Tile { width, ..*group }.bundle_path();
            let Ok(Some(bytes)) = self.files.read(&path, MOST_BUNDLE) else {
                continue;
            };
            let found: Option<Vec<_>> = tile::entries(&bytes)
                .ok()
                .map(|entries| entries.into_iter().map(leaf_hash).collect());
            let right = found.is_some_and(|found| found == leaves[..width as usize]);
            if !right && width != group.width {
                let what = "This bundle of an earlier size does not hold the log's entries";
                self.findings.broken("bundle.partial", path, what);
            }
        }
        for width in partials(self.files, &full.path()).into_iter().filter(fits) {
            let tile = Tile { width, ..*group };
            if width != group.width {
                self.compare(&tile, &leaves[..width as usize], false);
            }
        }
    }

    /// Compares a tile's file with what it should hold.
    fn compare(&mut self, tile: &Tile, expected: &[Digest], required: bool) {
        let path = tile.path();
        let part = part(self.files, tile, Tile::path, MOST_TILE);
        if let Some(why) = part.trouble {
            return self
                .findings
                .add(Level::Unreadable, "file.unreadable", path, why);
        }
        let Some(bytes) = part.bytes else {
            if required {
                let what = "The tile is missing; it can be made again from the entries";
                self.findings.broken("tile.missing", path, what);
            }
            return;
        };
        if bytes.len() != expected.len() * 32 && !part.wider {
            let what = format!("It has {} bytes, not {}", bytes.len(), expected.len() * 32);
            self.findings.broken("file.length", &path, what);
        }
        for (at, hash) in expected.iter().enumerate() {
            if bytes.get(at * 32..at * 32 + 32) != Some(&hash.as_bytes()[..]) {
                let what = "It is not the hash of what lies below it";
                self.findings.hash("tile.hash", &path, at as u64, what);
            }
        }
    }

    /// Checks the tiles above the leaves, and the root.
    pub(super) fn finish(&mut self) {
        if !self.whole {
            let what = "The root cannot be recomputed, since entries and their hashes are missing";
            self.findings
                .add(Level::Note, "log.incomplete", "log", what);
            return;
        }
        let roots = std::mem::take(&mut self.roots);
        for tile in tile::all(self.size).iter().filter(|tile| tile.level > 0) {
            let Some(expected) = roots.tile(tile) else {
                continue;
            };
            self.compare(tile, expected, true);
            let full = Tile {
                width: WIDTH,
                ..*tile
            };
            for width in partials(self.files, &full.path()) {
                if (1..tile.width).contains(&width) {
                    let part = Tile { width, ..*tile };
                    self.compare(&part, &expected[..width as usize], false);
                }
            }
        }
        let found = roots.root(self.size, &self.last);
        self.roots = roots;
        match (found, self.root) {
            (Some(found), Some(root)) if found != root => {
                let what = format!(
                    "The {} entries give root {found}; the checkpoint says {root}: entries were \
                     changed, moved, added or taken away",
                    self.size
                );
                self.findings.broken("log.root", "log", what);
            }
            _ => {}
        }
    }

    /// The root at a smaller size, where its leaves can be read.
    fn root_at(&self, size: u64) -> Option<Digest> {
        let (group, width) = (size / WIDTH, size % WIDTH);
        if width == 0 {
            return self.roots.root(size, &[]);
        }
        if group == self.size / WIDTH {
            return self.roots.root(size, &self.last);
        }
        let loaded = load(
            self.files,
            Tile {
                level: 0,
                index: group,
                width: WIDTH,
            },
        );
        let right = |leaves: &Vec<Digest>| {
            leaves.len() == WIDTH as usize && subtree(leaves) == self.roots.group(group)
        };
        let leaves = [loaded.leaves, loaded.hashes].into_iter().find(right)?;
        self.roots.root(size, &leaves)
    }

    /// Every checkpoint that an author says he saw must lie on this log.
    pub(super) fn check_seen(&mut self) {
        if !self.whole {
            return;
        }
        let seen: BTreeMap<_, _> = self.entries.seen().clone();
        for ((size, root), index) in seen {
            if self.root_at(size).is_none_or(|ours| ours != root) {
                let what = format!(
                    "Its author saw a log of {size} entries with root {root}; this log never had \
                     it: it was forked or rewritten"
                );
                self.findings
                    .entry(Level::Broken, "entry.seen-other", index, what);
            }
        }
    }

    /// What anchors the log; an older checkpoint must lie on it.
    pub(super) fn anchor(&mut self, asked: &Asked<'_>) -> Option<Anchor> {
        let from_key = (asked.key.is_some() && asked.key_is_from_outside).then_some(Anchor::Key);
        let Some(older) = asked.older else {
            return from_key;
        };
        let place = "older checkpoint";
        let proof = std::str::from_utf8(older)
            .ok()
            .and_then(|text| LogProof::parse(text).ok());
        let note = proof
            .as_ref()
            .map_or(older, |proof| proof.checkpoint.as_bytes());
        let Some(key) = asked.key else {
            let what = "No key of the log is at hand, so its signature cannot be checked";
            self.findings.broken("older.no-key", place, what);
            return None;
        };
        let old = match Checkpoint::open(note, key) {
            Ok(old) => old,
            Err(error) => {
                self.findings
                    .broken("older.signature", place, sentence(&error));
                return from_key;
            }
        };
        if old.size > self.size {
            let what = format!(
                "The log had {} entries then and has {} now: entries {}-{} were cut off",
                old.size,
                self.size,
                self.size,
                old.size - 1
            );
            self.findings.broken("older.truncated", place, what);
            return from_key;
        }
        match self.whole.then(|| self.root_at(old.size)).flatten() {
            Some(root) if root == old.root => from_key.or(Some(Anchor::Checkpoint(old.size))),
            Some(root) => {
                let what = format!(
                    "At size {} the log had root {} and now gives {root}: entries below {} were \
                     rewritten",
                    old.size, old.root, old.size
                );
                self.findings.broken("older.rewritten", place, what);
                from_key
            }
            None => {
                let what = format!("The root at size {} cannot be recomputed", old.size);
                self.findings.broken("older.lost", place, what);
                from_key
            }
        }
    }
}

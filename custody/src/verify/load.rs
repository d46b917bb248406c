//! Reading a log's files: how far they reach, and one group of 256 entries at a time.

use super::{
    Files,
    entries::{Prepared, prepare},
    report::{Findings, Level},
};
use crate::{
    digest::Digest,
    ledger::{
        tile::{LONGEST_ENTRY, Tile, WIDTH},
        tree::leaf_hash,
    },
};

/// Bytes of the longest full bundle, and one more to see that a file is longer.
pub(super) const MOST_BUNDLE: usize = WIDTH as usize * (LONGEST_ENTRY + 2) + 1;
/// Bytes of a full tile, and one more.
pub(super) const MOST_TILE: usize = WIDTH as usize * 32 + 1;

/// How far the files reach, whatever the checkpoint says.
pub(super) struct Extent {
    pub(super) bundles: Option<u64>,
    pub(super) tiles: Option<u64>,
}

impl Extent {
    pub(super) fn of(files: &dyn Files, findings: &mut Findings) -> Self {
        Self {
            bundles: furthest(files, "tile/entries", 0, 0, findings),
            tiles: furthest(files, "tile/0", 0, 0, findings),
        }
    }

    pub(super) fn reaches(&self, group: u64) -> bool {
        self.bundles
            .max(self.tiles)
            .is_some_and(|last| group <= last)
    }

    /// How many entries the bundles hold, for a log without a readable checkpoint.
    pub(super) fn entries(&self, files: &dyn Files) -> u64 {
        let Some(last) = self.bundles else { return 0 };
        let full = Tile {
            level: 0,
            index: last,
            width: WIDTH,
        };
        let widest = partials(files, &full.bundle_path()).into_iter().max();
        let there = files
            .read(&full.bundle_path(), 1)
            .is_ok_and(|bytes| bytes.is_some());
        last * WIDTH + if there { WIDTH } else { widest.unwrap_or(0) }
    }
}

/// The highest index below a folder of tiles.
fn furthest(
    files: &dyn Files,
    folder: &str,
    base: u64,
    depth: u32,
    findings: &mut Findings,
) -> Option<u64> {
    let names = match files.names(folder) {
        Ok(names) => names,
        Err(why) => {
            findings.add(Level::Unreadable, "folder.unreadable", folder, why);
            return None;
        }
    };
    let number = |text: &str| {
        (text.len() == 3)
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    let mut last = None;
    for name in names {
        let found = match name.strip_prefix('x').and_then(number) {
            Some(digits) if depth < 6 => {
                let below = format!("{folder}/{name}");
                furthest(files, &below, (base + digits) * 1000, depth + 1, findings)
            }
            _ => number(name.strip_suffix(".p").unwrap_or(&name)).map(|digits| base + digits),
        };
        last = last.max(found);
    }
    last
}

/// The widths of the partial files beside a full one.
pub(super) fn partials(files: &dyn Files, full: &str) -> Vec<u64> {
    let names = files.names(&format!("{full}.p")).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// A file of a group: its bytes, and whether it was there.
pub(super) struct Part {
    pub(super) path: String,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) trouble: Option<String>,
    /// It is the full file, read because the partial one is gone.
    pub(super) wider: bool,
}

/// Reads a file of a tile's place: the one of its width, else the full one, else the widest.
pub(super) fn part(
    files: &dyn Files,
    tile: &Tile,
    path: impl Fn(&Tile) -> String,
    most: usize,
) -> Part {
    let full = path(&Tile {
        width: WIDTH,
        ..*tile
    });
    let exact = path(tile);
    let mut part = Part {
        path: exact.clone(),
        bytes: None,
        trouble: None,
        wider: false,
    };
    match files.read(&exact, most) {
        Ok(bytes) => part.bytes = bytes,
        Err(why) => part.trouble = Some(why),
    }
    if part.bytes.is_some() || part.trouble.is_some() {
        return part;
    }
    if exact != full
        && let Ok(Some(bytes)) = files.read(&full, most)
    {
        (part.path, part.bytes, part.wider) = (full, Some(bytes), true);
        return part;
    }
    let narrower = partials(files, &full)
        .into_iter()
        .filter(|w| *w < tile.width);
    if let Some(width) = narrower.max() {
        let path = path(&Tile { width, ..*tile });
        if let Ok(Some(bytes)) = files.read(&path, most) {
            (part.path, part.bytes) = (path, Some(bytes));
        }
    }
    part
}

/// One group, read and looked at alone.
pub(super) struct Loaded {
    pub(super) group: Tile,
    pub(super) bundle: Part,
    pub(super) tile: Part,
    pub(super) leaves: Vec<Digest>,
    pub(super) hashes: Vec<Digest>,
    pub(super) prepared: Vec<Prepared>,
    /// The bundle or tile is longer than the log, or ends within an entry or a hash.
    pub(super) bundle_flaw: Option<String>,
    pub(super) tile_flaw: Option<String>,
}

pub(super) fn load(files: &dyn Files, group: Tile) -> Loaded {
    let width = usize::try_from(group.width).unwrap_or(0);
    let bundle = part(files, &group, Tile::bundle_path, MOST_BUNDLE);
    let tile = part(files, &group, Tile::path, MOST_TILE);
    let (mut leaves, mut prepared) = (Vec::new(), Vec::new());
    let (mut rest, mut bundle_flaw) = (bundle.bytes.as_deref().unwrap_or(&[]), None);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        if leaves.len() == width || tail.len() < length {
            break;
        }
        let (entry, tail) = tail.split_at(length);
        prepared.push(prepare(group.index * WIDTH + leaves.len() as u64, entry));
        leaves.push(leaf_hash(entry));
        rest = tail;
    }
    if !rest.is_empty() && !bundle.wider {
        let at = bundle
            .bytes
            .as_ref()
            .map_or(0, |bytes| bytes.len() - rest.len());
        bundle_flaw = Some(match leaves.len() == width {
            true => format!("It goes on behind its last entry, at byte {at}"),
            false => format!("It is cut off within an entry that begins at byte {at}"),
        });
    }
    let bytes = tile.bytes.as_deref().unwrap_or(&[]);
    let hashes = bytes
        .chunks_exact(32)
        .take(width)
        .filter_map(|chunk| Some(Digest::from_bytes(chunk.try_into().ok()?)))
        .collect();
    let right = bytes.len() == width * 32 || tile.bytes.is_none() || tile.wider;
    let tile_flaw = (!right).then(|| format!("It has {} bytes, not {}", bytes.len(), width * 32));
    Loaded {
        group,
        bundle,
        tile,
        leaves,
        hashes,
        prepared,
        bundle_flaw,
        tile_flaw,
    }
}

//! Portions: the next rows of a manifest that have content, a few at a time.
//!
//! Reading again takes weeks; between two rows no manifest is open and no row group in memory.

use std::{collections::VecDeque, fs::File, io, path::Path};

use custody::{
    digest::Digest,
    manifest::{
        file::{ManifestError, Reader, check},
        leaf::{self, SnapshotKey},
        row::{Kind, Row},
    },
    statement::SnapshotSealed,
};

use crate::capture::seal::digest_of;

/// Rows with content that are taken at a time.
const MOST: usize = 256;
/// Bytes of their names and attributes.
const MOST_BYTES: usize = 1 << 20;

/// A row with content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The row.
    pub row: Row,
    /// Its content's hash.
    pub sha256: Digest,
    /// Its leaf.
    pub leaf: Digest,
}

/// Rows to read, and how far the manifest was looked through for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// The rows.
    pub items: VecDeque<Item>,
    /// The first row behind them.
    pub end: u64,
}

/// A manifest that is there, with what must be true of it.
#[derive(Clone, Copy)]
pub struct Sealed<'a> {
    /// Its file.
    pub path: &'a Path,
    /// The snapshot's salt key.
    pub key: &'a SnapshotKey,
}

/// Whether a manifest is the one that was sealed: to the byte, or, where rows were erased since, by
/// its root.
pub fn is_the_sealed(sealed: Sealed<'_>, said: &SnapshotSealed) -> io::Result<bool> {
    let (digest, _) = digest_of(sealed.path)?;
    if digest == said.manifest {
        return Ok(true);
    }
    let checked = Reader::open(File::open(sealed.path)?)
        .and_then(|reader| check(reader, Some(sealed.key), &said.root));
    Ok(checked.is_ok_and(|checked| checked.rows == said.rows))
}

/// The next rows with content, from a row on.
pub fn next(sealed: Sealed<'_>, from: u64) -> Result<Portion, ManifestError> {
    let open = |error: io::Error| ManifestError::Parquet(error.to_string());
    let mut reader = Reader::open(File::open(sealed.path).map_err(open)?)?;
    reader.skip_to(from)?;
    let mut portion = Portion {
        end: from,
        ..Portion::default()
    };
    let mut room = MOST_BYTES;
    for stored in reader {
        let stored = stored?;
        portion.end = stored.index + 1;
        let Some(row) = stored.row else { continue };
        let (Kind::File, Some(sha256)) = (row.kind, row.sha256) else {
            continue;
        };
        if leaf::leaf_hash(&row, &sealed.key.salt_row(row.index)) != stored.leaf {
            return Err(ManifestError::Leaf(row.index));
        }
        let bytes = row.path.len() + row.xattrs.as_ref().map_or(0, Vec::len);
        room = room.saturating_sub(bytes);
        portion.items.push_back(Item {
            row,
            sha256,
            leaf: stored.leaf,
        });
        if portion.items.len() >= MOST || room == 0 {
            break;
        }
    }
    Ok(portion)
}

//! The rows of a release: chosen from a manifest that gives the root that was signed, each
//! with the proof that shows it and no other.

use std::{fs::File, io, path::PathBuf};

use custody::{
    digest::Digest,
    house::ranges::Ranges,
    id::SnapshotId,
    ledger::tree::{Frontier, Sieve},
    manifest::{
        disclosure::ShownRow,
        file::{ManifestError, Reader},
        leaf::{self, SnapshotKey},
        row::Row,
    },
};

/// Rows whose proofs are gathered at a time: memory does not grow with the release.
const CHUNK: u64 = 65_536;

/// What is released of one snapshot.
pub struct Part {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Its manifest.
    pub manifest: PathBuf,
    /// The root that was signed.
    pub root: Digest,
    /// How many rows it has.
    pub rows: u64,
    /// Its salt key.
    pub key: SnapshotKey,
    /// Which rows are released.
    pub chosen: Ranges,
}

/// Why the rows could not be taken from a manifest.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its file cannot be opened, or what takes the rows failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not give the root that was signed, or a row does not give its leaf.
    #[error("the manifest is not the one that was sealed")]
    Differs,
    /// A released row was erased, or lies behind the end.
    #[error("row {0} is not in the manifest any more")]
    Missing(u64),
}

impl Part {
    fn open(&self) -> Result<Reader, RowsError> {
        Ok(Reader::open(File::open(&self.manifest)?)?)
    }

    /// Gives the chosen rows in order, with their leaf hashes. Only [`Part::shown`] checks
    /// the whole manifest; call it first.
    pub fn each<E: From<RowsError>>(
        &self,
        mut take: impl FnMut(Row, Digest) -> Result<(), E>,
    ) -> Result<(), E> {
        for stored in self.open()? {
            let stored = stored.map_err(RowsError::from)?;
            if stored.index >= self.chosen.end() {
                break;
            }
            if self.chosen.contains(stored.index) {
                let row = stored.row.ok_or(RowsError::Missing(stored.index))?;
                take(row, stored.leaf)?;
            }
        }
        Ok(())
    }

    /// Gives the chosen rows in order, each with its proof, after the manifest was checked
    /// against the signed root.
    pub fn shown(&self, mut take: impl FnMut(ShownRow) -> io::Result<()>) -> Result<(), RowsError> {
        if self.chosen.end() > self.rows {
            return Err(RowsError::Missing(self.chosen.end() - 1));
        }
        for chunk in chunks(&self.chosen) {
            self.shown_of(&chunk, &mut take)?;
        }
        Ok(())
    }

    fn shown_of(
        &self,
        chosen: &Ranges,
        take: &mut impl FnMut(ShownRow) -> io::Result<()>,
    ) -> Result<(), RowsError> {
        let wanted = chosen
            .as_slice()
            .iter()
            .flat_map(|&(first, end)| first..end);
        let mut sieve = Sieve::new(self.rows, wanted);
        let (mut frontier, mut rows) = (Frontier::new(), Vec::new());
        for stored in self.open()? {
            let stored = stored?;
            if stored.index != frontier.size() {
                return Err(RowsError::Differs);
            }
            frontier.push(stored.leaf);
            sieve.push(stored.leaf);
            if chosen.contains(stored.index) {
                let row = stored.row.ok_or(RowsError::Missing(stored.index))?;
                if leaf::leaf_hash(&row, &self.key.salt_row(row.index)) != stored.leaf {
                    return Err(RowsError::Differs);
                }
                rows.push(row);
            }
        }
        if frontier.size() != self.rows || frontier.root() != self.root {
            return Err(RowsError::Differs);
        }
        for row in rows {
            let salt = self.key.salt_row(row.index).0;
            take(ShownRow {
                proof: sieve
                    .proof(row.index)
                    .ok_or(RowsError::Missing(row.index))?,
                salt_row: Digest::from_bytes(salt),
                row,
            })?;
        }
        Ok(())
    }
}

/// Cuts a set of rows into sets of at most [`CHUNK`] rows.
fn chunks(chosen: &Ranges) -> Vec<Ranges> {
    let (mut all, mut now, mut room) = (Vec::new(), Vec::new(), CHUNK);
    for &(mut first, end) in chosen.as_slice() {
        while first < end {
            let until = end.min(first + room);
            now.push((first, until));
            room -= until - first;
            first = until;
            if room == 0 {
                all.push(Ranges::from_unsorted(std::mem::take(&mut now)));
                room = CHUNK;
            }
        }
    }
    if !now.is_empty() {
        all.push(Ranges::from_unsorted(now));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_all_rows_once_and_no_more_than_they_may() {
        let chosen =
            Ranges::from_unsorted(vec![(3, 5), (10, CHUNK * 2 + 100), (CHUNK * 4, CHUNK * 5)]);
        let cut = chunks(&chosen);
        assert!(cut.iter().all(|part| part.count() <= CHUNK));
        let again: Vec<_> = cut
            .iter()
            .flat_map(|part| part.as_slice().to_vec())
            .collect();
        assert_eq!(Ranges::from_unsorted(again), chosen);
        assert_eq!(cut.iter().map(Ranges::count).sum::<u64>(), chosen.count());
    }
}

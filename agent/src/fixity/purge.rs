//! Purging: what has left a hold is taken out of its second copy too, unless something that stays
//! has the same bytes.

use std::{collections::BTreeSet, fs::File, io};

use custody::{
    digest::Digest,
    manifest::{
        file::{ManifestError, Reader},
        row::Row,
    },
};

use super::{
    store::Store,
    worker::{Held, Worker},
};

/// Contents that are looked at in one pass over the manifest: memory does not grow with it.
const PASS: usize = 65_536;

impl Worker {
    /// Takes out of a copy what has left its hold since this was done last.
    pub(super) fn purge(&self, held: &mut Held, store: &Store) -> io::Result<()> {
        let left = self.house.keeper().count_left(held.state.target);
        let Some(copy) = held.state.copy.as_mut().filter(|copy| copy.left != left) else {
            return Ok(());
        };
        let (target, snapshot) = (held.state.target, held.state.snapshot);
        let manifest = self.house.evidence().manifest(&snapshot);
        let has_left = |row: &Row| self.house.keeper().has_left(target, &row.path);
        let (mut from, mut gone) = (0, 0_u64);
        loop {
            let mut leaving = BTreeSet::new();
            from = rows(&manifest, from, |index, row, sha256| {
                if has_left(row) {
                    leaving.insert(sha256);
                }
                (leaving.len() >= PASS).then_some(index + 1)
            })
            .map_err(io::Error::other)?
            .unwrap_or(u64::MAX);
            if !leaving.is_empty() {
                rows(&manifest, 0, |_, row, sha256| {
                    if !has_left(row) {
                        leaving.remove(&sha256);
                    }
                    None::<u64>
                })
                .map_err(io::Error::other)?;
            }
            for sha256 in &leaving {
                store.drop_content(&snapshot, sha256)?;
                gone += 1;
            }
            if from == u64::MAX {
                break;
            }
        }
        store.flush()?;
        copy.left = left;
        held.copies.clear();
        held.dirty = true;
        tracing::info!(%snapshot, gone, "what has left the hold is gone from its second copy");
        self.note(held, true)
    }
}

/// Gives all rows with content from one on, until an answer.
fn rows<T>(
    manifest: &std::path::Path,
    from: u64,
    mut take: impl FnMut(u64, &Row, Digest) -> Option<T>,
) -> Result<Option<T>, ManifestError> {
    let open = |error: io::Error| ManifestError::Parquet(error.to_string());
    let mut reader = Reader::open(File::open(manifest).map_err(open)?)?;
    reader.skip_to(from)?;
    for stored in reader {
        let stored = stored?;
        if let Some((row, sha256)) = stored.row.as_ref().and_then(|row| Some((row, row.sha256?)))
            && let Some(answer) = take(stored.index, row, sha256)
        {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

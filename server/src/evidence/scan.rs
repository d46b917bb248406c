//! Scans one manifest for what claims name: one pass for many claims, in constant memory.
//! Blocks: for worker threads only.

use std::{collections::HashSet, fs::File, path::Path};

use custody::{
    digest::Digest,
    house::{
        House, Openings,
        ranges::Ranges,
        scope::{self, Selector},
    },
    id::{AgentId, ClaimId},
    manifest::file::{ManifestError, Reader},
    statement::ClaimItem,
};

use crate::fleet::inventory::Inventory;

/// The absolute path of a manifest's row: the target's path and the row's.
pub(crate) fn full_path(target: &[u8], row: &[u8]) -> Vec<u8> {
    if row == b"." {
        return target.to_vec();
    }
    let mut path = target.strip_suffix(b"/").unwrap_or(target).to_vec();
    path.push(b'/');
    path.extend_from_slice(row);
    path
}

/// What a claim names on one server, as places and hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) claim: ClaimId,
    pub(crate) places: Vec<Vec<u8>>,
    pub(crate) hashes: HashSet<Digest>,
}

impl Wish {
    /// Reads what a claim names. What was erased matches nothing; what is not known yet is an
    /// error, so that nobody takes it for nothing.
    pub(crate) fn of(
        openings: &dyn Openings,
        inventory: &Inventory,
        agent: &AgentId,
        claim: ClaimId,
        items: &[ClaimItem],
    ) -> Result<Self, String> {
        let mut wish = Self {
            claim,
            places: Vec::new(),
            hashes: HashSet::new(),
        };
        for item in items
            .iter()
            .filter(|item| item.agent.is_none_or(|on| on == *agent))
        {
            let Some(value) = openings.open(&item.value) else {
                continue;
            };
            match item.selector {
                Selector::Path => wish.places.push(value),
                Selector::Account => {
                    let known = inventory.of(agent).ok_or_else(|| {
                        format!(
                            "where accounts lie on {agent} is not known; start its agent, which \
                             says it"
                        )
                    })?;
                    let account = String::from_utf8(value).unwrap_or_default();
                    wish.places.extend(known.places(&account));
                }
                Selector::Hash => {
                    let text = String::from_utf8(value).unwrap_or_default();
                    wish.hashes.extend(text.parse::<Digest>());
                }
                // A whole server is nobody's claim.
                Selector::Server => {}
            }
        }
        Ok(wish)
    }

    fn covers(&self, path: &[u8], sha256: Option<&Digest>) -> bool {
        self.places.iter().any(|place| scope::covers(place, path))
            || sha256.is_some_and(|hash| self.hashes.contains(hash))
    }
}

/// What one claim matches in one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    pub(crate) rows: Ranges,
    pub(crate) bytes: u64,
    pub(crate) excluded: u64,
    /// More ranges than a statement may carry: the rest was not gathered.
    pub(crate) too_many: bool,
}

/// Every hash that may not be released.
pub(crate) fn excluded(house: &House) -> HashSet<Digest> {
    let lists = house.lists.values().flat_map(|list| &list.hashes);
    lists.copied().collect()
}

/// Matches wishes against a manifest of a target at that path.
pub(crate) fn scan(
    manifest: &Path,
    target: &[u8],
    wishes: &[Wish],
    excluded: &HashSet<Digest>,
) -> Result<Vec<Hits>, ManifestError> {
    let file = File::open(manifest).map_err(|error| ManifestError::Parquet(error.to_string()))?;
    let mut hits = vec![Hits::default(); wishes.len()];
    for stored in Reader::open(file)? {
        let stored = stored?;
        // An erased row is nobody's any more.
        let Some(row) = stored.row else { continue };
        let path = full_path(target, &row.path);
        let kept_back = row.sha256.is_some_and(|hash| excluded.contains(&hash));
        for (wish, hits) in wishes.iter().zip(&mut hits) {
            if hits.too_many || !wish.covers(&path, row.sha256.as_ref()) {
                continue;
            }
            if kept_back {
                hits.excluded += 1;
                continue;
            }
            hits.rows.push(stored.index);
            hits.bytes += row.sha256.map_or(0, |_| row.size);
            hits.too_many = hits.rows.as_slice().len() > Ranges::MOST;
        }
    }
    Ok(hits)
}

/// Where files of these hashes lie, by one manifest of a target at that path.
pub(crate) fn places(
    manifest: &Path,
    target: &[u8],
    hashes: &HashSet<Digest>,
) -> Result<Vec<(Digest, Vec<u8>)>, ManifestError> {
    let file = File::open(manifest).map_err(|error| ManifestError::Parquet(error.to_string()))?;
    let mut found = Vec::new();
    for stored in Reader::open(file)? {
        let Some(row) = stored?.row else { continue };
        if let Some(hash) = row.sha256.filter(|hash| hashes.contains(hash)) {
            found.push((hash, full_path(target, &row.path)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::manifest::{
        file::Writer,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    };

    use super::*;

    fn manifest(paths: &[&str]) -> tempfile::NamedTempFile {
        let out = tempfile::NamedTempFile::new().unwrap();
        let key = SnapshotKey::from_random([1; 32]);
        let mut writer = Writer::new(out.reopen().unwrap(), &[]).unwrap();
        for (index, path) in paths.iter().enumerate() {
            let folder = !path.contains('.') || *path == ".";
            let row = Row {
                kind: if folder { Kind::Folder } else { Kind::File },
                size: 10,
                sha256: (!folder).then(|| Digest::of(path.as_bytes())),
                status: Status::Read,
                reason: None,
                ..Row::unknown(index as u64, path.as_bytes().to_vec(), "")
            };
            let leaf = leaf::leaf_hash(&row, &key.salt_row(index as u64));
            writer.push(row, leaf).unwrap();
        }
        writer.finish().unwrap();
        out
    }

    fn wish(places: &[&str], hashes: &[&str]) -> Wish {
        Wish {
            claim: ClaimId::from_random([1; 16]),
            places: places.iter().map(|p| p.as_bytes().to_vec()).collect(),
            hashes: hashes.iter().map(|h| Digest::of(h.as_bytes())).collect(),
        }
    }

    #[test]
    fn a_claim_matches_its_folder_and_hashes_and_no_namesake() {
        let file = manifest(&[
            ".",
            "alice",
            "alice/a.txt",
            "alice2",
            "alice2/b.txt",
            "c.txt",
        ]);
        let wishes = [
            wish(&["/srv/data/alice"], &[]),
            wish(&[], &["alice2/b.txt"]),
            wish(&["/srv"], &[]),
            wish(&["/srv/data/nobody"], &[]),
        ];
        let hits = scan(file.path(), b"/srv/data", &wishes, &HashSet::new()).unwrap();
        assert_eq!(hits[0].rows.as_slice(), [(1, 3)]);
        assert_eq!(hits[0].bytes, 10);
        assert_eq!(hits[1].rows.as_slice(), [(4, 5)]);
        assert_eq!(hits[2].rows.as_slice(), [(0, 6)]);
        assert!(hits[3].rows.is_empty());
    }

    #[test]
    fn what_is_on_an_exclusion_list_is_counted_and_kept_back() {
        let file = manifest(&[".", "a.txt", "b.txt", "c.txt"]);
        let listed = HashSet::from([Digest::of(b"b.txt")]);
        let hits = scan(file.path(), b"/d", &[wish(&["/d"], &[])], &listed).unwrap();
        assert_eq!(hits[0].rows.as_slice(), [(0, 2), (3, 4)]);
        assert_eq!((hits[0].excluded, hits[0].bytes), (1, 20));
    }
}

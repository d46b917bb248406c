//! A real manifest over files in memory.

use custody::{
    digest::Digest,
    house::ranges::Ranges,
    manifest::{
        file::Writer,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
};

/// A manifest over files in memory.
pub struct Manifest {
    pub key: SnapshotKey,
    pub rows: Vec<Row>,
    pub contents: Vec<Vec<u8>>,
    pub file: Vec<u8>,
    pub root: Digest,
}

impl Manifest {
    /// Row 0 is the folder itself; files follow.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let key = SnapshotKey::from_random([9; 32]);
        let plain = |index, path: &[u8]| Row {
            mode: 0o644,
            nlink: 1,
            status: Status::Read,
            reason: None,
            ..Row::unknown(index, path.to_vec(), "")
        };
        let mut rows = vec![Row {
            kind: Kind::Folder,
            mode: 0o755,
            ..plain(0, b".")
        }];
        let mut contents = vec![Vec::new()];
        for (index, (path, content)) in (1..).zip(files) {
            rows.push(Row {
                kind: Kind::File,
                size: content.len() as u64,
                sha256: Some(Digest::of(content)),
                ..plain(index, path.as_bytes())
            });
            contents.push(content.to_vec());
        }
        Self::from_rows(key, rows, contents)
    }

    pub fn from_rows(key: SnapshotKey, rows: Vec<Row>, contents: Vec<Vec<u8>>) -> Self {
        let mut writer = Writer::new(Vec::new(), &[]).unwrap();
        for row in &rows {
            let leaf = leaf::leaf_hash(row, &key.salt_row(row.index));
            writer.push(row.clone(), leaf).unwrap();
        }
        let (file, _, root) = writer.finish().unwrap();
        Self {
            key,
            rows,
            contents,
            file,
            root,
        }
    }

    /// All rows but the folder itself.
    pub fn released(&self) -> Ranges {
        Ranges::from_unsorted(vec![(1, self.rows.len() as u64)])
    }
}

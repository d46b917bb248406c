//! Reading a manifest in one pass, and checking it against the root that was signed.
//!
//! The file may come from a server that lies: whatever stands in it, reading ends with rows or
//! an error, in bounded memory.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
};

use parquet::{
    basic::Type,
    column::reader::ColumnReader,
    data_type::{ByteArray, FixedLenByteArray},
    file::reader::{FileReader, RowGroupReader, SerializedFileReader},
};

use super::{FORMAT, GROUP, ManifestError, SCHEMA, Stored, hostile};
use crate::{
    digest::Digest,
    ledger::tree::Frontier,
    manifest::{
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
};

/// The most bytes of names, links, attributes and reasons in one row group.
const GROUP_BYTES: usize = 32 << 20;

/// Reads stored rows in order, a row group at a time.
pub struct Reader {
    file: SerializedFileReader<File>,
    raw: File,
    group: usize,
    rows: std::vec::IntoIter<Stored>,
}

impl Reader {
    /// Opens a manifest and checks that it is one.
    pub fn open(file: File) -> Result<Self, ManifestError> {
        let failed = |error: std::io::Error| ManifestError::Parquet(error.to_string());
        let raw = file.try_clone().map_err(failed)?;
        hostile::check_footer(&raw)?;
        let file = unbroken(|| Ok(SerializedFileReader::new(file)?))?;
        let about = file.metadata().file_metadata();
        let format = about.key_value_metadata().and_then(|notes| {
            notes
                .iter()
                .find(|note| note.key == "holdfast.format")?
                .value
                .clone()
        });
        if format.as_deref() != Some(FORMAT) {
            return Err(ManifestError::Shape("it has another format or none"));
        }
        let expected = parquet::schema::parser::parse_message_type(SCHEMA)?;
        if about.schema() != &expected {
            return Err(ManifestError::Shape("its columns are others"));
        }
        let groups = file.metadata().row_groups().iter();
        let counts = groups.map(|group| usize::try_from(group.num_rows()));
        if counts
            .into_iter()
            .any(|rows| rows.map_or(true, |rows| rows > GROUP))
        {
            return Err(ManifestError::Shape("a row group is too large"));
        }
        Ok(Self {
            file,
            raw,
            group: 0,
            rows: Vec::new().into_iter(),
        })
    }

    /// How many rows the file says it has.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// A note of the file's metadata.
    pub fn about(&self, key: &str) -> Option<String> {
        let notes = self.file.metadata().file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.clone()
    }

    /// Passes over whole row groups before a row, unread, and then over the rows left before it.
    /// For whoever goes on in a long manifest; it leaves out nothing that was read already.
    pub fn skip_to(&mut self, row: u64) -> Result<(), ManifestError> {
        let metadata = self.file.metadata();
        let mut first = 0_u64;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let end = first + u64::try_from(group.num_rows()).unwrap_or(0);
            if end > row {
                break;
            }
            if self.group <= number && self.rows.as_slice().is_empty() {
                self.group = number + 1;
            }
            first = end;
        }
        loop {
            match self.rows.as_slice().first() {
                Some(stored) if stored.index >= row => return Ok(()),
                Some(_) => drop(self.rows.next()),
                None => {
                    if !self.next_group()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn next_group(&mut self) -> Result<bool, ManifestError> {
        if self.group == self.file.num_row_groups() {
            return Ok(false);
        }
        hostile::check_group(&self.raw, self.file.metadata().row_group(self.group))?;
        let rows = unbroken(|| read_group(self.file.get_row_group(self.group)?.as_ref()))?;
        self.group += 1;
        self.rows = rows.into_iter();
        Ok(true)
    }
}

impl Iterator for Reader {
    type Item = Result<Stored, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            match self.next_group() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.group = self.file.num_row_groups();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Runs Parquet's reader, which panics at some broken files; that is an error as any other.
fn unbroken<T>(read: impl FnOnce() -> Result<T, ManifestError>) -> Result<T, ManifestError> {
    let broken = |_| ManifestError::Parquet("its pages are broken".to_owned());
    catch_unwind(AssertUnwindSafe(read)).map_err(broken)?
}

/// The values of one column of a row group, `None` where absent.
struct Columns<'a> {
    group: &'a dyn RowGroupReader,
    count: usize,
    next: usize,
}

macro_rules! read_column {
    ($self:expr, $variant:ident, $value:ty) => {{
        let column = $self.group.get_column_reader($self.next)?;
        $self.next += 1;
        let ColumnReader::$variant(mut reader) = column else {
            return Err(ManifestError::Shape("a column has another type"));
        };
        let (mut values, mut levels): (Vec<$value>, Vec<i16>) = (Vec::new(), Vec::new());
        while levels.len() < $self.count {
            let left = $self.count - levels.len();
            let before = values.len();
            let (records, _, _) =
                reader.read_records(left, Some(&mut levels), None, &mut values)?;
            if records == 0 {
                return Err(ManifestError::Shape("a column is cut off"));
            }
            // A required column has no levels: every value is there.
            levels.resize(levels.len().max(before + records).max(values.len()), 1);
        }
        let mut values = values.into_iter();
        let rows = levels
            .into_iter()
            .map(|level| match level {
                0 => Ok(None),
                _ => values
                    .next()
                    .map(Some)
                    .ok_or(ManifestError::Shape("a value is missing")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(rows.into_iter())
    }};
}

impl Columns<'_> {
    fn longs(&mut self) -> Result<std::vec::IntoIter<Option<i64>>, ManifestError> {
        read_column!(self, Int64ColumnReader, i64)
    }
    fn ints(&mut self) -> Result<std::vec::IntoIter<Option<i32>>, ManifestError> {
        read_column!(self, Int32ColumnReader, i32)
    }
    fn arrays(&mut self) -> Result<std::vec::IntoIter<Option<ByteArray>>, ManifestError> {
        read_column!(self, ByteArrayColumnReader, ByteArray)
    }
    fn hashes(&mut self) -> Result<std::vec::IntoIter<Option<FixedLenByteArray>>, ManifestError> {
        read_column!(self, FixedLenByteArrayColumnReader, FixedLenByteArray)
    }
}

fn digest(value: &FixedLenByteArray) -> Result<Digest, ManifestError> {
    let bytes = value.data().try_into();
    bytes
        .map(Digest::from_bytes)
        .map_err(|_| ManifestError::Shape("a hash has not 32 bytes"))
}

fn read_group(group: &dyn RowGroupReader) -> Result<Vec<Stored>, ManifestError> {
    debug_assert_eq!(group.metadata().column(0).column_type(), Type::INT64);
    let count = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let mut columns = Columns {
        group,
        count,
        next: 0,
    };
    let mut index = columns.longs()?;
    let (mut path, mut kind) = (columns.arrays()?, columns.arrays()?);
    let (mut size, mut sha256) = (columns.longs()?, columns.hashes()?);
    let (mut mtime, mut ctime) = (columns.longs()?, columns.longs()?);
    let (mut mode, mut uid, mut gid) = (columns.ints()?, columns.ints()?, columns.ints()?);
    let (mut nlink, mut inode) = (columns.longs()?, columns.longs()?);
    let (mut target, mut xattrs) = (columns.arrays()?, columns.arrays()?);
    let mut holes = columns.longs()?;
    let (mut status, mut reason) = (columns.arrays()?, columns.arrays()?);
    let mut leaf = columns.hashes()?;

    let absent = ManifestError::Shape("a row is half erased");
    let (mut rows, mut room) = (Vec::with_capacity(count), GROUP_BYTES);
    for _ in 0..count {
        let (Some(at), Some(hash)) = (index.next().flatten(), leaf.next().flatten()) else {
            return Err(absent);
        };
        let at = at.cast_unsigned();
        let (path, kind, status) = (
            path.next().flatten(),
            kind.next().flatten(),
            status.next().flatten(),
        );
        let word = |value: Option<i64>| value.unwrap_or(0);
        let small = |value: Option<i32>| value.unwrap_or(0).cast_unsigned();
        let bytes = |value: Option<ByteArray>| value.map(|value| value.data().to_vec());
        let (size, sha256) = (word(size.next().flatten()), sha256.next().flatten());
        let (mtime_ns, ctime_ns) = (word(mtime.next().flatten()), word(ctime.next().flatten()));
        let mode = small(mode.next().flatten());
        let (uid, gid) = (small(uid.next().flatten()), small(gid.next().flatten()));
        let (nlink, inode) = (word(nlink.next().flatten()), word(inode.next().flatten()));
        let (target, xattrs) = (target.next().flatten(), xattrs.next().flatten());
        let holes = word(holes.next().flatten());
        let reason = reason.next().flatten();
        // One long value may be named by every row.
        let long = [&path, &target, &xattrs, &reason];
        let length: usize = long.into_iter().flatten().map(ByteArray::len).sum();
        room = room.checked_sub(length).ok_or(ManifestError::Shape(
            "the names and attributes of a row group are too long",
        ))?;
        let row = match (path, kind, status) {
            (Some(path), Some(kind), Some(status)) => Some(Row {
                index: at,
                path: path.data().to_vec(),
                kind: Kind::from_word(kind.data())
                    .ok_or(ManifestError::Shape("a kind is not understood"))?,
                size: size.cast_unsigned(),
                sha256: sha256.as_ref().map(digest).transpose()?,
                mtime_ns,
                ctime_ns,
                mode,
                uid,
                gid,
                nlink: nlink.cast_unsigned(),
                inode: inode.cast_unsigned(),
                target: bytes(target),
                xattrs: bytes(xattrs),
                holes: holes.cast_unsigned(),
                status: Status::from_word(status.data())
                    .ok_or(ManifestError::Shape("a status is not understood"))?,
                reason: reason.map(|r| String::from_utf8_lossy(r.data()).into_owned()),
            }),
            (None, None, None) => None,
            _ => return Err(absent),
        };
        rows.push(Stored {
            index: at,
            row,
            leaf: digest(&hash)?,
        });
    }
    Ok(rows)
}

/// What a whole manifest came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Rows.
    pub rows: u64,
    /// Rows of which only the leaf is left.
    pub erased: u64,
    /// Bytes of the files that were read.
    pub bytes: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// Whether each row was recomputed from its fields, with the salt key.
    pub recomputed: bool,
}

/// Checks a manifest against a root in one pass. With the snapshot's salt key every leaf is
/// recomputed from its row; without it the leaves alone are checked against the root.
pub fn check(
    reader: Reader,
    key: Option<&SnapshotKey>,
    expected: &Digest,
) -> Result<Checked, ManifestError> {
    let mut frontier = Frontier::new();
    let mut found = Checked {
        recomputed: key.is_some(),
        ..Checked::default()
    };
    for stored in reader {
        let stored = stored?;
        let at = frontier.size();
        if stored.index != at {
            return Err(ManifestError::Order {
                at,
                says: stored.index,
            });
        }
        match &stored.row {
            None => found.erased += 1,
            Some(row) => {
                let right =
                    key.is_none_or(|key| leaf::leaf_hash(row, &key.salt_row(at)) == stored.leaf);
                if !right {
                    return Err(ManifestError::Leaf(at));
                }
                found.unreadable += u64::from(row.status == Status::Unreadable);
                let size = row.sha256.map_or(0, |_| row.size);
                found.bytes = found.bytes.saturating_add(size);
            }
        }
        frontier.push(stored.leaf);
    }
    found.rows = frontier.size();
    let root = frontier.root();
    if root != *expected {
        return Err(ManifestError::Root {
            rows: found.rows,
            found: root,
            expected: *expected,
        });
    }
    Ok(found)
}

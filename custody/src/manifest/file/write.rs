//! Writing a manifest, a row group at a time.

use std::{io::Write, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{
        ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
    },
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};

use super::{FORMAT, GROUP, ManifestError, SCHEMA};
use crate::{digest::Digest, ledger::tree::Frontier, manifest::row::Row};

/// The most bytes of names, links and attributes that one row group gathers before it is written.
const GROUP_BYTES: usize = 8 << 20;

/// Writes rows in order and sums up their tree.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    group: Vec<(Row, Digest)>,
    group_bytes: usize,
    frontier: Frontier,
}

impl<W: Write + Send> Writer<W> {
    /// Begins a manifest. `about` is written as file metadata: snapshot id, tool and the like.
    pub fn new(out: W, about: &[(&str, String)]) -> Result<Self, ManifestError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut notes = vec![KeyValue::new(
            "holdfast.format".to_owned(),
            FORMAT.to_owned(),
        )];
        let about = about
            .iter()
            .map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
        notes.extend(about);
        let hashes = ColumnPath::from("sha256");
        let mut properties = WriterProperties::builder();
        // What differs in almost every row is in no dictionary: to look for it there is in vain.
        for column in ["index", "size", "mtime_ns", "ctime_ns", "inode"] {
            let column = ColumnPath::from(column);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        let properties = properties
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_column_compression(hashes.clone(), Compression::UNCOMPRESSED)
            .set_column_compression(ColumnPath::from("leaf"), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(hashes.clone(), false)
            .set_column_dictionary_enabled(ColumnPath::from("leaf"), false)
            .set_column_dictionary_enabled(ColumnPath::from("path"), false)
            .set_column_bloom_filter_enabled(hashes.clone(), true)
            .set_column_bloom_filter_max_ndv(hashes, GROUP as u64)
            .set_key_value_metadata(Some(notes))
            .set_created_by(concat!("holdfast ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self {
            file,
            group: Vec::new(),
            group_bytes: 0,
            frontier: Frontier::new(),
        })
    }

    /// Adds the next row with its leaf hash.
    pub fn push(&mut self, row: Row, leaf: Digest) -> Result<(), ManifestError> {
        let at = self.frontier.size();
        if row.index != at {
            return Err(ManifestError::Order {
                at,
                says: row.index,
            });
        }
        self.frontier.push(leaf);
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        self.group_bytes += row.path.len() + length(&row.target) + length(&row.xattrs);
        self.group.push((row, leaf));
        if self.group.len() >= GROUP || self.group_bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the file and gives back the output, the number of rows and the root.
    pub fn finish(mut self) -> Result<(W, u64, Digest), ManifestError> {
        self.flush()?;
        Ok((
            self.file.into_inner()?,
            self.frontier.size(),
            self.frontier.root(),
        ))
    }

    fn flush(&mut self) -> Result<(), ManifestError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        let mut group = self.file.next_row_group()?;
        let out = &mut group;
        let text = |word: &str| Some(ByteArray::from(word));
        let word = |word: &'static str| Some(ByteArray::from(Bytes::from_static(word.as_bytes())));
        let bytes = |value: &[u8]| Some(ByteArray::from(value.to_vec()));
        longs(
            out,
            true,
            rows.iter().map(|(r, _)| Some(r.index.cast_signed())),
        )?;
        arrays(out, rows.iter().map(|(r, _)| bytes(&r.path)))?;
        arrays(out, rows.iter().map(|(r, _)| word(r.kind.as_str())))?;
        longs(
            out,
            false,
            rows.iter().map(|(r, _)| Some(r.size.cast_signed())),
        )?;
        hashes(out, false, rows.iter().map(|(r, _)| r.sha256))?;
        longs(out, false, rows.iter().map(|(r, _)| Some(r.mtime_ns)))?;
        longs(out, false, rows.iter().map(|(r, _)| Some(r.ctime_ns)))?;
        ints(out, rows.iter().map(|(r, _)| r.mode))?;
        ints(out, rows.iter().map(|(r, _)| r.uid))?;
        ints(out, rows.iter().map(|(r, _)| r.gid))?;
        longs(
            out,
            false,
            rows.iter().map(|(r, _)| Some(r.nlink.cast_signed())),
        )?;
        longs(
            out,
            false,
            rows.iter().map(|(r, _)| Some(r.inode.cast_signed())),
        )?;
        arrays(
            out,
            rows.iter()
                .map(|(r, _)| r.target.as_deref().and_then(bytes)),
        )?;
        arrays(
            out,
            rows.iter()
                .map(|(r, _)| r.xattrs.as_deref().and_then(bytes)),
        )?;
        longs(
            out,
            false,
            rows.iter().map(|(r, _)| Some(r.holes.cast_signed())),
        )?;
        arrays(out, rows.iter().map(|(r, _)| word(r.status.as_str())))?;
        arrays(
            out,
            rows.iter().map(|(r, _)| r.reason.as_deref().and_then(text)),
        )?;
        hashes(out, true, rows.iter().map(|(_, leaf)| Some(*leaf)))?;
        group.close()?;
        Ok(())
    }
}

type Group<'a, W> = SerializedRowGroupWriter<'a, W>;

/// Splits optional values into those that are there and the levels that say which.
fn split<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let mut there = Vec::new();
    let levels = values
        .map(|value| match value {
            Some(value) => {
                there.push(value);
                1
            }
            None => 0,
        })
        .collect();
    (there, levels)
}

macro_rules! column {
    ($group:expr, $type:ty, $required:expr, $values:expr) => {{
        let (values, levels) = split($values);
        let levels = (!$required).then_some(levels);
        let missing = || ManifestError::Shape("a column is missing");
        let mut column = $group.next_column()?.ok_or_else(missing)?;
        column
            .typed::<$type>()
            .write_batch(&values, levels.as_deref(), None)?;
        column.close()?;
        Ok(())
    }};
}

fn longs<W: Write + Send>(
    group: &mut Group<'_, W>,
    required: bool,
    values: impl Iterator<Item = Option<i64>>,
) -> Result<(), ManifestError> {
    column!(group, Int64Type, required, values)
}

fn ints<W: Write + Send>(
    group: &mut Group<'_, W>,
    values: impl Iterator<Item = u32>,
) -> Result<(), ManifestError> {
    column!(
        group,
        Int32Type,
        false,
        values.map(|value| Some(value.cast_signed()))
    )
}

fn arrays<W: Write + Send>(
    group: &mut Group<'_, W>,
    values: impl Iterator<Item = Option<ByteArray>>,
) -> Result<(), ManifestError> {
    column!(group, ByteArrayType, false, values)
}

fn hashes<W: Write + Send>(
    group: &mut Group<'_, W>,
    required: bool,
    values: impl Iterator<Item = Option<Digest>>,
) -> Result<(), ManifestError> {
    let values = values.map(|hash| {
        hash.map(|hash| FixedLenByteArray::from(ByteArray::from(hash.as_bytes().to_vec())))
    });
    column!(group, FixedLenByteArrayType, required, values)
}

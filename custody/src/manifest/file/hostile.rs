//! Looks at a manifest's own words about itself before Parquet's reader believes them.
//!
//! A manifest comes from a server that may lie, and the reader takes sizes from the file: a
//! schema nested a million deep ends the process, a page of a few hundred bytes unfolds to
//! gigabytes. So the footer's schema and the header of every page are walked here first, in
//! their Thrift compact form, and refused beyond what a manifest needs. A field that is given
//! twice, or with another type, is refused too, so that nothing can be read in two ways.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::{GROUP, ManifestError};

/// The longest footer: some hundred million rows.
const FOOTER: u64 = 16 << 20;
/// The shortest that a row group is described: its columns alone take more.
const GROUP_FOOTER: u64 = 256;
/// Notes in the footer.
const NOTES: u64 = 1000;
/// Columns, with the root of the schema.
const NODES: i64 = 19;
/// The longest header of a page.
const HEADER: usize = 16 << 10;
/// What one column of a row group may unfold to.
const UNFOLDED: u64 = 32 << 20;
/// How deep structures may lie in each other.
const DEEP: u8 = 16;
/// Each value of this encoding repeats the one before it, so that pages multiply when read.
const DELTA_BYTE_ARRAY: i64 = 7;

const TOO_LARGE: ManifestError = ManifestError::Shape("a page would unfold to more than fits");
const BROKEN: ManifestError = ManifestError::Shape("its description of itself cannot be read");

/// Thrift's types, as the compact form numbers them.
const I32: u8 = 5;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Checks the footer: its length, and that its schema is no larger than a manifest's.
pub(super) fn check_footer(file: &File) -> Result<(), ManifestError> {
    let length = file.metadata().map_err(failed)?.len();
    let mut tail = [0; 8];
    let at = length.checked_sub(8).ok_or(BROKEN)?;
    file.read_exact_at(&mut tail, at).map_err(failed)?;
    let [a, b, c, d, ..] = tail;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > FOOTER {
        return Err(ManifestError::Shape("its footer is too long"));
    }
    let at = at.checked_sub(footer).ok_or(BROKEN)?;
    let mut bytes = vec![0; usize::try_from(footer).map_err(|_| BROKEN)?];
    file.read_exact_at(&mut bytes, at).map_err(failed)?;
    let mut walk = Walk(&bytes);
    walk.fields(|walk, id, kind| match id {
        2 => walk.schema(kind),
        4 => walk.at_most(kind, footer / GROUP_FOOTER),
        5 | 7 => walk.at_most(kind, NOTES),
        _ => walk.skip(kind, DEEP),
    })
}

/// Checks every page of a row group by its header.
pub(super) fn check_group(file: &File, group: &RowGroupMetaData) -> Result<(), ManifestError> {
    group
        .columns()
        .iter()
        .try_for_each(|column| check_column(file, column))
}

fn check_column(file: &File, column: &ColumnChunkMetaData) -> Result<(), ManifestError> {
    let first = column
        .dictionary_page_offset()
        .unwrap_or_else(|| column.data_page_offset());
    let mut at = u64::try_from(first).map_err(|_| BROKEN)?;
    let length = u64::try_from(column.compressed_size()).map_err(|_| BROKEN)?;
    let end = at.checked_add(length).ok_or(BROKEN)?;
    if end > file.metadata().map_err(failed)?.len() {
        return Err(BROKEN);
    }
    let (mut left, mut buffer) = (UNFOLDED, vec![0; HEADER]);
    while at < end {
        let most = usize::try_from(end - at).map_or(HEADER, |left| left.min(HEADER));
        let bytes = &mut buffer[..most];
        file.read_exact_at(bytes, at).map_err(failed)?;
        let mut walk = Walk(bytes);
        let page = walk.page()?;
        let header = (most - walk.0.len()) as u64;
        left = left
            .checked_sub(page.unfolded.max(page.stored))
            .ok_or(TOO_LARGE)?;
        at = at.checked_add(header + page.stored).ok_or(BROKEN)?;
    }
    if at == end { Ok(()) } else { Err(BROKEN) }
}

fn failed(error: io::Error) -> ManifestError {
    ManifestError::Parquet(error.to_string())
}

#[derive(Default)]
struct Page {
    unfolded: u64,
    stored: u64,
}

/// What is left of a Thrift structure.
struct Walk<'a>(&'a [u8]);

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, ManifestError> {
        let (first, rest) = self.0.split_first().ok_or(BROKEN)?;
        self.0 = rest;
        Ok(*first)
    }

    fn pass(&mut self, count: u64) -> Result<(), ManifestError> {
        let count = usize::try_from(count).map_err(|_| BROKEN)?;
        self.0 = self.0.get(count..).ok_or(BROKEN)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, ManifestError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BROKEN)
    }

    /// A whole number that must have been written as an `i32`.
    fn int(&mut self, kind: u8) -> Result<i64, ManifestError> {
        let value = self.varint()?;
        let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        match kind == I32 && i32::try_from(value).is_ok() {
            true => Ok(value),
            false => Err(BROKEN),
        }
    }

    /// Hands every field of a structure to `each`, which must take all of it. Ids must rise.
    fn fields(
        &mut self,
        mut each: impl FnMut(&mut Self, i16, u8) -> Result<(), ManifestError>,
    ) -> Result<(), ManifestError> {
        let mut last = 0_i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            let id = match head >> 4 {
                0 => {
                    let value = self.varint()?;
                    i16::try_from((value >> 1).cast_signed() ^ -(value & 1).cast_signed()).ok()
                }
                delta => last.checked_add(i16::from(delta)),
            };
            let id = id.filter(|id| *id > last).ok_or(BROKEN)?;
            each(self, id, kind)?;
            last = id;
        }
    }

    /// The kind and number of a list's elements.
    fn list(&mut self) -> Result<(u8, u64), ManifestError> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Ok((head & 0x0f, count))
    }

    fn skip(&mut self, kind: u8, deep: u8) -> Result<(), ManifestError> {
        let deeper = deep.checked_sub(1).ok_or(BROKEN)?;
        match kind {
            // A boolean field stands in its head.
            1 | 2 => Ok(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.pass(8),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | 10 => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    match kind {
                        // In a list it is a byte.
                        1 | 2 => self.pass(1)?,
                        kind => self.skip(kind, deeper)?,
                    }
                }
                Ok(())
            }
            STRUCT => self.fields(|walk, _, kind| walk.skip(kind, deeper)),
            // Maps and what is not known: nothing in a manifest has them.
            _ => Err(BROKEN),
        }
    }

    /// Passes over a list of at most so many elements.
    fn at_most(&mut self, kind: u8, most: u64) -> Result<(), ManifestError> {
        let count = match kind {
            LIST => Walk(self.0).list()?.1,
            _ => return Err(BROKEN),
        };
        if count > most {
            return Err(ManifestError::Shape("it says too much about itself"));
        }
        self.skip(kind, DEEP)
    }

    fn schema(&mut self, kind: u8) -> Result<(), ManifestError> {
        let (element, count) = match kind {
            LIST => self.list()?,
            _ => return Err(BROKEN),
        };
        let fits = |count: i64| (0..=NODES).contains(&count);
        if element != STRUCT || !i64::try_from(count).is_ok_and(fits) {
            return Err(ManifestError::Shape("its columns are others"));
        }
        for _ in 0..count {
            self.fields(|walk, id, kind| match id {
                // How many nodes lie below this one.
                5 if fits(walk.int(kind)?) => Ok(()),
                5 => Err(ManifestError::Shape("its columns are others")),
                _ => walk.skip(kind, DEEP),
            })?;
        }
        Ok(())
    }

    /// The header of a page.
    fn page(&mut self) -> Result<Page, ManifestError> {
        let mut page = Page::default();
        let size = |value: i64| u64::try_from(value).map_err(|_| BROKEN);
        self.fields(|walk, id, kind| {
            match id {
                2 => page.unfolded = size(walk.int(kind)?)?,
                3 => page.stored = size(walk.int(kind)?)?,
                // Values, and how they are written: the version 2 header has both further on.
                5 | 7 if kind == STRUCT => walk.values(2)?,
                8 if kind == STRUCT => walk.values(4)?,
                5 | 7 | 8 => return Err(BROKEN),
                _ => walk.skip(kind, DEEP)?,
            }
            Ok(())
        })?;
        Ok(page)
    }

    fn values(&mut self, encoding: i16) -> Result<(), ManifestError> {
        self.fields(|walk, id, kind| {
            if id == 1 {
                let count = usize::try_from(walk.int(kind)?).map_err(|_| BROKEN)?;
                return if count > GROUP {
                    Err(TOO_LARGE)
                } else {
                    Ok(())
                };
            }
            if id == encoding {
                return match walk.int(kind)? {
                    DELTA_BYTE_ARRAY => Err(TOO_LARGE),
                    _ => Ok(()),
                };
            }
            walk.skip(kind, DEEP)
        })
    }
}

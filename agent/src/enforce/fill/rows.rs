//! The rows of a vault: what hands give in no order, put in the order of the walk again, and what
//! was copied read a second time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
};

use custody::{
    digest::Digest,
    manifest::row::{Row, Status},
};

use crate::{
    capture::origins::{OriginsReader, OriginsWriter},
    durable,
    enforce::{
        copy::{self, Kept as How},
        job::Job,
        own::Cursor,
        trouble::{self, HoldTrouble},
    },
};

/// What a vault was filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Files kept as clones.
    pub cloned: u64,
    /// Files kept byte by byte.
    pub copied: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that would not hold still.
    pub changed: u64,
    /// Things that could not be read.
    pub unreadable: u64,
}

/// A file's row, and the digest of a copy.
pub(super) type Kept = (u64, Row, Option<How>);

/// The rows, put in the order of the walk again.
pub(super) struct Rows {
    origins: OriginsWriter,
    copies: Copies,
    pub(super) filled: Filled,
    /// Rows of which an earlier one is not there yet.
    waiting: BTreeMap<u64, (Row, Option<How>)>,
    next: u64,
}

impl Rows {
    pub(super) fn create(job: &Job<'_>) -> io::Result<Self> {
        Ok(Self {
            origins: OriginsWriter::create(&job.file("origins"))?,
            copies: Copies::new(job)?,
            filled: Filled::default(),
            waiting: BTreeMap::new(),
            next: 0,
        })
    }

    /// Rows that wait for an earlier one.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Puts the origins in their place.
    pub(super) fn finish(self) -> io::Result<(Filled, Copies)> {
        self.origins.finish()?;
        Ok((self.filled, self.copies))
    }

    pub(super) fn take_all(&mut self, kept: Vec<Kept>) -> Result<(), HoldTrouble> {
        let writing = trouble::own("the hold's origins cannot be written");
        let mut kept = kept.into_iter();
        kept.try_for_each(|(index, row, how)| self.take(index, row, how))
            .map_err(writing)
    }

    pub(super) fn take(&mut self, index: u64, row: Row, how: Option<How>) -> io::Result<()> {
        self.waiting.insert(index, (row, how));
        while let Some((row, how)) = self.waiting.remove(&self.next) {
            let filled = &mut self.filled;
            filled.unreadable += u64::from(row.status == Status::Unreadable);
            filled.changed += u64::from(row.status == Status::Changed);
            match how {
                Some(How::Cloned) => filled.cloned += 1,
                Some(How::Copied(digest)) => {
                    filled.copied += 1;
                    self.copies.push(self.next, &digest)?;
                }
                None => {}
            }
            filled.bytes += how.map_or(0, |_| row.size);
            self.origins.push(&row)?;
            self.next += 1;
        }
        Ok(())
    }
}

/// The digests of what was read for each copy, in the order of the rows, in a file without a name:
/// memory does not grow with the tree.
pub struct Copies(BufWriter<File>);

impl Copies {
    fn new(job: &Job<'_>) -> io::Result<Self> {
        let path = job.file("copies");
        let file = durable::create_aside(&path, 0o600)?;
        std::fs::remove_file(durable::aside(&path))?;
        Ok(Self(BufWriter::new(file)))
    }

    fn push(&mut self, index: u64, digest: &Digest) -> io::Result<()> {
        self.0.write_all(&index.to_be_bytes())?;
        self.0.write_all(digest.as_bytes())
    }

    fn read(self) -> io::Result<impl FnMut() -> io::Result<Option<(u64, Digest)>>> {
        let mut file = self
            .0
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        Ok(move || {
            let (mut index, mut digest) = ([0; 8], [0; 32]);
            match file.read_exact(&mut index) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            }
            file.read_exact(&mut digest)?;
            Ok(Some((
                u64::from_be_bytes(index),
                Digest::from_bytes(digest),
            )))
        })
    }
}

/// Reads every copied file again, after it was flushed, and compares it with what was read.
pub fn compare(job: &Job<'_>, tree: OwnedFd, copies: Copies) -> Result<(), HoldTrouble> {
    let reading = trouble::own("the hold's origins cannot be read");
    let mut next_copy = copies.read().map_err(&reading)?;
    let mut rows = OriginsReader::open(&job.file("origins")).map_err(&reading)?;
    let (mut cursor, mut differ) = (Cursor::new(tree), 0);
    while let Some((index, digest)) = next_copy().map_err(&reading)? {
        job.progress.step()?;
        let found = rows.find(|row| row.as_ref().map_or(true, |row| row.index == index));
        let row = found
            .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
            .map_err(&reading)?;
        let copy = cursor.open_file(&row.path);
        let again = copy.map(|copy| copy::read_again(copy) == Ok(digest));
        differ += u64::from(again != Ok(true));
    }
    if differ > 0 {
        return Err(HoldTrouble::BytesDiffer(differ));
    }
    Ok(())
}

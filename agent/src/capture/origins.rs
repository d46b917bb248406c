//! Origins: what the originals of a vault's copies looked like, in the order of the walk.
//!
//! A copy has an inode and times of its own; the evidence is about the original. So whoever
//! fills a vault writes one row a thing here, also for what cannot be copied (devices, pipes,
//! what could not be read), and the capture takes everything but content from it. One JSON
//! object a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use custody::manifest::row::Row;

use crate::durable;

/// The longest line that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Writes origins in order.
pub struct OriginsWriter {
    out: BufWriter<File>,
    path: std::path::PathBuf,
}

impl OriginsWriter {
    /// Begins the file; it stands in its place only once [`OriginsWriter::finish`] is called.
    pub fn create(path: &Path) -> io::Result<Self> {
        let out = BufWriter::new(durable::create_aside(path, 0o600)?);
        Ok(Self {
            out,
            path: path.to_owned(),
        })
    }

    /// Adds a row.
    pub fn push(&mut self, row: &Row) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, row)?;
        self.out.write_all(b"\n")
    }

    /// Flushes it and puts it in place.
    pub fn finish(self) -> io::Result<()> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        durable::publish(&file, &self.path)
    }
}

/// Reads origins in order.
pub struct OriginsReader(BufReader<File>);

impl OriginsReader {
    /// Opens the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }
}

impl Iterator for OriginsReader {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        let mut line = Vec::new();
        let limited = &mut io::Read::take(&mut self.0, LONGEST);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).map_err(io::Error::from)),
            Err(error) => Some(Err(error)),
        }
    }
}

//! Packing a release: read again, checked against the manifest, archived and encrypted.
//!
//! Every file is hashed before anything is written, and hashed again while it is packed: what
//! is in the parcel is what was sealed, or there is no parcel. Memory grows neither with the
//! files nor with their number. It trusts the sealed root and nothing on the way to it.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use custody::{digest::Digest, id::ReleaseId, manifest::disclosure::ShownRow, manifest::row::Row};
use serde::Serialize;

use super::{
    archive::{Archive, Shape, member, shape},
    encrypt,
    reread::{Base, Rehash, is_same, is_swapped},
    rows::{Part, RowsError},
};
use crate::{capture::hash::BUFFER, capture::seal::Progress, durable};

/// The version of this format.
const FORMAT: &str = "holdfast-parcel/1";
/// The most differing rows that are named.
const MOST_NAMED: usize = 16;

/// What is packed, and where the parcel goes.
pub struct Packing<'a> {
    /// The release.
    pub release: ReleaseId,
    /// The owner's public key.
    pub recipient: &'a str,
    /// What is released, in the order of the release, with where its bytes are.
    pub parts: &'a [(Part, Base)],
    /// Where the parcel is written.
    pub out: &'a Path,
    /// Asked after every read for the bytes that it gave; it may wait.
    pub pace: &'a dyn Fn(usize),
}

/// A parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the encrypted parcel.
    pub parcel: Digest,
    /// Its length.
    pub bytes: u64,
    /// Files inside.
    pub files: u64,
}

/// Why there is no parcel.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The owner's key is none that can be encrypted to.
    #[error("the owner's key is not an age public key")]
    Recipient,
    /// Files are not what the manifest says.
    #[error("{count} released files are not what the manifest says")]
    Differ {
        /// In which part the first one is.
        part: usize,
        /// How many, in that part.
        count: u64,
        /// Their leaves in the manifest, the first few.
        leaves: Vec<Digest>,
    },
    /// The rows could not be had from a manifest.
    #[error("part {part}: {error}")]
    Rows {
        /// Which part.
        part: usize,
        /// Why.
        error: RowsError,
    },
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was stopped.
    #[error("packing was stopped")]
    Stopped,
}

/// One line of `holdfast/rows.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    snapshot: String,
    root: Digest,
    rows: u64,
    member: std::borrow::Cow<'a, str>,
    shown: &'a ShownRow,
}

#[derive(Serialize)]
struct About {
    format: &'static str,
    release: ReleaseId,
    rows: u64,
}

/// Removes what was written aside, unless it was kept.
struct Aside(Option<PathBuf>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Packs a release. `settled` is called with what it came to before the parcel is put in its
/// place: once the parcel stands, its digest is known.
pub fn pack(
    what: &Packing<'_>,
    progress: &Progress,
    settled: impl FnOnce(&Packed) -> io::Result<()>,
) -> Result<Packed, PackError> {
    let owner = encrypt::recipient(what.recipient).ok_or(PackError::Recipient)?;
    let (rows_path, mut rows_file, rows) = write_rows(what, progress)?;
    let _rows_path = Aside(Some(rows_path));
    compare(what, progress)?;

    let file = durable::create_aside(what.out, 0o600)?;
    let mut part_name = what.out.as_os_str().to_owned();
    part_name.push(".part");
    let mut parcel_path = Aside(Some(part_name.into()));
    let mut archive = Archive::new(encrypt::begin(&owner, file)?);
    let about = serde_json::to_vec(&About {
        format: FORMAT,
        release: what.release,
        rows,
    });
    let about = about.map_err(io::Error::from)?;
    archive.own("holdfast/parcel.json", about.len() as u64, &about[..])?;
    let length = rows_file.seek(SeekFrom::End(0))?;
    rows_file.rewind()?;
    archive.own("holdfast/rows.jsonl", length, &rows_file)?;
    let files = write_files(what, &mut archive, progress)?;
    let (file, parcel, bytes) = encrypt::finish(archive.finish()?)?;
    file.sync_all()?;
    let packed = Packed {
        parcel,
        bytes,
        files,
    };
    settled(&packed)?;
    durable::publish(&file, what.out)?;
    parcel_path.0 = None;
    Ok(packed)
}

fn going_on(what: &Packing<'_>, progress: &Progress, bytes: u64) -> io::Result<()> {
    progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    if bytes > 0 {
        (what.pace)(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if progress.stop.load(Ordering::Relaxed) {
        return Err(io::Error::other(Stop));
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stop;

/// Tells being stopped from a disk that failed.
fn stopped(error: io::Error) -> PackError {
    let is_stop = error.get_ref().is_some_and(|inner| inner.is::<Stop>());
    if is_stop {
        PackError::Stopped
    } else {
        PackError::Io(error)
    }
}

/// Writes the rows with their proofs beside the parcel: their length must be known before
/// they go into the archive.
fn write_rows(what: &Packing<'_>, progress: &Progress) -> Result<(PathBuf, File, u64), PackError> {
    let mut path = what.out.as_os_str().to_owned();
    path.push(".rows");
    let path = PathBuf::from(path);
    let file = durable::create_aside(&path, 0o600)?;
    let mut name = path.into_os_string();
    name.push(".part");
    let mut kept = Aside(Some(PathBuf::from(&name)));
    let mut out = BufWriter::new(file);
    let mut rows = 0;
    for (at, (part, _)) in what.parts.iter().enumerate() {
        let shown = part.shown(|shown| {
            going_on(what, progress, 0)?;
            rows += 1;
            let line = Line {
                snapshot: part.snapshot.to_string(),
                root: part.root,
                rows: part.rows,
                member: String::from_utf8_lossy(&member(at, &shown.row.path))
                    .into_owned()
                    .into(),
                shown: &shown,
            };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")
        });
        shown.map_err(|error| match error {
            RowsError::Io(error) => stopped(error),
            error => PackError::Rows { part: at, error },
        })?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    kept.0 = None;
    Ok((name.into(), file, rows))
}

/// A trouble with one row, or with the manifest.
enum Trouble {
    Rows(RowsError),
    Io(io::Error),
}

impl From<RowsError> for Trouble {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trouble {
    fn of(self, part: usize) -> PackError {
        match self {
            Self::Io(error) | Self::Rows(RowsError::Io(error)) => stopped(error),
            Self::Rows(error) => PackError::Rows { part, error },
        }
    }
}

/// Hashes every released file and compares it with its row.
fn compare(what: &Packing<'_>, progress: &Progress) -> Result<(), PackError> {
    let mut buffer = vec![0; BUFFER];
    for (at, (part, base)) in what.parts.iter().enumerate() {
        let (mut count, mut leaves) = (0, Vec::new());
        let compared = part.each(|row: Row, leaf| -> Result<(), Trouble> {
            progress.rows.fetch_add(1, Ordering::Relaxed);
            let (Shape::File, Some(expected)) = (shape(&row), row.sha256) else {
                return Ok(going_on(what, progress, 0)?);
            };
            let mut seen = |bytes| going_on(what, progress, bytes);
            if !is_same(base, &row, &expected, &mut buffer, &mut seen)? {
                count += 1;
                if leaves.len() < MOST_NAMED {
                    leaves.push(leaf);
                }
            }
            Ok(())
        });
        compared.map_err(|trouble| trouble.of(at))?;
        if count > 0 {
            return Err(PackError::Differ {
                part: at,
                count,
                leaves,
            });
        }
    }
    Ok(())
}

/// Writes the members, hashing again what is written.
fn write_files<W: io::Write>(
    what: &Packing<'_>,
    archive: &mut Archive<W>,
    progress: &Progress,
) -> Result<u64, PackError> {
    let mut files = 0;
    for (at, (part, base)) in what.parts.iter().enumerate() {
        let mut differs = None;
        let written = part.each(|row: Row, leaf| -> Result<(), Trouble> {
            let (name, shape) = (member(at, &row.path), shape(&row));
            let (Shape::File, Some(expected)) = (shape, row.sha256) else {
                return Ok(archive.row(&name, &row, shape, io::empty())?);
            };
            let mut seen = |bytes| going_on(what, progress, bytes);
            let file = match base.content(&row) {
                Ok(file) => file,
                Err(errno) => {
                    differs = is_swapped(errno).then_some(leaf);
                    return Err(io::Error::from(errno).into());
                }
            };
            let mut reading = Rehash::new(file, row.size, &mut seen);
            archive.row(&name, &row, shape, &mut reading)?;
            if !reading.equals(&expected)? {
                differs = Some(leaf);
                return Err(io::Error::other("changed between two reads").into());
            }
            files += 1;
            Ok(())
        });
        match (written, differs) {
            (Ok(()), _) => {}
            (Err(_), Some(leaf)) => {
                return Err(PackError::Differ {
                    part: at,
                    count: 1,
                    leaves: vec![leaf],
                });
            }
            (Err(trouble), None) => return Err(trouble.of(at)),
        }
    }
    Ok(files)
}

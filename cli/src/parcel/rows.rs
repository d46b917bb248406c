//! The rows of a parcel: kept aside while it is opened, each proved to its snapshot's root.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek as _, Write as _},
};

use custody::{
    digest::Digest,
    id::SnapshotId,
    manifest::{
        disclosure::ShownRow,
        row::{Kind, Row},
    },
};

use super::OpenError;

/// The longest line that is read: the longest path and attributes, as numbers, fit.
const MOST_LINE: u64 = 16 << 20;

/// What a row is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A file with its bytes.
    File,
    /// A folder.
    Folder,
    /// A symlink that cannot lead out.
    Symlink,
    /// Nothing: it is only described.
    Listed,
}

/// Says what a row must be in the archive.
pub(super) fn shape(row: &Row) -> Shape {
    match (row.kind, row.sha256, row.target.as_deref()) {
        (Kind::File, Some(_), _) => Shape::File,
        (Kind::Folder, ..) => Shape::Folder,
        (Kind::Symlink, _, Some(target)) if stays_inside(&row.path, target) => Shape::Symlink,
        _ => Shape::Listed,
    }
}

/// Whether a symlink leads to a place inside: relative, with `..` only at its beginning and not
/// more of them than there are folders above it.
fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let above = path.split(|&b| b == b'/').count() - 1;
    let (mut ups, mut named) = (0, false);
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return false,
            b".." => ups += 1,
            _ => named = true,
        }
    }
    ups <= above
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    snapshot: SnapshotId,
    root: Digest,
    rows: u64,
    /// `files/<part>/<path>`; the path is lossy here and raw in the row.
    member: String,
    shown: ShownRow,
}

/// One row, and to which part of the release it belongs.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) part: u64,
    pub(super) shown: ShownRow,
}

impl Line {
    /// The name of its member, raw bytes.
    pub(super) fn name(&self) -> Vec<u8> {
        let mut name = format!("files/{}/", self.part).into_bytes();
        name.extend_from_slice(&self.shown.row.path);
        name
    }
}

/// `holdfast/rows.jsonl`, in a file without a name.
pub(super) struct RowsFile {
    file: BufReader<File>,
    parts: u64,
}

impl RowsFile {
    /// Copies the member aside.
    pub(super) fn spool(
        member: &mut impl Read,
        read: impl Fn(io::Error) -> OpenError,
    ) -> Result<Self, OpenError> {
        let folder = std::env::temp_dir();
        let world = |error: io::Error| OpenError::world("write to", &folder, &error);
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|e| OpenError::World(format!("No randomness: {e}.")))?;
        let path = folder.join(format!(".holdfast-rows-{}", hex::encode(name)));
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(world)?;
        std::fs::remove_file(&path).map_err(world)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match member.read(&mut buffer).map_err(&read)? {
                0 => break,
                length => file.write_all(&buffer[..length]).map_err(world)?,
            }
        }
        file.rewind().map_err(world)?;
        let file = BufReader::new(file);
        Ok(Self { file, parts: 0 })
    }

    fn wire(&mut self) -> Result<Option<Wire>, OpenError> {
        let mut line = Vec::new();
        let length = (&mut self.file)
            .take(MOST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| OpenError::World(format!("Cannot read the rows back: {error}.")))?;
        if length == 0 {
            return Ok(None);
        }
        let wire = serde_json::from_slice(&line).map_err(|error| {
            OpenError::DoesNotVerify(format!("A row of the parcel cannot be read: {error}."))
        })?;
        Ok(Some(wire))
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Line>, OpenError> {
        let Some(wire) = self.wire()? else {
            return Ok(None);
        };
        let part = part(&wire.member)?;
        let shown = wire.shown;
        Ok(Some(Line { part, shown }))
    }

    /// Proves every row to its root, sees that none comes twice, and rewinds.
    pub(super) fn check(&mut self, rows: u64, wrong: &mut Vec<String>) -> Result<(), OpenError> {
        let (mut count, mut before) = (0, None);
        let mut of_part: Option<(u64, SnapshotId, Digest, u64)> = None;
        while let Some(wire) = self.wire()? {
            let part = part(&wire.member)?;
            let here = (part, wire.shown.row.index);
            let name = String::from_utf8_lossy(&wire.shown.row.path).into_owned();
            if before.is_some_and(|before| before >= here) {
                wrong.push(format!("the row of `{name}` stands out of order"));
            }
            let about = (part, wire.snapshot, wire.root, wire.rows);
            if of_part.is_some_and(|last| last.0 == part && last != about) {
                wrong.push(format!("the row of `{name}` is of another snapshot"));
            }
            if let Err(error) = wire.shown.verify(wire.rows, &wire.root) {
                wrong.push(format!(
                    "the row of `{name}` is not in the snapshot: {error}"
                ));
            }
            (before, of_part) = (Some(here), Some(about));
            self.parts = self.parts.max(part + 1);
            count += 1;
        }
        if count != rows {
            wrong.push(format!("the parcel has {count} rows and says {rows}"));
        }
        self.file
            .rewind()
            .map_err(|error| OpenError::World(format!("Cannot read the rows back: {error}.")))
    }

    /// Of how many snapshots the rows are.
    pub(super) const fn parts(&self) -> u64 {
        self.parts
    }
}

fn part(member: &str) -> Result<u64, OpenError> {
    let number = member
        .strip_prefix("files/")
        .and_then(|rest| rest.split_once('/'));
    number
        .and_then(|(part, _)| part.parse().ok())
        .filter(|part| *part < 1 << 32)
        .ok_or_else(|| {
            OpenError::DoesNotVerify(format!("A row of the parcel has no place: `{member}`."))
        })
}

//! Captures a target in an object store: one row for every version that the target holds.
//!
//! Rows stand in the order of the list that was made when the hold was raised: by key, newest
//! first. The current version has the key's path, an older one the path with `?versionId=ID`; a
//! delete marker is a row that was not opened. What the store says of a version stands in the
//! row's attributes: nothing of a file's that an object does not have is made up, but its mode
//! (0600). Contents are read several at a time, hashed as they come and sealed in order; memory
//! is what is under way.

use std::{
    collections::BTreeMap,
    io::BufWriter,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use custody::{
    digest::Digest,
    id::SnapshotId,
    manifest::{
        file::Writer,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
};
use futures::{StreamExt as _, stream};
use hyper::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::{
    seal::{CaptureError, Progress, Sealed, digest_of},
    shared::Shared,
};
use crate::{
    durable,
    enforce::objects::{
        StoreTrouble,
        client::Client,
        list::{Held, Reader},
        name::{Ancestors, Name, Shape},
        reader::Content,
    },
};

/// Versions that are read at once.
const AT_ONCE: usize = 8;
/// Versions taken from the list together.
const BATCH: usize = 256;
/// What is read of a connection at a time, at most.
const PIECE: usize = 256 << 10;
/// What a version's answer says of it that is not in the list.
const HEADERS: [&str; 8] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
];

/// Where the versions of a held target are listed and read.
pub struct StoreSource {
    /// Asks the store.
    pub client: Arc<Client>,
    /// The target there.
    pub name: Name,
    /// The list of its versions.
    pub list: PathBuf,
    /// The list's SHA-256.
    pub digest: Option<Digest>,
    /// Whether it is the one object that the target names.
    pub single: bool,
}

/// What is to be captured, and where the manifest goes.
pub struct ObjectCapture<'a> {
    /// The target.
    pub source: &'a StoreSource,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its salt key.
    pub key: &'a SnapshotKey,
    /// Where the manifest is written.
    pub out: &'a Path,
}

/// Captures a target in a store, on a thread that may block.
pub fn capture_objects(
    what: &ObjectCapture<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Result<Sealed, CaptureError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(capture(what, shared, progress))
}

async fn capture(
    what: &ObjectCapture<'_>,
    shared: &Shared,
    progress: &Progress,
) -> Result<Sealed, CaptureError> {
    let source = what.source;
    let mut list = Reader::open(&source.list, source.digest)?;
    let file = durable::create_aside(what.out, 0o600)?;
    let about = [
        ("holdfast.snapshot", what.snapshot.to_string()),
        (
            "holdfast.tool",
            concat!("holdfast-agent ", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = Writer::new(out, &about)?;
    let (mut index, mut bytes, mut unreadable) = (0, 0, 0);
    let mut push = |mut row: Row| -> Result<(), CaptureError> {
        row.index = index;
        index += 1;
        bytes += row.sha256.map_or(0, |_| row.size);
        unreadable += u64::from(row.status == Status::Unreadable);
        progress.rows.fetch_add(1, Ordering::Relaxed);
        let leaf = leaf::leaf_hash(&row, &what.key.salt_row(row.index));
        Ok(writer.push(row, leaf)?)
    };
    let mut ancestors = Ancestors::default();
    if !source.single {
        push(folder(source, list.head.as_of_ns))?;
    }
    loop {
        let batch = list.some(BATCH)?;
        if batch.is_empty() {
            break;
        }
        let named: Vec<_> = batch
            .into_iter()
            .map(|held| (path(source, &held, &mut ancestors), held))
            .collect();
        let mut rows = stream::iter(named)
            .map(|(path, held)| row(source, path, held, shared, progress))
            .buffered(AT_ONCE);
        while let Some(row) = rows.next().await {
            push(row?)?;
        }
    }
    let (out, rows, root) = writer.finish()?;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    durable::publish(&file, what.out)?;
    let (manifest, manifest_bytes) = digest_of(what.out)?;
    Ok(Sealed {
        root,
        rows,
        bytes,
        unreadable,
        manifest,
        manifest_bytes,
    })
}

/// The target itself: what its rows' paths are relative to, and the moment of the hold.
fn folder(source: &StoreSource, as_of_ns: i64) -> Row {
    let config = &source.client.config;
    let about = [
        ("s3.bucket", config.bucket.as_bytes()),
        ("s3.endpoint", config.endpoint.as_bytes()),
        ("s3.prefix", source.name.below.as_bytes()),
    ];
    Row {
        kind: Kind::Folder,
        mtime_ns: as_of_ns,
        ctime_ns: as_of_ns,
        mode: 0o700,
        nlink: 1,
        xattrs: Some(attributes(about.map(|(n, v)| (n.to_owned(), v.to_owned())))),
        status: Status::Read,
        reason: None,
        ..Row::unknown(0, b".".to_vec(), "")
    }
}

/// The path of a version's row; versions come in the order of their keys.
fn path(source: &StoreSource, held: &Held, ancestors: &mut Ancestors) -> Vec<u8> {
    let shape = match source.single {
        true => Shape::Single,
        false if ancestors.has_one_of(&held.key) => Shape::BelowObject,
        false => Shape::Plain,
    };
    let path = source
        .name
        .row_path(&held.key, &held.id, held.current, shape);
    if held.current && !held.marker {
        ancestors.note(&held.key, &path);
    }
    path
}

/// Reads a version and makes its row. Trouble with one version is a row; trouble with the store
/// is the end.
async fn row(
    source: &StoreSource,
    path: Vec<u8>,
    held: Held,
    shared: &Shared,
    progress: &Progress,
) -> Result<Row, CaptureError> {
    let mut about = vec![
        ("s3.etag".to_owned(), held.etag.clone().into_bytes()),
        ("s3.key".to_owned(), held.key.clone().into_bytes()),
        (
            "s3.storage-class".to_owned(),
            held.class.clone().into_bytes(),
        ),
        ("s3.version-id".to_owned(), held.id.clone().into_bytes()),
    ];
    let mut row = Row {
        kind: Kind::File,
        size: held.size,
        mtime_ns: held.modified_ns,
        ctime_ns: held.modified_ns,
        mode: 0o600,
        nlink: 1,
        ..Row::unknown(0, path, "")
    };
    if held.marker {
        row.status = Status::NotOpened;
        row.reason = Some("delete-marker".to_owned());
        row.xattrs = Some(attributes(about));
        return Ok(row);
    }
    let size = held.size;
    let client = Arc::clone(&source.client);
    let mut content = Content::new(client, held.key, held.id, held.etag);
    let (mut hasher, mut length) = (Sha256::new(), 0_u64);
    loop {
        if progress.stop.load(Ordering::Relaxed) {
            return Err(CaptureError::Stopped);
        }
        let left = usize::try_from(size.saturating_sub(length)).unwrap_or(PIECE);
        shared.before_read(left.clamp(1, PIECE));
        match content.next().await {
            Ok(Some(piece)) => {
                hasher.update(&piece);
                length += piece.len() as u64;
                progress
                    .bytes
                    .fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            Ok(None) => break,
            Err(trouble) => {
                row.status = Status::Unreadable;
                row.reason = Some(reason(trouble)?);
                row.xattrs = Some(attributes(about));
                return Ok(row);
            }
        }
    }
    row.sha256 = Some(Digest::from_bytes(hasher.finalize().into()));
    (row.status, row.reason) = match length == size {
        true => (Status::Read, None),
        false => (Status::Changed, Some("size-differs".to_owned())),
    };
    row.size = length;
    about.extend(said(content.headers.as_ref()));
    row.xattrs = Some(attributes(about));
    Ok(row)
}

/// Why a version could not be read, in a word; trouble that is not its own ends the capture.
fn reason(trouble: StoreTrouble) -> Result<String, StoreTrouble> {
    match trouble {
        StoreTrouble::Gone => Ok("version-gone".to_owned()),
        StoreTrouble::Nonsense { .. } => Ok("version-differs".to_owned()),
        StoreTrouble::Denied { code, .. } => Ok(code),
        StoreTrouble::Answer { status, code, .. } if (400..500).contains(&status) => {
            Ok(if code.is_empty() {
                format!("http-{status}")
            } else {
                code
            })
        }
        trouble => Err(trouble),
    }
}

/// What the store said of a version beside its content.
fn said(headers: Option<&HeaderMap>) -> impl Iterator<Item = (String, Vec<u8>)> {
    let wanted = |name: &str| HEADERS.contains(&name) || name.starts_with("x-amz-meta-");
    headers
        .into_iter()
        .flatten()
        .filter_map(move |(name, value)| {
            let name = name.as_str();
            wanted(name).then(|| (format!("s3.header.{name}"), value.as_bytes().to_vec()))
        })
}

/// Attributes as a row has them.
fn attributes(all: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut coded = Vec::new();
    let mut put = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        coded.extend(length.to_be_bytes());
        coded.extend_from_slice(bytes);
    };
    for (name, value) in all.into_iter().collect::<BTreeMap<_, _>>() {
        put(name.as_bytes());
        put(&value);
    }
    coded
}

/// Which version a row is of: its key, its id and its mark. None where it is of no store.
pub fn version_of(row: &Row) -> Option<(String, String, String)> {
    let mut rest = row.xattrs.as_deref()?;
    let mut next = || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(value)
    };
    let mut found = BTreeMap::new();
    while let (Some(name), Some(value)) = (next(), next()) {
        found.insert(name, value);
    }
    let text = |name: &str| {
        let value = found.get(name.as_bytes())?;
        String::from_utf8(value.to_vec()).ok()
    };
    Some((text("s3.key")?, text("s3.version-id")?, text("s3.etag")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_version_again() {
        let all = [
            ("s3.version-id".to_owned(), b"3".to_vec()),
            ("s3.etag".to_owned(), b"\"e\"".to_vec()),
            ("s3.key".to_owned(), "a/ü".as_bytes().to_vec()),
        ];
        let mut row = Row::unknown(0, b"x".to_vec(), "");
        assert_eq!(version_of(&row), None);
        let coded = attributes(all);
        row.xattrs = Some(coded.clone());
        let version = ("a/ü".to_owned(), "3".to_owned(), "\"e\"".to_owned());
        assert_eq!(version_of(&row), Some(version));
        row.xattrs = Some(coded[..coded.len() - 1].to_vec());
        assert_eq!(version_of(&row), None);
    }
}

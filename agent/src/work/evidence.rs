//! What is kept of snapshots and parcels, beside the files themselves: a snapshot's salt key
//! from before its capture begins, so that a capture begun again is the same one; and what
//! they came to, so that nothing is hashed or packed twice after a crash.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::{
    commit::Opening,
    digest::Digest,
    id::{ReleaseId, SnapshotId, TargetId},
    manifest::leaf::SnapshotKey,
    statement::Body,
    time::Time,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{config::Place, durable};

/// A snapshot's own state.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFile {
    /// What it is taken of.
    pub target: TargetId,
    /// The salt key, hex.
    key: String,
    /// What blinds the commitment to it, hex.
    r: String,
    /// When reading began.
    pub began: Time,
    /// What it came to, once its manifest stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedFile>,
}

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// Root of the manifest's tree.
    pub root: Digest,
    /// Rows.
    pub rows: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// SHA-256 of the manifest file.
    pub manifest: Digest,
    /// Its length.
    pub manifest_bytes: u64,
    /// When it was sealed.
    pub ended: Time,
}

/// What a parcel came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParcelFile {
    /// SHA-256 of the encrypted parcel.
    pub parcel: Digest,
    /// Its length.
    pub bytes: u64,
    /// Files inside.
    pub files: u64,
}

impl SnapshotFile {
    /// Begins a snapshot with fresh random bytes for its key and for the commitment to it.
    pub fn new(target: TargetId, key: [u8; 32], r: [u8; 32], began: Time) -> Self {
        Self {
            target,
            key: hex::encode(key),
            r: hex::encode(r),
            began,
            sealed: None,
        }
    }

    /// The salt key.
    pub fn key(&self) -> io::Result<SnapshotKey> {
        Ok(SnapshotKey::from_random(bytes(&self.key)?))
    }

    /// What opens the commitment to the salt key.
    pub fn opening(&self) -> io::Result<Opening> {
        let value = bytes(&self.key)?;
        Ok(Opening::new("salt-key", value, bytes(&self.r)?))
    }
}

fn bytes(text: &str) -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The folders of evidence.
#[derive(Clone, Debug)]
pub struct Evidence {
    folder: PathBuf,
}

impl Evidence {
    /// Makes the folders where they are missing.
    pub fn open(place: &Place) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        for name in ["manifests", "snapshots", "parcels"] {
            let folder = place.0.join(name);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            durable::sync_folder(&folder)?;
        }
        Ok(Self {
            folder: place.0.clone(),
        })
    }

    /// Where a manifest stands.
    pub fn manifest(&self, snapshot: &SnapshotId) -> PathBuf {
        self.folder.join(format!("manifests/{snapshot}.parquet"))
    }

    /// Where a parcel stands.
    pub fn parcel(&self, release: &ReleaseId) -> PathBuf {
        self.folder.join(format!("parcels/{release}.tar.age"))
    }

    fn snapshot_file(&self, snapshot: &SnapshotId) -> PathBuf {
        self.folder.join(format!("snapshots/{snapshot}.json"))
    }

    fn parcel_file(&self, release: &ReleaseId) -> PathBuf {
        self.folder.join(format!("parcels/{release}.json"))
    }

    /// A snapshot's state, if it was begun.
    pub fn snapshot(&self, snapshot: &SnapshotId) -> io::Result<Option<SnapshotFile>> {
        load(&self.snapshot_file(snapshot))
    }

    /// Keeps a snapshot's state, for its owner only.
    pub fn keep_snapshot(&self, snapshot: &SnapshotId, state: &SnapshotFile) -> io::Result<()> {
        store(&self.snapshot_file(snapshot), state)
    }

    /// What a parcel came to, if the whole parcel stands.
    pub fn packed(&self, release: &ReleaseId) -> io::Result<Option<ParcelFile>> {
        let Some(packed) = load::<ParcelFile>(&self.parcel_file(release))? else {
            return Ok(None);
        };
        let length = fs::metadata(self.parcel(release)).map(|found| found.len());
        Ok(length.is_ok_and(|l| l == packed.bytes).then_some(packed))
    }

    /// Keeps what a parcel came to, before it is put in its place.
    pub fn keep_packed(&self, release: &ReleaseId, packed: &ParcelFile) -> io::Result<()> {
        store(&self.parcel_file(release), packed)
    }

    /// What opens the commitments of a statement, where that can be told from what is kept
    /// here: a coordinator that was restored from a backup needs it a second time.
    pub fn openings(&self, body: &Body) -> Vec<Opening> {
        let Body::SnapshotSealed(sealed) = body else {
            return Vec::new();
        };
        let state = self.snapshot(&sealed.snapshot).ok().flatten();
        state
            .and_then(|state| state.opening().ok())
            .into_iter()
            .collect()
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn store<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    durable::write(path, 0o600, &serde_json::to_vec(value)?)
}

//! Leaves: what the manifest's tree commits to, one field apart from another.
//!
//! With `K` 32 random bytes a snapshot: `salt_row = HMAC-SHA-256(K, index)`, `salt_f =
//! SHA-256(0x02 || f || salt_row)`, `c_f = SHA-256(0x03 || f || salt_f || value)` for the fields
//! path (1), content (2) and metadata (3), and the leaf is `0x01 || c_path || c_content ||
//! c_meta`. Showing a field discloses its own salt, which says nothing of the others.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::row::Row;
use crate::{digest::Digest, ledger::tree};

/// A field of a row that can be shown alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The path.
    Path,
    /// The SHA-256 of the content; empty where there is none.
    Content,
    /// Everything else, encoded by [`metadata`].
    Metadata,
}

impl Field {
    /// All three, in the order of the leaf.
    pub const ALL: [Field; 3] = [Field::Path, Field::Content, Field::Metadata];

    const fn code(self) -> u8 {
        match self {
            Field::Path => 1,
            Field::Content => 2,
            Field::Metadata => 3,
        }
    }
}

/// A snapshot's salt key. Who has it can guess at every row: it is kept in the openings.
#[derive(Clone)]
pub struct SnapshotKey {
    bytes: [u8; 32],
    /// Keyed once: a row's salt then costs two compressions instead of four.
    mac: Option<Hmac<Sha256>>,
}

impl SnapshotKey {
    /// Makes a key of 32 fresh random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        // HMAC takes a key of any length, so there always is one for 32 bytes.
        let mac = Hmac::<Sha256>::new_from_slice(&bytes).ok();
        Self { bytes, mac }
    }

    /// The bytes, for the openings store.
    pub const fn secret_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The salt of one row.
    pub fn salt_row(&self, index: u64) -> Salt {
        let Some(mut mac) = self.mac.clone() else {
            return Salt([0; 32]);
        };
        mac.update(&index.to_be_bytes());
        Salt(mac.finalize().into_bytes().into())
    }
}

impl std::fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotKey(not shown)")
    }
}

/// A salt of 32 bytes: of a row, or of one field of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(pub [u8; 32]);

impl Salt {
    /// From the salt of a row, the salt of one field.
    pub fn field(&self, field: Field) -> Salt {
        Salt(*Digest::of_parts(&[&[2, field.code()], &self.0]).as_bytes())
    }
}

/// The commitment to one field's value under that field's salt.
pub fn commit(field: Field, salt: &Salt, value: &[u8]) -> Digest {
    Digest::of_parts(&[&[3, field.code()], &salt.0, value])
}

/// The leaf hash (RFC 6962) of three commitments.
pub fn leaf_of(path: &Digest, content: &Digest, metadata: &Digest) -> Digest {
    let mut leaf = [1; 97];
    leaf[1..33].copy_from_slice(path.as_bytes());
    leaf[33..65].copy_from_slice(content.as_bytes());
    leaf[65..].copy_from_slice(metadata.as_bytes());
    tree::leaf_hash(&leaf)
}

/// The value of one field of a row.
pub fn value(field: Field, row: &Row) -> Vec<u8> {
    match field {
        Field::Path => row.path.clone(),
        Field::Content => row
            .sha256
            .map(|hash| hash.as_bytes().to_vec())
            .unwrap_or_default(),
        Field::Metadata => metadata(row),
    }
}

/// The metadata of a row as bytes, big-endian: kind u8, size u64, mtime_ns i64, ctime_ns i64,
/// mode u32, uid u32, gid u32, nlink u64, inode u64, holes u64, status u8, then target, xattrs
/// and reason, each 0x00 when absent, else 0x01, u32 length, bytes.
pub fn metadata(row: &Row) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.push(row.kind.code());
    out.extend_from_slice(&row.size.to_be_bytes());
    out.extend_from_slice(&row.mtime_ns.to_be_bytes());
    out.extend_from_slice(&row.ctime_ns.to_be_bytes());
    for word in [row.mode, row.uid, row.gid] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for word in [row.nlink, row.inode, row.holes] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.push(row.status.code());
    let reason = row.reason.as_ref().map(|reason| reason.as_bytes());
    for part in [row.target.as_deref(), row.xattrs.as_deref(), reason] {
        match part {
            None => out.push(0),
            Some(bytes) => {
                out.push(1);
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

/// The leaf hash of a row under its row salt.
pub fn leaf_hash(row: &Row, salt_row: &Salt) -> Digest {
    let content = row.sha256.as_ref().map_or(&[][..], |hash| hash.as_bytes());
    leaf_of(
        &commit(Field::Path, &salt_row.field(Field::Path), &row.path),
        &commit(Field::Content, &salt_row.field(Field::Content), content),
        &commit(
            Field::Metadata,
            &salt_row.field(Field::Metadata),
            &metadata(row),
        ),
    )
}

//! The manifest on disk: a Parquet file that any engine reads, written and read in a stream.
//!
//! Columns: `index, path, kind, size, sha256, mtime_ns, ctime_ns, mode, uid, gid, nlink, inode,
//! target, xattrs, holes, status, reason, leaf`. Everything but `index` and `leaf` may be
//! absent, so that a row can be erased while the root still recomputes. `sha256` carries
//! statistics and a Bloom filter. Rows are grouped by 32,768 at most: memory does not grow, and a
//! reader trusts no size that the file gives.

mod hostile;
mod read;
mod write;

pub use read::{Checked, Reader, check};
pub use write::Writer;

use crate::{digest::Digest, manifest::row::Row};

/// The version of this format, under the key `holdfast.format`.
pub const FORMAT: &str = "1";
/// Most rows in one row group.
pub const GROUP: usize = 32_768;

const SCHEMA: &str = "message manifest {
    required int64 index (INTEGER(64,false));
    optional binary path;
    optional binary kind (STRING);
    optional int64 size (INTEGER(64,false));
    optional fixed_len_byte_array(32) sha256;
    optional int64 mtime_ns;
    optional int64 ctime_ns;
    optional int32 mode (INTEGER(32,false));
    optional int32 uid (INTEGER(32,false));
    optional int32 gid (INTEGER(32,false));
    optional int64 nlink (INTEGER(64,false));
    optional int64 inode (INTEGER(64,false));
    optional binary target;
    optional binary xattrs;
    optional int64 holes (INTEGER(64,false));
    optional binary status (STRING);
    optional binary reason (STRING);
    required fixed_len_byte_array(32) leaf;
}";

/// A row as it is stored: with its leaf hash, and without its content once erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Position.
    pub index: u64,
    /// The row; `None` once erased.
    pub row: Option<Row>,
    /// Its leaf hash.
    pub leaf: Digest,
}

/// What can be wrong with a manifest file.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a Parquet file, or cut off, or written or read with trouble.
    #[error("the manifest cannot be read or written: {0}")]
    Parquet(String),
    /// Parquet, but not a manifest.
    #[error("not a manifest of format {FORMAT}: {0}")]
    Shape(&'static str),
    /// A row whose position is not its place.
    #[error("row {at} says that it is row {says}")]
    Order {
        /// Its place.
        at: u64,
        /// What it says.
        says: u64,
    },
    /// A row whose fields do not give its leaf.
    #[error("row {0} does not give its leaf: a field was changed")]
    Leaf(u64),
    /// The leaves do not give the root that was signed.
    #[error("the {rows} rows give root {found}, not {expected}")]
    Root {
        /// How many rows there are.
        rows: u64,
        /// The root they give.
        found: Digest,
        /// The root that was expected.
        expected: Digest,
    },
}

impl From<parquet::errors::ParquetError> for ManifestError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

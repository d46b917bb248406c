//! The ledger's formats: an RFC 6962 tree over entries, published as C2SP tlog-tiles.

pub mod chain;
pub mod checkpoint;
pub mod entry;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod tree;

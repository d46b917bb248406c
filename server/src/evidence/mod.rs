//! Evidence as files: manifests and parcels come in, are checked whole, are matched against
//! claims, and go out to who may have them.

pub mod deliver;
pub mod fetch;
pub mod matches;
pub mod matching;
pub mod receipt;
pub mod upload;

mod check;
mod scan;

pub(crate) use scan::places;

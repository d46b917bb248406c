//! The manifest: one row a file, one salted leaf a row, in a file that any engine reads.

pub mod disclosure;
pub mod file;
pub mod leaf;
pub mod row;

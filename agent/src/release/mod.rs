//! Release: the right bytes, packed and encrypted to the right person, on this host. The
//! coordinator sees ciphertext only.
//!
//! It reads held bytes through descriptors alone, and writes nothing into a customer's tree.

pub mod archive;
pub mod encrypt;
pub mod pack;
pub mod reread;
pub mod rows;

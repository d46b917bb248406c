//! Objects: holds what lies in an S3-compatible store, by its Object Lock.
//!
//! A bucket with versioning keeps every version of an object; a *legal hold* on a version keeps
//! the store from deleting it, whoever asks, until the hold is taken off. There is one such flag
//! a version, so the reasons are counted here: what every target holds stands in a list of its
//! own beside its record ([`list`]), on disk before the first flag is set, and a flag comes off
//! only when no other list names the version and it was not there before us.
//!
//! What is held is what existed when the hold was raised, by the store's own clock: every
//! version under the target, current or not. What is written later is not part of it.
//!
//! No kernel tells what happens in a store, so what was done to it is found by the next check.
//! Another agent that holds in the same bucket is somebody else: when it takes its holds off, ours
//! that leaned on them are missed until our next check. One store is one agent's.
//!
//! It never reads or writes outside a store's `prefix`, never deletes a customer's version, and
//! puts nothing into a bucket but the object on which it proves that the store enforces
//! ([`canary`]). It trusts the store to say truly what it has; what it does not trust is that a
//! flag which reads as set also protects.

pub mod bucket;
pub mod calls;
pub mod canary;
pub mod check;
pub mod client;
pub mod connect;
pub mod job;
pub mod list;
pub mod lower;
pub mod name;
mod narrow;
pub mod raise;
pub mod reader;
pub mod settings;
pub mod sign;
pub mod survey;
pub mod trouble;
pub mod xml;

pub use job::{ObjectJob, Objects};
pub use settings::StoreConfig;
pub use trouble::StoreTrouble;

//! Whole cases, from the order to the owner's file, looked at with tools that are not ours.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod lift;
mod narrow;
mod played;
mod strangers;
mod tree;
mod whole;

//! The law of the house, with no I/O, no async and no clock of its own.
//!
//! This is the crate an expert witness reads. Everything here is a pure function of its
//! arguments: time, randomness and keys are handed in. It trusts nothing that it is given
//! and never touches a file, a socket, the environment or a terminal.
//!
//! In the order data flows: a person or an agent writes a [`statement`], it is signed
//! ([`sign`]) into an [`ledger::entry`], the [`house`] decides and folds it, the [`ledger`]
//! makes it provable, and a [`manifest`] says what was held.

pub mod commit;
pub mod digest;
pub mod house;
pub mod id;
pub mod json;
pub mod ledger;
pub mod manifest;
pub mod sign;
pub mod statement;
pub mod time;
pub mod verify;

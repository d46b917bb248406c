//! The coordinator: takes signed statements, decides them, keeps them, publishes them.
//!
//! In the order data flows: [`identity`] says who is at the door, [`rpc`] adapts the wire, the
//! [`desk`] asks the law of the house and hands to the [`journal`], the [`ledger`] publishes what
//! was committed, the [`fleet`] is told, and [`evidence`] comes in and goes out as files.

pub mod app;
pub mod clock;
pub mod config;
pub mod crowd;
pub mod desk;
pub mod evidence;
pub mod files;
pub mod fleet;
pub mod identity;
pub mod init;
pub mod journal;
pub mod ledger;
pub mod replay;
pub mod rpc;
pub mod telemetry;

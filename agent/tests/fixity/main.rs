//! Fixity: what a disk has lost is found before it is needed, named by its place, and had from the
//! second copy where there is one.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/coordinator.rs"]
mod coordinator;
#[path = "../common/stage.rs"]
mod stage;

mod copies;
mod desk;
mod media;
mod rounds;
mod told;

//! Capture: reads a held tree once and seals its manifest.

mod content;
pub mod hash;
mod lane;
mod names;
pub mod objects;
pub mod origins;
pub mod place;
mod queue;
mod reader;
pub mod seal;
pub mod shared;
pub mod trouble;
pub mod walk;

//! Capture: reads a held tree once and seals its manifest.

pub mod hash;
mod names;
pub mod origins;
pub mod place;
mod queue;
pub mod seal;
pub mod shared;
pub mod trouble;
pub mod walk;

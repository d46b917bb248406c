//! Capture: reads a held tree once and seals its manifest.

pub mod hash;
pub mod origins;
mod queue;
pub mod seal;
pub mod walk;

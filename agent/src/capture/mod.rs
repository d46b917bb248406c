//! Capture: reads a held tree once and seals its manifest.

pub mod apart;
mod content;
mod footprint;
pub mod hash;
mod lane;
mod marks;
mod names;
pub mod objects;
pub mod origins;
mod parts;
pub mod place;
mod queue;
mod reader;
pub mod resume;
pub mod seal;
pub mod shared;
pub mod trouble;
pub mod walk;

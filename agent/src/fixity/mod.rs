//! Fixity: reads all that is held again, within a chosen number of days, and says what a disk
//! has lost.
pub mod plan;
pub mod portion;
pub mod read;
pub mod register;
pub mod settings;
pub mod state;
pub mod store;

//! The link: everything between this agent and its coordinator, over one outgoing connection.
//!
//! Statements go up as the journal has them, tasks come down. It decides nothing: what is
//! asked is handed to [`crate::work`]. Without it the agent goes on holding and recording.

pub mod answer;
pub mod dial;
pub mod enrol;
pub mod follow;
pub mod identity;
mod renew;
mod report;
pub mod upload;
mod welcome;

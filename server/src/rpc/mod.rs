//! The wire's adapters: one service a file. They parse at the door, ask who is calling and what
//! he may, hand on, and answer. No rule of the house is decided here.

pub mod may;
pub mod status;

mod caller;
mod desk;
mod enrolment;
mod evidence;
mod fleet;
mod ledger;
mod opened;
mod records;
mod session;
pub(crate) mod stream;

pub(crate) use caller::person;
pub use desk::DeskService;
pub use enrolment::EnrolmentService;
pub use evidence::EvidenceService;
pub use fleet::FleetService;
pub use ledger::LedgerService;
pub use records::RecordsService;
pub use session::SessionService;

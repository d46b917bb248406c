//! Identity: who is at the door. People by their SSH keys, agents by their certificates.

pub mod acceptor;
pub mod enrolment;
pub mod login;
pub mod pki;

mod rooms;

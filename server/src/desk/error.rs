//! What the desk answers when it does not say yes.

use custody::house::refusal::Refusal;

/// The world broke: nothing of what was asked was done, or it is not known to be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {next}.")]
pub struct Failure {
    /// One sentence, without its full stop: what happened.
    pub what: String,
    /// One sentence, without its full stop: the next step.
    pub next: &'static str,
    /// Whether the same call may succeed a little later with nobody doing anything.
    pub retry: bool,
}

impl Failure {
    /// Makes one that may pass by itself.
    pub fn passing(what: impl Into<String>, next: &'static str) -> Self {
        Self {
            what: what.into(),
            next,
            retry: true,
        }
    }

    /// Makes one that somebody must look at.
    pub fn lasting(what: impl Into<String>, next: &'static str) -> Self {
        Self {
            what: what.into(),
            next,
            retry: false,
        }
    }
}

/// Why the desk did not take a statement or answer a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The world broke.
    #[error(transparent)]
    Failed(#[from] Failure),
}

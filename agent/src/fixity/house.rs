//! What reading again needs of the agent around it.

use custody::id::TargetId;

use crate::{
    enforce::{Found, Keeper},
    journal::book::Book,
    work::{Context, evidence::Evidence, finding},
};

/// The agent around it.
pub trait House: Send + Sync {
    /// The journal.
    fn book(&self) -> &Book;

    /// What is held.
    fn keeper(&self) -> &Keeper;

    /// Manifests.
    fn evidence(&self) -> &Evidence;

    /// Whether a target is being let go, or will be soon: then it may change.
    fn is_leaving(&self, target: TargetId) -> bool;

    /// Says that something about a hold is not as it was.
    fn found(&self, target: TargetId, found: &Found);

    /// Asked before every read of at most so many bytes; may wait. False: stop.
    fn before_read(&self, bytes: usize, stop: &dyn Fn() -> bool) -> bool;
}

impl House for Context {
    fn book(&self) -> &Book {
        &self.book
    }

    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn is_leaving(&self, target: TargetId) -> bool {
        let about = target.to_string();
        ["lower", "narrow"]
            .iter()
            .any(|word| self.queue.has(word, &about))
    }

    fn found(&self, target: TargetId, found: &Found) {
        if let Err(error) = finding::say_found(self, target, found, false) {
            tracing::error!(%target, "a finding cannot be said: {error}");
        }
    }

    fn before_read(&self, bytes: usize, stop: &dyn Fn() -> bool) -> bool {
        self.guest.before_read(bytes, stop).is_ok()
    }
}

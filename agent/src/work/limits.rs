//! Limits that the coordinator sets: they count at once, and also after a restart without it.

use proto::v1::SetLimits;

use super::Context;
use crate::guest::kept;

impl Context {
    /// Takes limits on, unless newer ones were seen. Blocks: they are on disk when this returns.
    pub(super) fn set_limits(&self, wire: &SetLimits, position: u64) {
        let Some(limits) = kept::from_wire(wire) else {
            return tracing::warn!(position, "limits that cannot be meant are passed over");
        };
        match self.book.took(kept::ABOUT, position) {
            Ok(true) => {}
            Ok(false) => return tracing::info!(position, "passed over stale limits"),
            Err(error) => return tracing::error!(%error, "limits cannot be taken on"),
        }
        if self.guest.limits() != limits {
            tracing::info!(position, ?limits, "limits set");
            self.guest.set(limits);
        }
        // Also where they are the same: those of agent.toml may change.
        if let Err(error) = kept::keep(&self.place, &limits) {
            tracing::error!(%error, "limits count until the agent stops: they cannot be kept");
        }
    }
}

//! Gauges: how far a long job is, and the brake that stops it.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    capture::{seal, shared::Shared},
    enforce,
    guest::{Guest, Stopped},
};

/// How far one job is.
#[derive(Default)]
pub struct Gauge {
    guest: Option<Arc<Guest>>,
    /// Of raising, proving, checking and lowering.
    pub hold: enforce::Progress,
    /// Of capturing, packing and sending.
    pub read: seal::Progress,
}

impl Gauge {
    /// The gauge of a job that may read in bulk, as a guest of the host.
    pub fn of(guest: &Arc<Guest>) -> Self {
        Self {
            guest: Some(Arc::clone(guest)),
            ..Self::default()
        }
    }

    /// Asks the job to stop soon; begun again it goes on.
    pub fn stop(&self) {
        self.hold.stop.store(true, Ordering::Relaxed);
        self.read.stop.store(true, Ordering::Relaxed);
        if let Some(guest) = &self.guest {
            guest.wake();
        }
    }

    /// To be called before every read in bulk of at most so many bytes; waits while the host asks
    /// for that, and errs once the job is to stop.
    pub fn before_read(&self, bytes: usize) -> Result<(), Stopped> {
        match &self.guest {
            Some(guest) => guest.before_read(bytes, || self.is_stopped()),
            None if self.is_stopped() => Err(Stopped),
            None => Ok(()),
        }
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.read.stop.load(Ordering::Relaxed)
    }

    /// What the readers of a capture share, with this gauge asked before each read.
    pub fn shared(self: &Arc<Self>) -> Shared {
        let gauge = Arc::clone(self);
        let shared = Shared::asking(Box::new(move |bytes| {
            // Told to stop, the readers look for themselves.
            let _ = gauge.before_read(bytes);
        }));
        match self.guest.as_ref().is_some_and(|guest| guest.yields()) {
            true => shared.going_last(),
            false => shared,
        }
    }

    /// Things done, and bytes read.
    pub fn figures(&self) -> (u64, u64) {
        let held = self.hold.done.load(Ordering::Relaxed);
        let rows = self.read.rows.load(Ordering::Relaxed);
        (held + rows, self.read.bytes.load(Ordering::Relaxed))
    }

    /// Of these bytes, those that did not have to be read now.
    pub fn known(&self) -> u64 {
        self.read.known.load(Ordering::Relaxed)
    }
}

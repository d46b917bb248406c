//! Gauges: how far a long job is, and the brake that stops it.

use std::sync::atomic::Ordering;

use crate::{capture::seal, enforce};

/// How far one job is.
#[derive(Default)]
pub struct Gauge {
    /// Of raising, proving, checking and lowering.
    pub hold: enforce::Progress,
    /// Of capturing, packing and sending.
    pub read: seal::Progress,
}

impl Gauge {
    /// Asks the job to stop soon; begun again it goes on.
    pub fn stop(&self) {
        self.hold.stop.store(true, Ordering::Relaxed);
        self.read.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.read.stop.load(Ordering::Relaxed)
    }

    /// Things done, and bytes read.
    pub fn figures(&self) -> (u64, u64) {
        let held = self.hold.done.load(Ordering::Relaxed);
        let rows = self.read.rows.load(Ordering::Relaxed);
        (held + rows, self.read.bytes.load(Ordering::Relaxed))
    }
}

//! The edge: clocks and randomness, asked for here and nowhere else.
//!
//! Everything inside takes a [`Moment`] or random bytes as arguments, so that a test can
//! play the same day twice.

use std::{fs, io};

use custody::{digest::Digest, id::CommandId, time::Time};

/// What a statement takes from outside: when it is made, and its own random id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The statement's id.
    pub id: CommandId,
    /// The wall clock.
    pub time: Time,
    /// SHA-256 of the kernel's boot id.
    pub boot: Digest,
    /// The monotonic clock, in nanoseconds since that boot.
    pub monotonic_ns: u64,
}

/// Where clocks and randomness come from.
pub trait Edge: Send + Sync {
    /// A fresh moment.
    fn moment(&self) -> io::Result<Moment>;
    /// 32 fresh random bytes.
    fn random(&self) -> io::Result<[u8; 32]>;
}

/// The machine's own clocks and random numbers.
#[derive(Clone, Debug)]
pub struct Machine {
    boot: Digest,
}

impl Machine {
    /// Reads the boot id once: it cannot change under a running process.
    pub fn new() -> io::Result<Self> {
        let boot = fs::read("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            boot: Digest::of(boot.trim_ascii()),
        })
    }
}

impl Edge for Machine {
    fn moment(&self) -> io::Result<Moment> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(clock.tv_sec).unwrap_or(0);
        Ok(Moment {
            id: CommandId::from_random(id),
            time: now(),
            boot: self.boot,
            monotonic_ns: seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(u64::try_from(clock.tv_nsec).unwrap_or(0)),
        })
    }

    fn random(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// The wall clock.
pub fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

//! The gate: may the next read be made now, and if not, when? Pure: clocks are arguments.

use std::time::Duration;

use custody::house::limits::Limits;

use super::{
    budget::{Bucket, Cpu},
    pace::Pace,
};

/// How long whoever waits for a pause or for the hour to end sleeps at most; he is woken before.
const LONG: Duration = Duration::from_secs(5);

/// Why reading waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It was paused.
    Paused,
    /// It is not an hour in which it may read.
    Hours,
    /// The host has work of its own.
    HostBusy,
    /// It used up what it may use.
    Limited,
}

impl Waits {
    /// The word for it on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Hours => "hours",
            Self::HostBusy => "host-busy",
            Self::Limited => "limited",
        }
    }
}

/// What the clocks show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    /// A clock that never jumps.
    pub(super) now: Duration,
    /// CPU time that this process has used.
    pub(super) used: Duration,
    /// The minute of the day, UTC.
    pub(super) minute: u64,
}

/// What the gate answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Read.
    Go,
    /// Ask again after so long.
    Wait(Duration, Waits),
}

/// The gate.
pub(super) struct Gate {
    limits: Limits,
    cpu: Option<Cpu>,
    bytes: Option<Bucket>,
    reads: Option<Bucket>,
    /// How the host's own load slows reading.
    pub(super) pace: Pace,
}

impl Gate {
    pub(super) fn new(limits: Limits, clocks: &Clocks) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::new(rate, clocks.now));
        Self {
            limits,
            cpu: limits
                .cpu_percent
                .map(|percent| Cpu::new(percent, clocks.now, clocks.used)),
            bytes: bucket(limits.read_bytes),
            reads: bucket(limits.reads),
            pace: Pace::default(),
        }
    }

    /// Sets other limits; what the host's load asks for stays.
    pub(super) fn set(&mut self, limits: Limits, clocks: &Clocks) {
        let pace = self.pace;
        *self = Self::new(limits, clocks);
        self.pace = pace;
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether nothing at all holds a read back.
    pub(super) fn is_open(&self) -> bool {
        self.limits == Limits::default() && self.pace.is_full()
    }

    /// Whether reading is forbidden now, however little it would use.
    pub(super) const fn shut(&self, minute: u64) -> Option<Waits> {
        if self.limits.paused {
            Some(Waits::Paused)
        } else if !self.limits.allows_minute(minute) {
            Some(Waits::Hours)
        } else {
            None
        }
    }

    /// Asks for one read of so many bytes, or for work without a read where there are none; when it
    /// may be made it counts as made.
    pub(super) fn ask(&mut self, bytes: u64, clocks: &Clocks) -> Answer {
        if let Some(why) = self.shut(clocks.minute) {
            return Answer::Wait(LONG, why);
        }
        // Nothing is taken from any budget until all of them allow it.
        let waits = [
            self.cpu
                .as_mut()
                .and_then(|cpu| cpu.wait(clocks.now, clocks.used)),
            self.bytes
                .as_mut()
                .and_then(|bucket| bucket.wait(clocks.now)),
            self.reads
                .as_mut()
                .and_then(|bucket| bucket.wait(clocks.now)),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Answer::Wait(wait, Waits::Limited);
        }
        if let Some(wait) = self.pace.wait(clocks.now) {
            return Answer::Wait(wait, Waits::HostBusy);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
        if let Some(bucket) = &mut self.reads {
            bucket.take(u64::from(bytes > 0));
        }
        Answer::Go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, minute: u64) -> Clocks {
        Clocks {
            now: Duration::from_secs(seconds),
            used: Duration::ZERO,
            minute,
        }
    }

    #[test]
    fn a_pause_and_the_hours_stop_every_read_and_let_it_go_on() {
        let mut gate = Gate::new(Limits::default(), &at(0, 0));
        assert!(gate.is_open());
        assert_eq!(gate.ask(1, &at(1, 0)), Answer::Go);
        let paused = Limits {
            paused: true,
            ..Limits::default()
        };
        gate.set(paused, &at(1, 0));
        assert_eq!(gate.ask(1, &at(2, 0)), Answer::Wait(LONG, Waits::Paused));
        let night = Limits {
            from_minute: Some(22 * 60),
            until_minute: Some(6 * 60),
            ..Limits::default()
        };
        gate.set(night, &at(2, 0));
        // A whole day, minute by minute.
        let mut open = 0;
        for minute in 0..24 * 60 {
            match gate.ask(1, &at(60 * minute, minute)) {
                Answer::Go => open += 1,
                Answer::Wait(_, why) => assert_eq!(why, Waits::Hours),
            }
        }
        assert_eq!(open, 8 * 60);
        gate.set(Limits::default(), &at(3, 720));
        assert_eq!(gate.ask(1, &at(4, 720)), Answer::Go);
    }

    #[test]
    fn the_tightest_limit_decides_and_takes_nothing_from_the_others() {
        let limits = Limits {
            read_bytes: Some(100 << 20),
            reads: Some(10),
            ..Limits::default()
        };
        let mut gate = Gate::new(limits, &at(0, 0));
        let (mut now, mut reads) = (Duration::from_secs(10), 0);
        while now < Duration::from_secs(20) {
            let clocks = Clocks {
                now,
                ..Clocks::default()
            };
            match gate.ask(4096, &clocks) {
                Answer::Go => reads += 1,
                Answer::Wait(wait, why) => {
                    assert_eq!(why, Waits::Limited);
                    now += wait;
                }
            }
        }
        assert!((98..=103).contains(&reads), "{reads}");
    }

    #[test]
    fn new_limits_do_not_forget_that_the_host_is_busy() {
        let mut gate = Gate::new(Limits::default(), &at(0, 0));
        gate.pace.observe(90.0, 10);
        gate.set(Limits::default(), &at(1, 0));
        assert!(!gate.is_open());
    }
}

//! Budgets: how much of something may be used in a second. Pure: the time is an argument.
//!
//! A budget may be overdrawn, since what a read costs is known only after it: what was too much
//! is waited for before the next. Little is saved up, so that the host sees no bursts.

use std::time::Duration;

/// For how long a budget that nobody uses is saved up.
const SAVED: f64 = 0.1;
/// The longest wait that an overdraft can cause: what else the agent does (holding comes first, and
/// is not limited) does not stop its reading for longer.
const LONGEST: f64 = 30.0;
/// CPU time that is used up in one go, in seconds: many short rests would cost more themselves.
const SLICE: (f64, f64) = (0.001, 0.02);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.000_05, LONGEST))
}

/// A budget of things that are counted before they are used: bytes, reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: f64,
    left: f64,
    at: Duration,
}

impl Bucket {
    /// A budget of so many a second.
    pub(super) fn new(a_second: u64, now: Duration) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let rate = a_second.max(1) as f64;
        Self {
            rate,
            left: 0.0,
            at: now,
        }
    }

    /// How long to wait until something may be taken; `None`: now.
    pub(super) fn wait(&mut self, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = self
            .rate
            .mul_add(passed, self.left)
            .min((self.rate * SAVED).max(1.0));
        (self.left < 0.0).then(|| seconds(-self.left / self.rate))
    }

    /// Takes some.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn take(&mut self, amount: u64) {
        self.left -= amount as f64;
    }
}

/// A share of one core, as time: 0.2 is a fifth, 2.0 two cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    share: f64,
    left: f64,
    at: Duration,
    used: Duration,
    resting: bool,
}

impl Cpu {
    /// A share in percent of one core, from a moment at which so much had been used.
    pub(super) fn new(percent: u64, now: Duration, used: Duration) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let share = percent.max(1) as f64 / 100.0;
        Self {
            share,
            left: 0.0,
            at: now,
            used,
            resting: false,
        }
    }

    fn slice(&self) -> f64 {
        (self.share * SAVED).clamp(SLICE.0, SLICE.1)
    }

    /// How long to rest, given the CPU time that was used until now; `None`: not at all. Once it
    /// is overdrawn it rests until a slice is there again.
    pub(super) fn wait(&mut self, now: Duration, used: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let spent = used.saturating_sub(self.used).as_secs_f64();
        (self.at, self.used) = (self.at.max(now), self.used.max(used));
        let slice = self.slice();
        self.left = (self.share.mul_add(passed, self.left) - spent)
            .clamp(-self.share * LONGEST, 2.0 * slice);
        if self.left < 0.0 {
            self.resting = true;
        } else if self.left >= slice {
            self.resting = false;
        }
        self.resting
            .then(|| seconds((slice - self.left) / self.share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers on some cores that read in steps of CPU time, on a clock that only they move.
    fn simulate(percent: u64, cores: u32, step: Duration, run: Duration) -> Vec<f64> {
        let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
        let mut cpu = Cpu::new(percent, now, used);
        let (mut windows, mut window, mut before) = (Vec::new(), Duration::from_secs(5), used);
        while now < run {
            match cpu.wait(now, used) {
                // A sleep never ends early, and always a little late.
                Some(rest) => now += rest + Duration::from_micros(60),
                None => {
                    now += step;
                    used += step * cores;
                }
            }
            if now >= window {
                windows.push((used - before).as_secs_f64() / 5.0 * 100.0);
                before = used;
                window += Duration::from_secs(5);
            }
        }
        windows
    }

    #[test]
    fn a_share_is_kept_within_a_point_in_every_five_seconds_whatever_a_read_costs() {
        for percent in [1, 5, 20, 75, 150] {
            for step in [20, 150, 1_000, 8_000].map(Duration::from_micros) {
                let windows = simulate(percent, 2, step, Duration::from_secs(60));
                assert_eq!(windows.len(), 12, "a minute");
                for window in windows {
                    #[allow(clippy::cast_precision_loss)]
                    let off = (window - percent as f64).abs();
                    assert!(off < 1.0, "{percent} %: {window} with steps of {step:?}");
                }
            }
        }
    }

    #[test]
    fn what_others_used_is_waited_for_but_never_longer_than_half_a_minute() {
        let mut cpu = Cpu::new(20, Duration::ZERO, Duration::ZERO);
        // Two hours of holding on one core, in one second of reading's clock.
        let rest = cpu.wait(Duration::from_secs(1), Duration::from_secs(7200));
        assert!(rest.is_some_and(|rest| rest <= Duration::from_secs(30)));
        let used = Duration::from_secs(7200);
        assert_eq!(cpu.wait(Duration::from_secs(33), used), None);
    }

    #[test]
    fn bytes_and_reads_come_at_their_rate_and_are_not_saved_up() {
        let (mut now, mut taken) = (Duration::from_secs(1000), 0_u64);
        let mut bucket = Bucket::new(1_000_000, Duration::ZERO);
        let end = now + Duration::from_secs(10);
        while now < end {
            match bucket.wait(now) {
                Some(rest) => now += rest,
                None => {
                    bucket.take(262_144);
                    taken += 262_144;
                }
            }
        }
        // One read may be overdrawn, a tenth of a second is saved up.
        assert!((9_700_000..10_500_000).contains(&taken), "{taken}");
    }
}

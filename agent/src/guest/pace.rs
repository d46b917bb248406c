//! Pace: how much of the time reading goes on while the host has work of its own. Pure.
//!
//! It is halved each second in which others are held up, and comes back by small steps, as
//! senders on a shared network do: two guests on one host end with the same share.

use std::time::Duration;

/// The slowest: reading never starves, it only becomes slow.
const SLOWEST: f64 = 1.0 / 32.0;
/// What comes back a second.
const STEP: f64 = 1.0 / 16.0;
/// In each of these it reads for its share and rests for the rest.
const PERIOD: Duration = Duration::from_millis(100);

/// The pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace(f64);

impl Default for Pace {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Pace {
    /// Whether nothing holds it back.
    pub(super) fn is_full(&self) -> bool {
        self.0 >= 1.0
    }

    /// Takes in how much others were held up in the last second, in percent of the time.
    pub(super) fn observe(&mut self, pressure: f64, above: u64) {
        #[allow(clippy::cast_precision_loss)]
        let high = above > 0 && pressure > above as f64;
        self.0 = if high {
            (self.0 / 2.0).max(SLOWEST)
        } else {
            (self.0 + STEP).min(1.0)
        };
    }

    /// How long to rest at a moment; `None`: not at all.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        if self.is_full() {
            return None;
        }
        // In whole nanoseconds: a rest is never rounded to nothing.
        let nanos = now.as_nanos() % PERIOD.as_nanos();
        let within = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        (within >= PERIOD.mul_f64(self.0)).then(|| PERIOD - within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_while_others_are_held_up_and_comes_back_by_steps() {
        let mut pace = Pace::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            pace.observe(35.0, 10);
            seen.push(pace.0);
        }
        let least = 1.0 / 32.0;
        assert_eq!(seen, [0.5, 0.25, 0.125, 0.0625, least, least]);
        pace.observe(10.0, 10);
        assert_eq!(
            pace.0,
            least + 1.0 / 16.0,
            "the threshold itself is allowed"
        );
        for _ in 0..16 {
            pace.observe(0.0, 10);
        }
        assert!(pace.is_full());
    }

    #[test]
    fn with_nothing_to_yield_to_it_never_slows_down() {
        let mut pace = Pace::default();
        pace.observe(100.0, 0);
        assert!(pace.is_full());
        assert_eq!(pace.wait(Duration::from_millis(99)), None);
    }

    #[test]
    fn a_quarter_of_each_tenth_of_a_second_is_read_at_a_quarter() {
        let mut pace = Pace::default();
        pace.observe(50.0, 10);
        pace.observe(50.0, 10);
        let (mut reading, mut now) = (Duration::ZERO, Duration::ZERO);
        let end = Duration::from_secs(10);
        while now < end {
            match pace.wait(now) {
                Some(rest) => now += rest,
                None => {
                    now += Duration::from_micros(200);
                    reading += Duration::from_micros(200);
                }
            }
        }
        let share = reading.as_secs_f64() / 10.0;
        assert!((0.24..0.27).contains(&share), "{share}");
    }
}

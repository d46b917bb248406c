//! Rates: how fast something grows, smoothed, and what that leaves to wait for. Pure.

use std::time::Duration;

/// What was seen so long ago weighs about a third of what is seen now, in seconds.
const MEMORY: f64 = 10.0;

/// How fast a count grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    last: Option<(Duration, u64)>,
    sum: f64,
    weight: f64,
}

impl Rate {
    /// Takes in a count at a moment.
    pub(super) fn observe(&mut self, now: Duration, count: u64) {
        if let Some((then, before)) = self.last {
            let passed = now.saturating_sub(then).as_secs_f64();
            if passed <= 0.0 {
                return;
            }
            #[allow(clippy::cast_precision_loss)]
            let grown = count.saturating_sub(before) as f64;
            let kept = (-passed / MEMORY).exp();
            self.sum = self.sum.mul_add(kept, grown / passed * (1.0 - kept));
            // What is not known of before the beginning does not count as standing still.
            self.weight = self.weight.mul_add(kept, 1.0 - kept);
        }
        self.last = Some((now, count));
    }

    /// How much a second.
    pub(super) fn per_second(&self) -> f64 {
        if self.weight > 0.0 {
            self.sum / self.weight
        } else {
            0.0
        }
    }

    /// In how many seconds so much will be done; `None` where that cannot be said.
    pub(super) fn seconds_for(&self, left: u64) -> Option<u64> {
        let rate = self.per_second();
        if rate < 1e-3 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let seconds = (left as f64 / rate).ceil();
        // Ten years and more are no answer.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (seconds < 3e8).then_some(seconds as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_pace_is_told_exactly_from_the_second_look_on() {
        let mut rate = Rate::default();
        rate.observe(at(0), 500);
        assert_eq!(rate.seconds_for(10), None, "one look is no pace");
        for second in 1..20 {
            rate.observe(at(2 * second), 500 + 200 * second);
            assert!((rate.per_second() - 100.0).abs() < 1e-6);
        }
        assert_eq!(rate.seconds_for(1000), Some(10));
        assert_eq!(rate.seconds_for(0), Some(0));
    }

    #[test]
    fn a_new_pace_is_believed_within_half_a_minute_and_one_jump_is_not() {
        let mut rate = Rate::default();
        let mut count = 0;
        for second in 0..30 {
            count += 100;
            rate.observe(at(second), count);
        }
        count += 1000;
        rate.observe(at(30), count);
        assert!(rate.per_second() < 200.0, "{}", rate.per_second());
        for second in 31..61 {
            count += 10;
            rate.observe(at(second), count);
        }
        assert!((9.0..20.0).contains(&rate.per_second()));
        for second in 61..200 {
            rate.observe(at(second), count);
        }
        assert_eq!(rate.seconds_for(1), None, "it stands");
    }

    #[test]
    fn clocks_that_stand_and_counts_that_fall_do_no_harm() {
        let mut rate = Rate::default();
        rate.observe(at(5), 100);
        rate.observe(at(5), 200);
        rate.observe(at(4), 200);
        rate.observe(at(6), 50);
        assert_eq!(rate.per_second(), 0.0);
    }
}

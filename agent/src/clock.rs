//! The clock that others may set: whether it went on between two moments, or jumped.
//!
//! Statements carry the wall clock, and people read times there. The monotonic clock cannot be
//! set, so two moments of one boot tell how far the wall clock was moved by hand, by a broken
//! time source or by a restored machine. It says nothing about small corrections.

use jiff::SignedDuration;

use crate::edge::Moment;

/// What a time source may correct without being called a jump.
pub const JUMP: SignedDuration = SignedDuration::from_mins(5);

/// How far the wall clock was moved between two moments, forwards or (negative) backwards, where
/// that is [`JUMP`] or more.
///
/// Across a restart of the machine the monotonic clock begins again: then only a wall clock that
/// went back can be told from time that passed.
pub fn jump(before: &Moment, after: &Moment) -> Option<SignedDuration> {
    let wall = SignedDuration::from_millis(after.time.millis())
        .saturating_sub(SignedDuration::from_millis(before.time.millis()));
    let passed = if before.boot == after.boot {
        nanos(after.monotonic_ns).saturating_sub(nanos(before.monotonic_ns))
    } else {
        wall.max(SignedDuration::ZERO)
    };
    let moved = wall.saturating_sub(passed);
    (moved.abs() >= JUMP).then_some(moved)
}

fn nanos(nanoseconds: u64) -> SignedDuration {
    SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::{digest::Digest, id::CommandId, time::Time};

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn moment(boot: &[u8], wall_ms: i64, monotonic_ms: u64) -> Moment {
        Moment {
            id: CommandId::from_random([1; 16]),
            time: Time::from_millis(1_700_000_000_000 + wall_ms),
            boot: Digest::of(boot),
            monotonic_ns: monotonic_ms * 1_000_000,
        }
    }

    #[test]
    fn a_clock_that_goes_on_does_not_jump_however_long_it_goes() {
        let begin = moment(b"a", 0, 0);
        for (wall, monotonic) in [
            (0, 0),
            (HOUR * 720, 2_592_000_000),
            (HOUR, 3_600_000 + 299_000),
        ] {
            assert_eq!(jump(&begin, &moment(b"a", wall, monotonic)), None);
        }
    }

    #[test]
    fn a_clock_that_is_set_is_found_by_how_far_it_was_set() {
        let begin = moment(b"a", 0, 1_000);
        let forward = jump(&begin, &moment(b"a", 3 * HOUR, 2_000)).unwrap();
        assert_eq!(forward.as_millis(), i128::from(3 * HOUR - 1000));
        let back = jump(&begin, &moment(b"a", -3 * HOUR, 2_000)).unwrap();
        assert_eq!(back.as_millis(), i128::from(-3 * HOUR - 1000));
        assert!(jump(&begin, &moment(b"a", 301_000, 1_500)).is_some());
    }

    #[test]
    fn across_a_restart_only_a_clock_that_went_back_can_be_told() {
        let before = moment(b"a", 0, 900_000_000);
        assert_eq!(jump(&before, &moment(b"b", 5 * HOUR, 10)), None);
        assert_eq!(jump(&before, &moment(b"b", -60_000, 10)), None);
        let back = jump(&before, &moment(b"b", -5 * HOUR, 10)).unwrap();
        assert_eq!(back.as_hours(), -5);
    }
}

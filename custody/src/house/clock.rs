//! Clocks: when a duty ends, read both ways.
//!
//! Where a text can be read in two ways, the earlier end binds what the provider must *do*
//! and the later one how long it must *keep*; both are shown. The two readings here are
//! plain 24-hour arithmetic from the anchor, and the calendar reading in which the day of the
//! event is not counted, the last day counts whole in the zone of receipt, and the end may
//! roll to a working day (Regulation (EEC, Euratom) 1182/71, article 3).

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Units a clock counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Hours of 60 minutes.
    Hour,
    /// Calendar days.
    Day,
}

/// What happens to an end that falls on a weekend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Roll {
    /// It stays where it falls.
    None,
    /// It moves to the end of the next working day.
    WorkingDay,
}

/// A length of time as a text gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duration {
    /// How many.
    pub amount: u32,
    /// Of what.
    pub unit: Unit,
    /// The rule for weekends.
    pub roll: Roll,
}

/// The two readings of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Binds what the provider must do.
    pub earliest: Time,
    /// Binds how long the provider must keep.
    pub latest: Time,
}

/// Counts a duration from an anchor, in the zone (minutes east of UTC) of receipt.
pub fn ends(anchor: Time, zone_minutes: i32, duration: Duration) -> Ends {
    let amount = i64::from(duration.amount);
    match duration.unit {
        Unit::Hour => {
            let earliest = anchor + Span::hours(amount);
            // The hour of the event is not counted: up to one hour more.
            Ends {
                earliest,
                latest: earliest + Span::hours(1),
            }
        }
        Unit::Day => {
            let earliest = anchor + Span::days(amount);
            let mut latest = anchor.end_of_day(zone_minutes, amount);
            if duration.roll == Roll::WorkingDay {
                while latest.is_weekend(zone_minutes) {
                    latest = latest + Span::days(1);
                }
            }
            Ends { earliest, latest }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAYS_60: Duration = Duration {
        amount: 60,
        unit: Unit::Day,
        roll: Roll::WorkingDay,
    };

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    #[test]
    fn an_epoc_pr_served_late_at_night_in_dublin_counts_by_the_day_of_receipt() {
        // 18 August 2026, 23:50 in Dublin (UTC+1): the 60th day after is Saturday 17 October,
        // so keeping ends with Monday the 19th.
        let ends = ends(time("2026-08-18T22:50:00Z"), 60, DAYS_60);
        assert_eq!(ends.earliest, time("2026-10-17T22:50:00Z"));
        assert_eq!(ends.latest, time("2026-10-19T22:59:59.999Z"));
    }

    #[test]
    fn eight_hours_are_eight_hours() {
        let clock = Duration {
            amount: 8,
            unit: Unit::Hour,
            roll: Roll::None,
        };
        let ends = ends(time("2026-11-21T02:00:00Z"), 0, clock);
        assert_eq!(ends.earliest, time("2026-11-21T10:00:00Z"));
    }

    proptest! {
        #[test]
        fn keeping_never_ends_before_acting(
            anchor in 0_i64..4_000_000_000_000, zone in -720_i32..=840, amount in 0_u32..4000,
            hours: bool, rolls: bool,
        ) {
            let duration = Duration {
                amount,
                unit: if hours { Unit::Hour } else { Unit::Day },
                roll: if rolls { Roll::WorkingDay } else { Roll::None },
            };
            let ends = ends(Time::from_millis(anchor), zone, duration);
            prop_assert!(ends.earliest <= ends.latest);
            prop_assert!(ends.earliest >= Time::from_millis(anchor));
        }
    }
}

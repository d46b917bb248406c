//! Points in time: milliseconds since 1970 UTC, written as RFC 3339 with three decimals.

use std::{fmt, ops::Add, ops::Sub, str::FromStr};

use jiff::{Timestamp, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time to the millisecond, UTC. Custody never asks what time it is: it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// Makes a span of whole hours.
    pub const fn hours(hours: i64) -> Self {
        Self(hours * 3_600_000)
    }

    /// Makes a span of days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Self::hours(days * 24)
    }

    /// Makes a span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// The span in milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl Time {
    /// The first and last moments this type accepts: the years 1970 to 2999.
    const LAST: i64 = 32_503_679_999_999;

    /// Makes a time of milliseconds since 1970-01-01T00:00:00Z; out of range is clamped.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < 0 {
            Self(0)
        } else if millis > Self::LAST {
            Self(Self::LAST)
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn millis(self) -> i64 {
        self.0
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or_default()
    }

    /// The last millisecond of this moment's day at a fixed offset from UTC, so many days on.
    pub fn end_of_day(self, zone_minutes: i32, days_on: i64) -> Self {
        let local = self.0 + i64::from(zone_minutes) * 60_000;
        let midnight = (local.div_euclid(86_400_000) + days_on + 1) * 86_400_000;
        Self::from_millis(midnight - i64::from(zone_minutes) * 60_000 - 1)
    }

    /// Whether this moment lies on a Saturday or Sunday at a fixed offset from UTC.
    pub fn is_weekend(self, zone_minutes: i32) -> bool {
        use jiff::civil::Weekday::{Saturday, Sunday};
        let offset = Offset::from_seconds(zone_minutes * 60).unwrap_or(Offset::UTC);
        matches!(
            offset.to_datetime(self.timestamp()).weekday(),
            Saturday | Sunday
        )
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time::from_millis(self.0.saturating_add(span.0))
    }
}

impl Sub<Time> for Time {
    type Output = Span;
    fn sub(self, other: Time) -> Span {
        Span(self.0 - other.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.timestamp())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write it as RFC 3339, for example 2026-08-18T09:30:00Z")]
pub struct NotATime(pub String);

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let wrong = || NotATime(text.to_owned());
        let millis = text
            .parse::<Timestamp>()
            .map_err(|_| wrong())?
            .as_millisecond();
        if !(0..=Self::LAST).contains(&millis) {
            return Err(wrong());
        }
        Ok(Self(millis))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_millisecond_and_read_back() {
        let time: Time = "2026-08-18T09:30:00Z".parse().expect("a time");
        assert_eq!(time.to_string(), "2026-08-18T09:30:00.000Z");
        assert_eq!(time.to_string().parse(), Ok(time));
        assert!("yesterday".parse::<Time>().is_err());
        assert!("1912-01-01T00:00:00Z".parse::<Time>().is_err());
    }

    #[test]
    fn a_day_ends_at_local_midnight() {
        let late: Time = "2026-08-18T22:50:00Z".parse().expect("a time");
        assert_eq!(
            late.end_of_day(60, 0).to_string(),
            "2026-08-18T22:59:59.999Z"
        );
        assert_eq!(
            late.end_of_day(120, 0).to_string(),
            "2026-08-19T21:59:59.999Z"
        );
    }
}

//! Words that people type for times, zones and lengths of time.

use std::str::FromStr;

use custody::time::{Span, Time};
use jiff::{civil::DateTime, tz::Offset};

/// Minutes east of UTC, as `+02:00` or `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(pub i32);

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a zone: write it as +02:00, -05:00 or Z");
        if matches!(text, "Z" | "z" | "UTC") {
            return Ok(Self(0));
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
        let number = |digits: &str| match digits.len() {
            2 => digits.parse::<i32>().ok().filter(|n| *n >= 0),
            _ => None,
        };
        let hours = number(hours).filter(|n| *n <= 14).ok_or_else(wrong)?;
        let minutes = number(minutes).filter(|n| *n < 60).ok_or_else(wrong)?;
        Ok(Self(sign * (hours * 60 + minutes)))
    }
}

/// A moment: RFC 3339, `now`, or a date and time read in the zone that is given beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The moment at which the command runs.
    Now,
    /// A moment with its own zone, and that zone.
    At(Time, Zone),
    /// What a clock on the wall showed.
    Wall(DateTime),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Ok(time) = text.parse::<Time>() {
            // RFC 3339 ends with its zone: Z or six characters.
            let zone = match text.ends_with(['Z', 'z']) {
                true => Ok(Zone(0)),
                false => text
                    .get(text.len().saturating_sub(6)..)
                    .unwrap_or("")
                    .parse(),
            };
            return Ok(Self::At(time, zone.unwrap_or(Zone(0))));
        }
        text.parse().map(Self::Wall).map_err(|_| {
            format!(
                "`{text}` is not a time: write it as 2026-08-18T09:30:00Z, \
                 2026-08-18T11:30+02:00, or 2026-08-18T11:30 with --zone +02:00; or now"
            )
        })
    }
}

impl When {
    /// The zone it names itself.
    pub const fn zone(&self) -> Option<Zone> {
        match self {
            Self::At(_, zone) => Some(*zone),
            Self::Now | Self::Wall(_) => None,
        }
    }

    /// The moment, read in a zone.
    pub fn in_zone(&self, zone: Zone, now: Time) -> Result<Time, String> {
        match self {
            Self::Now => Ok(now),
            Self::At(time, _) => Ok(*time),
            Self::Wall(wall) => {
                let offset = Offset::from_seconds(zone.0 * 60).map_err(|e| e.to_string())?;
                let timestamp = offset.to_timestamp(*wall).map_err(|e| e.to_string())?;
                timestamp
                    .to_string()
                    .parse()
                    .map_err(|error: custody::time::NotATime| error.to_string())
            }
        }
    }
}

/// A length of time such as `90s`, `15m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting(pub Span);

impl FromStr for Lasting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time: write it as 90s, 15m, 24h or 7d");
        let (digits, unit) = match text.char_indices().last() {
            Some((at, _)) => text.split_at(at),
            None => return Err(wrong()),
        };
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let number: u32 = digits.parse().map_err(|_| wrong())?;
        if number == 0 || i64::from(number) * seconds > 3_650 * 86_400 {
            return Err(wrong());
        }
        Ok(Self(Span::seconds(i64::from(number) * seconds)))
    }
}

impl Lasting {
    /// The same as the standard library's type.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.millis().unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_zone_is_minutes_east_of_utc() {
        assert_eq!("+02:00".parse(), Ok(Zone(120)));
        assert_eq!("-05:30".parse(), Ok(Zone(-330)));
        assert_eq!("+02".parse(), Ok(Zone(120)));
        for text in ["2", "+2", "+15:00", "+02:60", "CET", "", "+-1:00"] {
            assert!(text.parse::<Zone>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_wall_clock_showed_is_read_in_the_zone_of_receipt() {
        let wall: When = "2026-08-18T23:50".parse().unwrap();
        let time = wall.in_zone(Zone(60), Time::default()).unwrap();
        assert_eq!(time.to_string(), "2026-08-18T22:50:00.000Z");
        let own: When = "2026-08-18T23:50:00+01:00".parse().unwrap();
        assert_eq!(own, When::At(time, Zone(60)));
        assert!("soon".parse::<When>().is_err());
    }

    #[test]
    fn a_length_of_time_has_one_unit() {
        assert_eq!("24h".parse(), Ok(Lasting(Span::hours(24))));
        assert_eq!("7d".parse(), Ok(Lasting(Span::days(7))));
        for text in ["", "d", "7", "0d", "7w", "-1d", "1.5h", "99999999999d"] {
            assert!(text.parse::<Lasting>().is_err(), "{text}");
        }
    }
}

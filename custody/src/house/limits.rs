//! Limits: what an agent may take of its host while it reads.
//!
//! Holding is never limited: only capture, fixity, copying and packing are.

use serde::{Deserialize, Serialize};

use super::refusal::{Refusal, invalid};

/// Minutes in a day.
pub const DAY: u64 = 24 * 60;

/// What reading may cost the host. A field that is absent sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// CPU time, percent of one core: 20 is a fifth of a core, 200 two cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Reads in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u64>,
    /// Minute of the day, UTC, from which reading may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_minute: Option<u64>,
    /// Minute of the day, UTC, at which it stops; before `from_minute` it is that of the next day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_minute: Option<u64>,
    /// Nothing is read until this is taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl Limits {
    /// Whether these limits can be meant: nothing is limited to nothing, save by a pause.
    pub fn check(&self) -> Result<(), Refusal> {
        let sound = |value: Option<u64>, most: u64| value.is_none_or(|v| (1..=most).contains(&v));
        let minutes = [self.from_minute, self.until_minute];
        let hours = minutes.iter().flatten().all(|minute| *minute < DAY)
            && self.from_minute.is_some() == self.until_minute.is_some()
            && (self.from_minute.is_none() || self.from_minute != self.until_minute);
        if sound(self.cpu_percent, 100_000)
            && sound(self.read_bytes, 1 << 50)
            && sound(self.reads, 1_000_000_000)
            && hours
        {
            return Ok(());
        }
        Err(invalid(
            "agent.limits",
            "A limit is at least 1, and hours are two different minutes of the day",
            "Leave a limit out to set none, or pause the agent",
        ))
    }

    /// Whether the hours allow reading at a minute of the day, UTC.
    pub const fn allows_minute(&self, minute: u64) -> bool {
        match (self.from_minute, self.until_minute) {
            (Some(from), Some(until)) if from < until => from <= minute && minute < until,
            (Some(from), Some(until)) => minute >= from || minute < until,
            _ => true,
        }
    }
}

/// Reads hours as people write them, `22:00-06:00`, as minutes of the day.
pub fn hours(text: &str) -> Option<(u64, u64)> {
    let minute = |time: &str| {
        let (hour, minute) = time.split_once(':')?;
        let number = |digits: &str, below: u64| {
            let plain = digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
            let number: u64 = digits.parse().ok()?;
            (plain && number < below).then_some(number)
        };
        Some(number(hour, 24)? * 60 + number(minute, 60)?)
    };
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minute(from.trim())?, minute(until.trim())?);
    (from != until).then_some((from, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_as_people_write_them() {
        assert_eq!(super::hours("22:00-06:00"), Some((1320, 360)));
        assert_eq!(super::hours("0:05 - 9:30"), Some((5, 570)));
        for text in [
            "22-6",
            "24:00-6:00",
            "1:60-2:00",
            "6:00-6:00",
            "+1:00-2:00",
            "",
            "1:00",
        ] {
            assert_eq!(super::hours(text), None, "{text}");
        }
    }

    fn hours(from: u64, until: u64) -> Limits {
        Limits {
            from_minute: Some(from),
            until_minute: Some(until),
            ..Limits::default()
        }
    }

    #[test]
    fn hours_may_cross_midnight() {
        let night = hours(22 * 60, 6 * 60);
        assert!(night.check().is_ok());
        assert!(night.allows_minute(23 * 60) && night.allows_minute(0));
        assert!(!night.allows_minute(6 * 60) && !night.allows_minute(12 * 60));
        let day = hours(60, 120);
        assert!(day.allows_minute(60) && !day.allows_minute(120));
        assert!(Limits::default().allows_minute(DAY - 1));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(hours(5, 5).check().is_err());
        assert!(hours(5, DAY).check().is_err());
        let half = Limits {
            from_minute: Some(5),
            ..Limits::default()
        };
        assert!(half.check().is_err());
        let none = Limits {
            cpu_percent: Some(0),
            ..Limits::default()
        };
        assert!(none.check().is_err());
    }
}

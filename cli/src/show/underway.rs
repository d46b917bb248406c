//! Work that a server has under way: how far it is, how fast, and how long it may take.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text;

/// One thing under way, as the coordinator last heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The snapshot, target or release.
    pub about: String,
    /// What is done to it: `capture`, `raise`, `pack`, `fixity` ...
    pub task: String,
    /// Things done.
    pub things: u64,
    /// Bytes read or sent.
    pub bytes: u64,
    /// Bytes that there are; absent where it is not known.
    pub total_bytes: Option<u64>,
    /// Bytes a second, lately.
    pub bytes_per_second: u64,
    /// Seconds until it is done at this rate; absent where it is not known.
    pub seconds_left: Option<u64>,
    /// Why it is held back: `paused`, `hours`, `host-busy`, `limited`.
    pub waits: Option<String>,
}

/// A length of time in its two largest units.
pub fn lasting(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours:02}h"),
    }
}

impl Underway {
    /// Reads what is beside a record, if there is something.
    pub fn read(live: &Value) -> Option<Self> {
        Self::deserialize(live).ok()
    }

    /// How far it is, in words.
    pub fn to_text(&self) -> String {
        let mut parts = vec![match self.total_bytes {
            Some(total) => {
                format!("{} of {}", text::size(self.bytes), text::size(total))
            }
            None if self.bytes > 0 => text::size(self.bytes),
            None => text::count(self.things, "thing"),
        }];
        if self.bytes_per_second > 0 {
            parts.push(format!("{}/s", text::size(self.bytes_per_second)));
        }
        if let Some(seconds) = self.seconds_left {
            parts.push(format!("{} left", lasting(seconds)));
        }
        let line = parts.join(", ");
        match self.waits.as_deref() {
            None => line,
            Some("paused") => format!("{line}; paused"),
            Some("hours") => format!("{line}; waits for its hours"),
            Some("host-busy") => format!("{line}; slowed down: the server is busy"),
            Some("limited") => format!("{line}; at its limit"),
            Some(other) => format!("{line}; {other}"),
        }
    }

    /// With what is done, for a list of several.
    pub fn named(&self, id: &str) -> String {
        let space = if id.is_empty() { "" } else { " " };
        format!("{}{space}{id}: {}", self.task, self.to_text())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(waits: Option<&str>) -> Underway {
        Underway::read(&serde_json::json!({
            "about": "snap-1", "task": "capture", "things": 12, "bytes": 3_u64 << 30,
            "total_bytes": 10_u64 << 30, "bytes_per_second": 64 << 20, "seconds_left": 112,
            "waits": waits, "a_later_field": 1,
        }))
        .unwrap()
    }

    #[test]
    fn how_far_how_fast_and_how_long_stand_in_one_line() {
        assert_eq!(
            read(None).to_text(),
            "3.0 GiB of 10.0 GiB, 64.0 MiB/s, 1m 52s left"
        );
        let text = read(Some("paused")).to_text();
        assert!(text.ends_with("; paused"), "{text}");
        assert_eq!(Underway::read(&Value::Null), None);
    }

    #[test]
    fn times_are_told_in_two_units() {
        let told: Vec<_> = [5, 65, 3_700, 90_000].map(lasting).into();
        assert_eq!(told, ["5s", "1m 05s", "1h 01m", "1d 01h"]);
    }
}

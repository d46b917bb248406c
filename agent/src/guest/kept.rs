//! Limits as they come: from agent.toml, then from the coordinator, whose word replaces the file's
//! and is kept on disk, so that it counts also when the agent starts cut off.

use std::{fs, io};

use custody::house::limits::{self, Limits};
use proto::v1::SetLimits;
use serde::{Deserialize, Serialize};

use crate::{config::Place, durable};

/// Under which name the agent notes which of the coordinator's words on limits was its newest.
pub const ABOUT: &str = "limits";

/// `[guest]` in agent.toml: how reading behaves until the coordinator says otherwise. Holding is
/// never limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// Reading slows down while others on the host wait for a CPU or a disk for more than so many
    /// percent of the time; 0: never. The coordinator does not change this.
    #[serde(default = "ten")]
    pub yield_above: u64,
    /// CPU time, percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Reads in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u64>,
    /// Between which times of the day, UTC, it reads: `22:00-06:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
}

fn ten() -> u64 {
    10
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            yield_above: ten(),
            cpu_percent: None,
            read_bytes: None,
            reads: None,
            hours: None,
        }
    }
}

impl GuestConfig {
    /// The limits of the file; `None` when they cannot be meant.
    pub fn limits(&self) -> Option<Limits> {
        let minutes = match &self.hours {
            Some(text) => Some(limits::hours(text)?),
            None => None,
        };
        let limits = Limits {
            cpu_percent: self.cpu_percent,
            read_bytes: self.read_bytes,
            reads: self.reads,
            from_minute: minutes.map(|(from, _)| from),
            until_minute: minutes.map(|(_, until)| until),
            paused: false,
        };
        limits.check().is_ok().then_some(limits)
    }
}

/// Reads limits off the wire, where 0 is none and equal minutes are the whole day. `None` when
/// they cannot be meant.
pub fn from_wire(wire: &SetLimits) -> Option<Limits> {
    let some = |value: u64| (value > 0).then_some(value);
    let hours = wire.from_minute != wire.until_minute;
    let limits = Limits {
        cpu_percent: some(wire.cpu_percent),
        read_bytes: some(wire.read_bytes_per_second),
        reads: some(wire.reads_per_second),
        from_minute: hours.then_some(wire.from_minute.into()),
        until_minute: hours.then_some(wire.until_minute.into()),
        paused: wire.paused,
    };
    limits.check().is_ok().then_some(limits)
}

/// What the coordinator last said.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    limits: Limits,
}

/// Keeps what the coordinator said. Durable when this returns.
pub fn keep(place: &Place, limits: &Limits) -> io::Result<()> {
    let file = File { limits: *limits };
    durable::write(&place.limits(), 0o600, &serde_json::to_vec(&file)?)
}

/// What the coordinator last said, if it said anything.
pub fn load(place: &Place) -> io::Result<Option<Limits>> {
    match fs::read(place.limits()) {
        Ok(bytes) => {
            let file: File = serde_json::from_slice(&bytes)?;
            Ok(Some(file.limits))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_coordinator_said_is_kept_and_what_cannot_be_meant_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place(folder.path().to_owned());
        assert_eq!(load(&place).unwrap(), None);
        let wire = SetLimits {
            cpu_percent: 20,
            from_minute: 1320,
            until_minute: 360,
            paused: true,
            ..SetLimits::default()
        };
        let limits = from_wire(&wire).unwrap();
        assert_eq!((limits.cpu_percent, limits.reads), (Some(20), None));
        assert_eq!(
            (limits.from_minute, limits.until_minute),
            (Some(1320), Some(360))
        );
        keep(&place, &limits).unwrap();
        assert_eq!(load(&place).unwrap(), Some(limits));
        assert_eq!(from_wire(&SetLimits::default()), Some(Limits::default()));
        let nonsense = SetLimits {
            until_minute: 5000,
            ..SetLimits::default()
        };
        assert_eq!(from_wire(&nonsense), None);
        fs::write(place.limits(), "{").unwrap();
        assert!(load(&place).is_err(), "it is not taken for no limits");
    }
}

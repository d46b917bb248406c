//! The media health of a server: its disks, what is lost of what is held on them, and how far
//! reading it all again is.

use custody::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Screen, View, people::AgentView, text};

/// A disk, as its server last spoke of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// As its server's kernel names it.
    pub name: String,
    /// Its maker's name for it.
    pub model: String,
    /// Its number.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it turns.
    pub rotational: bool,
    /// Reads that the kernel gave up on, since the agent first looked.
    pub read_errors: u64,
    /// Rows of what is held on it that cannot be read.
    pub unreadable: u64,
    /// Rows that are not what they were.
    pub differ: u64,
    /// When all that is held on it was last read again; absent if never.
    pub checked: Option<Time>,
}

/// How far the reading again of one target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which.
    pub target: String,
    /// The round under way, from 1.
    pub round: u64,
    /// Rows that were passed in it.
    pub rows: u64,
    /// Rows that there are.
    pub total_rows: u64,
    /// Rows that are not what they were.
    pub differ: u64,
    /// Rows that cannot be read.
    pub unreadable: u64,
    /// When the round is to end.
    pub due: Time,
}

/// Reads a list beside a record; what this tool does not understand is left out.
pub(super) fn read<T: for<'de> Deserialize<'de>>(list: &Value) -> Vec<T> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|one| T::deserialize(one).ok()).collect()
}

fn count(number: u64) -> String {
    match number {
        0 => "-".to_owned(),
        number => number.to_string(),
    }
}

impl View for Disk {
    const PLURAL: &'static str = "disks";
    const COLUMNS: &'static [&'static str] = &[
        "disk",
        "model",
        "size",
        "read errors",
        "unreadable",
        "differ",
        "last read again",
    ];

    fn row(&self, _: &Screen) -> Vec<String> {
        let kind = if self.rotational { ", turns" } else { "" };
        let model = match self.model.as_str() {
            "" => "-".to_owned(),
            model => format!("{model}{kind}"),
        };
        let checked = self.checked.as_ref();
        vec![
            self.name.clone(),
            model,
            text::size(self.bytes),
            count(self.read_errors),
            count(self.unreadable),
            count(self.differ),
            checked.map_or_else(|| "NEVER".to_owned(), text::time),
        ]
    }
}

impl View for Reading {
    const PLURAL: &'static str = "readings";
    const COLUMNS: &'static [&'static str] =
        &["target", "round", "read", "unreadable", "differ", "due"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let share = u128::from(self.rows) * 100 / u128::from(self.total_rows.max(1));
        let late = if self.due < crate::session::now() {
            " (LATE)"
        } else {
            ""
        };
        vec![
            screen.id(&self.target),
            self.round.to_string(),
            format!("{share}%"),
            count(self.unreadable),
            count(self.differ),
            format!("{}{late}", text::time(&self.due)),
        ]
    }
}

/// Prints a server with its disks and with how far reading again is.
pub fn whole(screen: &Screen, view: &AgentView) {
    screen.one(view);
    if screen.is_json() {
        return;
    }
    if !view.disks.is_empty() {
        screen.raw("\n");
        screen.list(&view.disks);
    }
    if !view.readings.is_empty() {
        screen.raw("\n");
        screen.list(&view.readings);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn disks_are_read_as_the_coordinator_tells_them_and_what_is_strange_is_left_out() {
        let disk = json!({
            "name": "sda", "model": "TURNER", "serial": "S1", "bytes": 1_u64 << 40,
            "rotational": true, "read_errors": 3, "unreadable": 1, "differ": 0,
            "checked": null,
        });
        let disks: Vec<Disk> = read(&json!([disk, {"name": 7}, "what"]));
        assert_eq!(disks.len(), 1);
        assert_eq!((disks[0].read_errors, disks[0].checked), (3, None));
        assert_eq!(read::<Disk>(&Value::Null), []);
        let reading = json!({
            "target": "tgt-1", "round": 2, "rows": 5, "total_rows": 10, "differ": 0,
            "unreadable": 0, "due": "2026-11-25T00:00:00.000Z",
        });
        assert_eq!(read::<Reading>(&json!([reading]))[0].round, 2);
    }
}

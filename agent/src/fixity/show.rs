//! Showing: how far reading again is and what is lost, told from the agent's own files, whether it
//! runs or not.

use custody::{id::SnapshotId, time::Time};
use serde::Serialize;

use super::{
    register::{Item, Register, Wrong},
    state::{Copied, Shelf, State},
};
use crate::{config::Place, exit::Trouble};

/// Items that are printed of one snapshot; JSON has all.
const MOST: usize = 50;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// How far it is.
    #[serde(flatten)]
    pub state: State,
    /// What is lost.
    pub items: Vec<Item>,
}

/// Reads how far all is.
pub fn read(place: &Place) -> Result<Vec<Shown>, Trouble> {
    let shelf = Shelf::look(&place.0);
    let trouble = |error| Trouble::file("read", &shelf.file(""), error);
    let one = |snapshot: SnapshotId| {
        let Some(state) = shelf.get(&snapshot)? else {
            return Ok(None);
        };
        let items = Register::items(&shelf, &snapshot)?;
        Ok(Some(Shown { state, items }))
    };
    let all = shelf.all().map_err(trouble)?;
    all.into_iter()
        .filter_map(|snapshot| one(snapshot).transpose())
        .collect::<std::io::Result<_>>()
        .map_err(trouble)
}

fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

fn copy(copy: &Copied) -> String {
    let state = match (copy.whole, copy.missing) {
        (true, _) => "whole".to_owned(),
        (false, 0) => format!("at row {}", copy.next),
        (false, missing) => format!("{missing} files could not be had from the original"),
    };
    let path = copy.path.display();
    format!(
        "{path}: {} files, {} bytes, {state}",
        copy.files, copy.bytes
    )
}

fn item(item: &Item) -> String {
    let what = match (item.wrong, &item.reason) {
        (Some(Wrong::Unreadable), Some(reason)) => format!("cannot be read ({reason})"),
        (Some(Wrong::Unreadable), None) => "cannot be read".to_owned(),
        _ => "differs".to_owned(),
    };
    let ranges: Vec<_> = item
        .ranges
        .iter()
        .map(|(from, until)| format!("{from}-{until}"))
        .collect();
    let mut line = format!("  row {} {:?} {what}", item.row, item.path);
    if !ranges.is_empty() {
        line.push_str(&format!(", bytes {} of {}", ranges.join(" "), item.size));
    }
    if item.gave_up {
        line.push_str(", the last part not tried to its end");
    }
    if item.copy {
        line.push_str("; the second copy has it");
    }
    line
}

/// The same in words.
pub fn text(all: &[Shown]) -> String {
    if all.is_empty() {
        return "nothing that is held has a sealed snapshot yet".to_owned();
    }
    let mut lines = Vec::new();
    for Shown { state, items } in all {
        lines.push(format!(
            "snapshot     {} of {}",
            state.snapshot, state.target
        ));
        let round = &state.round;
        lines.push(format!(
            "round        {}, row {} of {}, due {}",
            round.number, round.next, state.rows, state.due
        ));
        let last = state.last.as_ref();
        lines.push(format!(
            "last read    {}",
            time(last.and_then(|last| last.ended))
        ));
        if let Some(copied) = &state.copy {
            lines.push(format!("second copy  {}", copy(copied)));
        }
        for (name, why) in [
            ("trouble", &state.trouble),
            ("no copy", &state.copy_trouble),
        ] {
            if let Some(why) = why {
                lines.push(format!("{name:<12} {why}"));
            }
        }
        let count = |kind| items.iter().filter(|item| item.wrong == Some(kind)).count();
        lines.push(format!(
            "lost         {} differ, {} cannot be read",
            count(Wrong::Differs),
            count(Wrong::Unreadable)
        ));
        lines.extend(items.iter().take(MOST).map(item));
        if items.len() > MOST {
            lines.push(format!("  and {} more; --json has all", items.len() - MOST));
        }
    }
    lines.join("\n")
}

//! Snapshots.

use custody::{
    house::snapshot::{Snapshot, State},
    statement::SnapshotSealed,
};
use serde::Serialize;

use super::{
    Screen, View,
    hold::Fleet,
    text,
    underway::{Underway, lasting},
    word::Word as _,
};
use crate::{exit::Outcome, records::Record};

/// A snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotView {
    /// The id.
    pub id: String,
    /// What it was taken of.
    pub target: String,
    /// The server's id.
    pub agent: String,
    /// The server's name.
    pub agent_name: Option<String>,
    /// `requested`, `sealed`, `received` or `failed`.
    pub state: State,
    /// What its server sealed: root, rows, bytes, manifest, tool, times; absent until then.
    pub sealed: Option<SnapshotSealed>,
    /// The entry that sealed it.
    pub sealed_entry: Option<u64>,
    /// How far its server is with it, while it works on it.
    pub underway: Option<Underway>,
    /// The last trouble, in a word.
    pub trouble: Option<String>,
    /// The entry that asked for it.
    pub entry: u64,
}

impl SnapshotView {
    /// Reads a record.
    pub fn read(record: &Record, fleet: &Fleet) -> Outcome<Self> {
        let shot: Snapshot = record.parse()?;
        Ok(Self {
            id: shot.id.to_string(),
            target: shot.target.to_string(),
            agent: shot.agent.to_string(),
            agent_name: fleet.name(&shot.agent),
            state: shot.state,
            sealed: shot.sealed,
            sealed_entry: shot.sealed_entry,
            underway: Underway::read(&record.json["live"]["underway"]),
            trouble: shot.trouble,
            entry: shot.entry,
        })
    }
}

/// How far several are together, in words: what is done, and how far the rest is.
pub fn together(views: &[SnapshotView]) -> Option<String> {
    let over = |view: &&SnapshotView| matches!(view.state, State::Received | State::Failed);
    let done = views.iter().filter(over).count();
    let underway: Vec<_> = views.iter().filter_map(|v| v.underway.as_ref()).collect();
    let told = match underway.as_slice() {
        [] => return (done > 0).then(|| format!("{done} of {}", views.len())),
        [one] => one.named(""),
        many => {
            let rate = many.iter().map(|one| one.bytes_per_second).sum();
            // They go on side by side, on servers of their own.
            let left = many.iter().map(|one| one.seconds_left);
            let left = left.collect::<Option<Vec<_>>>();
            let left = left.and_then(|all| all.into_iter().max());
            let left = left.map_or_else(String::new, |s| format!(", {} left", lasting(s)));
            format!("{} at work, {}/s{left}", many.len(), text::size(rate))
        }
    };
    Some(match views.len() {
        1 => told,
        all => format!("{done} of {all}, {told}"),
    })
}

impl View for SnapshotView {
    const PLURAL: &'static str = "snapshots";
    const COLUMNS: &'static [&'static str] = &[
        "snapshot",
        "server",
        "target",
        "state",
        "rows",
        "size",
        "unreadable",
        "trouble",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let of = |cell: &dyn Fn(&SnapshotSealed) -> String| {
            self.sealed.as_ref().map_or_else(|| "-".to_owned(), cell)
        };
        vec![
            screen.id(&self.id),
            self.agent_name
                .clone()
                .unwrap_or_else(|| screen.id(&self.agent)),
            screen.id(&self.target),
            self.state.word(),
            of(&|sealed| sealed.rows.to_string()),
            of(&|sealed| text::size(sealed.bytes)),
            of(&|sealed| sealed.unreadable.to_string()),
            text::or_dash(self.trouble.as_deref()),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        if let Some(underway) = &self.underway {
            lines.push(("under way", underway.named("")));
        }
        if let Some(sealed) = &self.sealed {
            lines.extend([
                ("root", sealed.root.to_string()),
                ("manifest", sealed.manifest.to_string()),
                ("mechanism", sealed.mechanism.to_string()),
                ("tool", sealed.tool.clone()),
                ("began", sealed.began.to_string()),
                ("ended", sealed.ended.to_string()),
            ]);
        }
        lines
    }
}

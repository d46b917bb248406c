//! Releases and exclusion lists.

use custody::{
    house::{
        ExclusionList,
        release::{Release, State},
    },
    statement::ReleasePacked,
};
use serde::Serialize;

use super::{Screen, View, hold::Fleet, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// Rows of one snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct RowsView {
    /// Which snapshot.
    pub snapshot: String,
    /// How many of its rows.
    pub rows: u64,
}

/// A release.
#[derive(Clone, Debug, Serialize)]
pub struct ReleaseView {
    /// The id.
    pub id: String,
    /// The claim it answers.
    pub claim: String,
    /// The request that was approved.
    pub request: String,
    /// The server that has the bytes.
    pub agent: String,
    /// Its name.
    pub agent_name: Option<String>,
    /// `ordered`, `packed`, `spooled`, `delivered` or `failed`.
    pub state: State,
    /// What is released.
    pub files: Vec<RowsView>,
    /// Rows released, over all snapshots.
    pub rows: u64,
    /// What its server packed: the parcel's SHA-256, its length and the files inside.
    pub packed: Option<ReleasePacked>,
    /// The entry that packed it.
    pub packed_entry: Option<u64>,
    /// How often it was handed out.
    pub deliveries: u64,
    /// The last trouble, in a word.
    pub trouble: Option<String>,
    /// The entry that ordered it.
    pub entry: u64,
}

impl ReleaseView {
    /// Reads a record.
    pub fn read(record: &Record, fleet: &Fleet) -> Outcome<Self> {
        let release: Release = record.parse()?;
        let files: Vec<_> = release
            .files
            .iter()
            .map(|rows| RowsView {
                snapshot: rows.snapshot.to_string(),
                rows: rows.rows.count(),
            })
            .collect();
        Ok(Self {
            id: release.id.to_string(),
            claim: release.claim.to_string(),
            request: release.request.to_string(),
            agent: release.agent.to_string(),
            agent_name: fleet.name(&release.agent),
            state: release.state,
            rows: files.iter().map(|rows| rows.rows).sum(),
            files,
            packed: release.packed,
            packed_entry: release.packed_entry,
            deliveries: release.deliveries,
            trouble: release.trouble,
            entry: release.entry,
        })
    }
}

impl View for ReleaseView {
    const PLURAL: &'static str = "releases";
    const COLUMNS: &'static [&'static str] = &[
        "release",
        "claim",
        "server",
        "state",
        "rows",
        "parcel size",
        "deliveries",
        "trouble",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![
            screen.id(&self.id),
            screen.id(&self.claim),
            self.agent_name
                .clone()
                .unwrap_or_else(|| screen.id(&self.agent)),
            self.state.word(),
            self.rows.to_string(),
            self.packed
                .as_ref()
                .map_or_else(|| "-".to_owned(), |packed| text::size(packed.bytes)),
            self.deliveries.to_string(),
            text::or_dash(self.trouble.as_deref()),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        lines.push(("request", screen.id(&self.request)));
        if let Some(packed) = &self.packed {
            lines.push(("parcel", packed.parcel.to_string()));
        }
        lines
    }
}

/// An exclusion list.
#[derive(Clone, Debug, Serialize)]
pub struct ListView {
    /// Its name.
    pub id: String,
    /// The legal basis.
    pub basis: String,
    /// How many hashes.
    pub count: u64,
    /// The hashes themselves; in `lists show` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
    /// The entry that last changed it.
    pub changed: u64,
}

impl ListView {
    /// Reads a record, with its hashes or without.
    pub fn read(record: &Record, with_hashes: bool) -> Outcome<Self> {
        let list: ExclusionList = record.parse()?;
        Ok(Self {
            id: list.id,
            basis: list.basis,
            count: list.hashes.len() as u64,
            changed: list.changed,
            hashes: if with_hashes {
                list.hashes.iter().map(ToString::to_string).collect()
            } else {
                Vec::new()
            },
        })
    }
}

impl View for ListView {
    const PLURAL: &'static str = "lists";
    const COLUMNS: &'static [&'static str] = &["list", "basis", "hashes", "last changed"];

    fn row(&self, _: &Screen) -> Vec<String> {
        vec![
            self.id.clone(),
            self.basis.clone(),
            self.count.to_string(),
            format!("entry {}", self.changed),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        if !self.hashes.is_empty() {
            lines.push(("sha256", self.hashes.join("\n")));
        }
        lines
    }
}

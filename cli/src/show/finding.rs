//! Findings of a hold: what, when, where, by whom, and what to do.

use custody::house::finding::{FindingKind, Noted};
use serde::Serialize;

use super::{Screen, View, next, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// A finding.
#[derive(Clone, Debug, Serialize)]
pub struct FindingView {
    /// The entry that says so.
    pub index: u64,
    /// What was found, in a word.
    pub what: FindingKind,
    /// The target it concerns.
    pub target: Option<String>,
    /// How many things.
    pub count: u64,
    /// When it was noticed.
    pub noticed: Option<String>,
    /// Examples of where; absent when the reader's roles do not show them.
    pub places: Vec<String>,
    /// The process that did it, where the kernel said.
    pub process: Option<String>,
    /// What to do about it.
    pub next: &'static str,
}

impl FindingView {
    /// Reads a record.
    pub fn read(record: &Record) -> Outcome<Self> {
        let Noted { finding, entry, .. } = record.parse()?;
        let shown = |place| record.text(place);
        Ok(Self {
            index: entry,
            what: finding.what,
            target: finding.target.map(|target| target.to_string()),
            count: finding.count,
            noticed: finding.noticed.map(|time| time.to_string()),
            places: finding.places.iter().filter_map(shown).collect(),
            process: finding.by.as_ref().and_then(shown),
            next: next::of_finding(finding.what),
        })
    }
}

impl View for FindingView {
    const PLURAL: &'static str = "findings";
    const COLUMNS: &'static [&'static str] =
        &["finding", "entry", "things", "noticed", "where", "by"];

    fn row(&self, _: &Screen) -> Vec<String> {
        let noticed = self.noticed.as_ref().and_then(|text| text.parse().ok());
        let place = match self.places.as_slice() {
            [] => "-".to_owned(),
            [one] => one.clone(),
            [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        };
        vec![
            self.what.word(),
            self.index.to_string(),
            self.count.to_string(),
            noticed.map_or_else(|| "-".to_owned(), |time| text::time(&time)),
            place,
            text::or_dash(self.process.as_deref()),
        ]
    }
}

/// Prints findings, newest last, and below them what to do about each kind.
pub fn all(screen: &Screen, findings: &[FindingView]) {
    if findings.is_empty() {
        return;
    }
    screen.raw("\n");
    let rows: Vec<_> = findings.iter().map(|found| found.row(screen)).collect();
    screen.table(FindingView::COLUMNS, &rows);
    let mut kinds: Vec<_> = findings.iter().map(|found| found.what).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        screen.raw(&format!(
            "{}: {}.\n",
            kind.word(),
            text::plain(next::of_finding(kind))
        ));
    }
}

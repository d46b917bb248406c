//! Claims and what they match.

use custody::house::{
    claim::{Claim, Matched, Status},
    scope::Selector,
};
use serde::Serialize;

use super::{Screen, View, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// One thing claimed.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimItemView {
    /// Its id.
    pub item: String,
    /// `account`, `path` or `hash`.
    pub selector: Selector,
    /// The server's id; absent: any.
    pub agent: Option<String>,
    /// The account, path or hash; absent when not shown.
    pub value: Option<String>,
}

/// What a claim matches in one snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct MatchView {
    /// Which snapshot.
    pub snapshot: String,
    /// How many of its rows match and may leave.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many matching rows an exclusion list keeps back.
    pub excluded: u64,
    /// The revision of the exclusion lists that was used.
    pub lists: u64,
}

impl From<&Matched> for MatchView {
    fn from(matched: &Matched) -> Self {
        Self {
            snapshot: matched.snapshot.to_string(),
            rows: matched.rows.count(),
            bytes: matched.bytes,
            excluded: matched.excluded,
            lists: matched.lists,
        }
    }
}

/// A claim.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimView {
    /// The id.
    pub id: String,
    /// Under whose key its personal data is kept.
    pub subject: String,
    /// `open` or `withdrawn`.
    pub status: Status,
    /// The claimant swore to it.
    pub sworn: bool,
    /// The owner's public key; absent when not shown or erased.
    pub recipient: Option<String>,
    /// What is claimed.
    pub items: Vec<ClaimItemView>,
    /// What it matches.
    pub matches: Vec<MatchView>,
    /// Snapshots that it could not be matched against, and why.
    pub not_matched: Vec<serde_json::Value>,
    /// Rows matched, over all snapshots.
    pub matched: u64,
    /// Rows kept back by exclusion lists, over all snapshots.
    pub excluded: u64,
    /// The entry that filed it.
    pub entry: u64,
}

impl ClaimView {
    /// Reads a record.
    pub fn read(record: &Record) -> Outcome<Self> {
        let claim: Claim = record.parse()?;
        let items = claim.filed.items.iter().map(|item| ClaimItemView {
            item: item.item.to_string(),
            selector: item.selector,
            agent: item.agent.as_ref().map(ToString::to_string),
            value: record.text(&item.value),
        });
        let matches: Vec<_> = claim.matches.values().map(MatchView::from).collect();
        Ok(Self {
            id: claim.filed.claim.to_string(),
            subject: claim.filed.subject.to_string(),
            status: claim.status,
            sworn: claim.filed.sworn,
            recipient: record.text(&claim.filed.recipient),
            items: items.collect(),
            matched: matches.iter().map(|m| m.rows).sum(),
            excluded: matches.iter().map(|m| m.excluded).sum(),
            matches,
            not_matched: record.json["live"]["not_matched"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            entry: claim.entry,
        })
    }
}

impl View for ClaimView {
    const PLURAL: &'static str = "claims";
    const COLUMNS: &'static [&'static str] = &[
        "claim",
        "status",
        "claims",
        "matched",
        "kept back",
        "snapshots",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let items = self.items.iter().map(|item| {
            let agent = item.agent.as_ref().map(|agent| screen.id(agent));
            let value = item
                .value
                .clone()
                .unwrap_or_else(|| "(not shown)".to_owned());
            let parts: Vec<_> = agent.into_iter().chain([value]).collect();
            format!("{}:{}", item.selector.word(), parts.join(":"))
        });
        vec![
            screen.id(&self.id),
            self.status.word(),
            items.collect::<Vec<_>>().join("\n"),
            text::count(self.matched, "row"),
            self.excluded.to_string(),
            self.matches.len().to_string(),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        lines.push(("sworn", if self.sworn { "yes" } else { "no" }.to_owned()));
        lines.push(("recipient", text::or_dash(self.recipient.as_deref())));
        lines.push(("subject", screen.id(&self.subject)));
        let matches = self.matches.iter().map(|m| {
            let (rows, size) = (text::count(m.rows, "row"), text::size(m.bytes));
            format!(
                "{}: {rows}, {size}, {} kept back",
                screen.id(&m.snapshot),
                m.excluded
            )
        });
        lines.push(("matches", matches.collect::<Vec<_>>().join("\n")));
        for missing in &self.not_matched {
            let (snapshot, why) = (missing["snapshot"].as_str(), missing["why"].as_str());
            let snapshot = screen.id(&snapshot.unwrap_or("?"));
            lines.push(("NOT MATCHED", format!("{snapshot}: {}", why.unwrap_or("?"))));
        }
        lines
    }
}

/// One file that a claim matches.
#[derive(Clone, Debug, Serialize)]
pub struct MatchedFileView {
    /// Which snapshot.
    pub snapshot: String,
    /// Which of its rows.
    pub index: u64,
    /// Where; `\xNN` stands for bytes that are no text.
    pub path: String,
    /// Its length.
    pub size: u64,
    /// SHA-256 of its content; absent for what has none.
    pub sha256: Option<String>,
    /// Another open claim covers it too: frozen until one is decided.
    pub contested: bool,
}

impl From<proto::v1::MatchedFile> for MatchedFileView {
    fn from(file: proto::v1::MatchedFile) -> Self {
        Self {
            snapshot: file.snapshot,
            index: file.index,
            path: text::bytes(&file.path),
            size: file.size,
            sha256: (file.sha256.len() == 32).then(|| hex::encode(&file.sha256)),
            contested: file.contested,
        }
    }
}

impl View for MatchedFileView {
    const PLURAL: &'static str = "files";
    const COLUMNS: &'static [&'static str] =
        &["snapshot", "row", "path", "size", "sha256", "remark"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![
            screen.id(&self.snapshot),
            self.index.to_string(),
            self.path.clone(),
            text::size(self.size),
            self.sha256
                .as_ref()
                .map_or_else(|| "-".to_owned(), |hash| screen.id(hash)),
            if self.contested { "CONTESTED" } else { "-" }.to_owned(),
        ]
    }
}

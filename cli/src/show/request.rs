//! Requests: what several people must agree to.

use custody::house::{
    act::Act,
    approval::{Policies, Policy, Request, Status},
};
use serde::Serialize;

use super::{Screen, View, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// One approval.
#[derive(Clone, Debug, Serialize)]
pub struct VoteView {
    /// Who.
    pub person: String,
    /// It counts until then.
    pub expires: String,
    /// Its entry.
    pub entry: u64,
}

/// A request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// The id.
    pub id: String,
    /// Who asked.
    pub by: String,
    /// `release` or `lift`.
    pub act: &'static str,
    /// The release that it asks for.
    pub release: Option<String>,
    /// Rows that it would release.
    pub rows: Option<u64>,
    /// Their bytes; told by `request release` alone, where all that matched is asked for.
    pub bytes: Option<u64>,
    /// The act, whole, as it is approved.
    pub asks: Act,
    /// `open`, `rejected` or `executed`.
    pub status: Status,
    /// When it was received.
    pub received: String,
    /// Not carried out before; absent when no policy governs it.
    pub earliest: Option<String>,
    /// Who must agree; absent when no policy governs it.
    pub policy: Option<Policy>,
    /// The approvals so far.
    pub votes: Vec<VoteView>,
    /// Leaf hash of its entry, which every approval repeats.
    pub leaf: String,
    /// Its entry.
    pub entry: u64,
}

impl RequestView {
    /// Reads a record, under the policies of entry 0.
    pub fn read(record: &Record, policies: &Policies) -> Outcome<Self> {
        let request: Request = record.parse()?;
        let policy = policies.of(&request.act).ok().cloned();
        let (release, rows) = match &request.act {
            Act::Release { release, files, .. } => {
                let rows = files.iter().map(|rows| rows.rows.count()).sum();
                (Some(release.to_string()), Some(rows))
            }
            Act::Lift { .. } => (None, None),
        };
        Ok(Self {
            earliest: policy
                .as_ref()
                .map(|policy| request.earliest(policy).to_string()),
            policy,
            id: request.id.to_string(),
            by: request.by.to_string(),
            act: request.act.word(),
            release,
            rows,
            bytes: None,
            status: request.status,
            received: request.received.to_string(),
            votes: request
                .votes
                .iter()
                .map(|(person, vote)| VoteView {
                    person: person.to_string(),
                    expires: vote.expires.to_string(),
                    entry: vote.entry,
                })
                .collect(),
            leaf: request.leaf.to_string(),
            asks: request.act,
            entry: request.entry,
        })
    }
}

impl View for RequestView {
    const PLURAL: &'static str = "requests";
    const COLUMNS: &'static [&'static str] = &[
        "request",
        "asks for",
        "by",
        "status",
        "approvals",
        "not before",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let needed = self
            .policy
            .as_ref()
            .map_or_else(|| "?".to_owned(), |p| p.approvals.to_string());
        let earliest = self.earliest.as_ref().and_then(|text| text.parse().ok());
        vec![
            screen.id(&self.id),
            self.act.to_owned(),
            screen.id(&self.by),
            self.status.word(),
            format!("{} of {needed}", self.votes.len()),
            earliest.map_or_else(|| "-".to_owned(), |time| text::time(&time)),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        if let Some(policy) = &self.policy {
            let roles: Vec<_> = policy.roles.iter().map(ToString::to_string).collect();
            let people = format!("{} people of {}", policy.approvals, roles.join(" or "));
            lines.push((
                "policy",
                format!("{people}; {} hours' notice", policy.notice_hours),
            ));
        }
        for vote in &self.votes {
            lines.push((
                "approved by",
                format!("{}, until {}", screen.id(&vote.person), vote.expires),
            ));
        }
        lines.push(("leaf", self.leaf.clone()));
        lines
    }
}

//! Requests: what several people must agree to.

use custody::house::{
    act::{Act, Narrowing},
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

/// A place that would leave a target.
#[derive(Clone, Debug, Serialize)]
pub struct PlaceView {
    /// The target.
    pub target: String,
    /// Where.
    pub path: Option<String>,
}

/// A request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// The id.
    pub id: String,
    /// Who asked.
    pub by: String,
    /// `release`, `lift` or `narrow`.
    pub act: &'static str,
    /// The release that it asks for.
    pub release: Option<String>,
    /// Rows that it would release.
    pub rows: Option<u64>,
    /// Their bytes; told by `request release` alone, where all that matched is asked for.
    pub bytes: Option<u64>,
    /// The act, whole, as it is approved.
    pub asks: Act,
    /// The places that it would let leave; absent paths are not shown to your roles.
    pub places: Vec<PlaceView>,
    /// `open`, `rejected` or `executed`.
    pub status: Status,
    /// Whether it can still be taken back.
    pub reversible: bool,
    /// Who rejected it.
    pub rejected_by: Option<String>,
    /// Whether that was who had asked.
    pub taken_back: bool,
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
            Act::Lift { .. } | Act::Narrow { .. } => (None, None),
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
            places: places(&request.act, record),
            status: request.status,
            reversible: request.status == Status::Open,
            rejected_by: request.rejected_by.as_ref().map(ToString::to_string),
            taken_back: request.rejected_by.is_some_and(|by| by == request.by),
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

/// The places that an act would let leave.
fn places(act: &Act, record: &Record) -> Vec<PlaceView> {
    let Act::Narrow { targets } = act else {
        return Vec::new();
    };
    let of = |narrowing: &Narrowing| {
        let target = narrowing.target.to_string();
        let places = narrowing.leave.iter().map(move |place| PlaceView {
            target: target.clone(),
            path: record.text(place),
        });
        places.collect::<Vec<_>>()
    };
    targets.iter().flat_map(of).collect()
}

impl RequestView {
    /// Until when it can be taken back, or that it cannot any more.
    fn end(&self, screen: &Screen) -> Option<(&'static str, String)> {
        let id = screen.id(&self.id);
        Some(match self.status {
            Status::Open => {
                let earliest = self.earliest.as_ref().and_then(|text| text.parse().ok());
                let when = earliest.map_or_else(String::new, |time| {
                    format!(", which is not before {}", text::time(&time))
                });
                (
                    "can be taken back",
                    format!("until it is carried out{when}: `holdfast reject {id}`"),
                )
            }
            Status::Rejected if self.taken_back => ("ended", "taken back by who asked".to_owned()),
            Status::Rejected => {
                let by = self.rejected_by.as_ref();
                let by = by.map_or_else(|| "-".to_owned(), |by| screen.id(by));
                ("ended", format!("rejected by {by}"))
            }
            Status::Executed => ("final", "carried out; it cannot be taken back".to_owned()),
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
        for place in &self.places {
            let path = text::or_dash(place.path.as_deref());
            lines.push(("leaves", format!("{path} of {}", screen.id(&place.target))));
        }
        lines.extend(self.end(screen));
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

//! Forks: an agent that says two things at one place of its chain.
//!
//! The second thing is refused, and both are kept for everyone to see: by their digests, and the
//! refused one whole, since it stands nowhere else. Once a place: an agent that goes on forking
//! at one place adds nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    digest::Digest,
    house::{
        House,
        finding::FindingKind,
        refusal::{Kind, Refusal},
    },
    id::AgentId,
    ledger::chain::{self, ChainError},
    statement::{Author, Body, Finding, Statement},
};

use super::{door, door::Checked};
use crate::journal::id_bytes;

/// The longest refused entry that a finding can hold in base64: the finding must fit in an entry.
const LONGEST_KEPT: usize = 47_000;

/// A place of an agent's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    agent: AgentId,
    epoch: u64,
    seq: u64,
}

impl Place {
    /// The place that an agent's statement has in its chain.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        match (&statement.author, &statement.link) {
            (Author::Agent(agent), Some(link)) => Some(Self {
                agent: *agent,
                epoch: link.epoch,
                seq: link.seq,
            }),
            _ => None,
        }
    }

    /// As the journal's column holds it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = id_bytes(self.agent);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes
    }
}

/// Where the other thing that an agent said stands, if this statement forks its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    /// At the same place.
    At(Place),
    /// At the place before: this one says that something else stands there.
    Before(Digest),
}

/// Says whether a statement, by the agent's own key, forks the agent's chain.
pub(super) fn found(house: &House, checked: &Checked) -> Option<(Place, Other)> {
    let statement = &checked.statement;
    let place = Place::of(statement)?;
    let link = statement.link.as_ref()?;
    let agent = house.agents.get(&place.agent)?;
    let enrolment = agent.enrolment.as_ref()?;
    if agent.retired || enrolment.key != checked.key {
        return None;
    }
    match chain::follow(&enrolment.head, link, &checked.digest) {
        Err(ChainError::Taken { .. }) => Some((place, Other::At(place))),
        // At the start of an epoch there is nothing before: that is no fork, but nonsense.
        Err(ChainError::Fork { seq }) if seq > 0 => {
            Some((place, Other::Before(enrolment.head.prev)))
        }
        _ => None,
    }
}

/// What is recorded of a fork.
pub(super) fn finding(checked: &Checked, other: Digest) -> Body {
    let kept = checked.bytes.len() <= LONGEST_KEPT;
    Body::Finding(Finding {
        what: FindingKind::Equivocation,
        target: None,
        count: 2,
        evidence: vec![other, checked.digest],
        entry: kept.then(|| STANDARD.encode(&checked.bytes)),
        places: Vec::new(),
        by: None,
        noticed: None,
    })
}

/// What the agent is told.
pub(super) fn refusal(place: Place) -> Refusal {
    Refusal {
        rule: "agent.chain",
        kind: Kind::Conflict,
        why: format!(
            "The agent said something else before at place {} of its chain",
            place.seq
        ),
        next: "Look at the agent's findings; enrol it anew once it is understood",
    }
}

/// The places of which a fork is recorded already, by the coordinator itself: what an agent says
/// it found, of itself or of another, must keep nothing off the record.
pub(super) fn recorded(house: &House) -> std::collections::BTreeSet<Place> {
    house
        .findings
        .values()
        .filter(|noted| noted.by == Author::Coordinator)
        .filter(|noted| noted.finding.what == FindingKind::Equivocation)
        .filter_map(|noted| {
            let bytes = STANDARD.decode(noted.finding.entry.as_ref()?).ok()?;
            let (_, statement) = door::read(&bytes).ok()?;
            Place::of(&statement)
        })
        .collect()
}

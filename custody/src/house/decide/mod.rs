//! Decides: may this statement stand? The one place where every rule is asked.
//!
//! People, agents and the coordinator have a file each; what a hold may stand on is in
//! `place`. Nothing here changes anything, asks a clock or trusts what it is given.

mod act;
mod agent;
mod clearance;
mod coordinator;
mod person;
mod place;

pub(super) use agent::by_agent;

use super::{
    House, Openings,
    approval::Policies,
    hold,
    person::Person,
    refusal::{Refusal, conflict, forbidden, invalid, unknown},
};
use crate::{
    commit::Commitment,
    digest::Digest,
    id::AgentId,
    sign::PublicKey,
    statement::{Author, Body, Statement, VERSION},
    time::Time,
};

/// What surrounds a statement when it is decided.
pub struct Context<'a> {
    /// When the coordinator received it.
    pub received: Time,
    /// Leaf hash of its entry.
    pub leaf: Digest,
    /// SHA-256 of its entry's bytes: what the agent's next entry names as `prev`.
    pub entry: Digest,
    /// What the commitments stand for.
    pub openings: &'a dyn Openings,
}

/// A statement that may stand, with what `apply` needs. Only [`decide`] makes one, and
/// [`House::recorded`] for what stands in the ledger already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub(super) statement: Statement,
    pub(super) received: Time,
    pub(super) leaf: Digest,
    pub(super) entry: Digest,
    /// For a release that is carried out: the agent that has the bytes.
    pub(super) agent: Option<AgentId>,
    /// For an agent's statement that a rule turned down: the rule. It stands in the log, for the
    /// agent's chain has no gaps, and changes nothing else.
    pub(super) void: Option<Refusal>,
}

impl Accepted {
    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Why an agent's statement is recorded without effect, if it is.
    pub fn void(&self) -> Option<&Refusal> {
        self.void.as_ref()
    }
}

impl House {
    /// The key that an author's signature must be made with.
    pub fn key_of(&self, statement: &Statement) -> Result<PublicKey, Refusal> {
        match (&statement.author, &statement.body, &self.opened) {
            (Author::Coordinator, Body::LogOpened(opened), None) => Ok(opened.coordinator.clone()),
            (Author::Coordinator, _, Some(opened)) => Ok(opened.coordinator.clone()),
            (Author::Person(id), _, _) => Ok(self.person(id)?.key.clone()),
            (Author::Agent(id), _, _) => {
                let agent = self.agents.get(id).ok_or_else(|| unknown(id))?;
                let enrolment = agent.enrolment.as_ref().ok_or_else(|| not_enrolled(id))?;
                Ok(enrolment.key.clone())
            }
            _ => Err(not_opened()),
        }
    }

    fn person(&self, id: &crate::id::PersonId) -> Result<&Person, Refusal> {
        self.persons.get(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn target_of(
        &self,
        agent: &AgentId,
        target: &crate::id::TargetId,
    ) -> Result<&hold::HeldTarget, Refusal> {
        let found = self.targets.get(target).filter(|t| t.wish.agent == *agent);
        found.ok_or_else(|| unknown(target))
    }

    fn key_is_free(&self, key: &PublicKey) -> Result<(), Refusal> {
        let bytes = key.ed25519_bytes();
        let taken = self
            .persons
            .values()
            .any(|p| p.key.ed25519_bytes() == bytes)
            || self.agents.values().any(|a| {
                a.enrolment
                    .as_ref()
                    .is_some_and(|e| e.key.ed25519_bytes() == bytes)
            })
            || self
                .opened
                .as_ref()
                .is_some_and(|o| o.coordinator.ed25519_bytes() == bytes);
        if taken {
            return Err(key_in_use());
        }
        Ok(())
    }
}

fn not_opened() -> Refusal {
    conflict(
        "log.not-opened",
        "The log has not been opened",
        "Run `holdfast-server init` first",
    )
}

fn key_in_use() -> Refusal {
    conflict(
        "key.in-use",
        "This key belongs to somebody already: one key is one person",
        "Make a new key with ssh-keygen",
    )
}

fn not_enrolled(id: &AgentId) -> Refusal {
    forbidden(
        "agent.not-enrolled",
        format!("{id} is not enrolled"),
        "Enrol it with a token",
    )
}

fn fresh<K: Ord + std::fmt::Display, V>(
    map: &std::collections::BTreeMap<K, V>,
    id: &K,
) -> Result<(), Refusal> {
    if map.contains_key(id) {
        return Err(conflict(
            "id.in-use",
            format!("{id} is here already"),
            "Use a fresh id",
        ));
    }
    Ok(())
}

/// Decides whether a statement, whose signature was checked against [`House::key_of`], may stand.
pub fn decide(house: &House, statement: Statement, context: &Context) -> Result<Accepted, Refusal> {
    if statement.v != VERSION {
        return Err(invalid(
            "statement.version",
            format!("Statement version {} is not understood", statement.v),
            "Use the tool of the coordinator's version",
        ));
    }
    if let Some(opened) = house.opened.as_ref()
        && opened.origin != statement.log
    {
        return Err(conflict(
            "statement.other-log",
            "The statement was signed for another log",
            "Check which coordinator the profile names",
        ));
    }
    if house.opened.is_none() && !matches!(statement.body, Body::LogOpened(_)) {
        return Err(not_opened());
    }
    let (mut agent, mut void) = (None, None);
    match &statement.author {
        Author::Person(id) => person::by_person(house, id, &statement, context)?,
        Author::Agent(id) => {
            agent::follows(house, id, &statement, context)?;
            void = by_agent(house, id, &statement).err();
        }
        Author::Coordinator => agent = coordinator::by_coordinator(house, &statement, context)?,
    }
    Ok(Accepted {
        statement,
        received: context.received,
        leaf: context.leaf,
        entry: context.entry,
        agent,
        void,
    })
}

/// Checks the policies that a log is opened with.
pub fn check_policies(policies: &Policies) -> Result<(), Refusal> {
    for (word, policy) in &policies.0 {
        if policy.approvals < 2 || policy.roles.is_empty() {
            return Err(invalid(
                "approval.weak-policy",
                format!("The policy for {word} would let one person act alone"),
                "Demand at least two approvals and name the roles that count",
            ));
        }
    }
    Ok(())
}

/// The commitments a statement makes, so that what opens them can be demanded at the door.
pub fn commitments(body: &Body) -> Vec<Commitment> {
    match body {
        Body::LogOpened(b) => vec![b.name],
        Body::PersonAdd(b) => vec![b.name],
        Body::AgentInvite(b) => vec![b.name],
        Body::OrderAdd(b) => {
            let mut all = vec![b.authority, b.reference];
            all.extend(b.document);
            all.extend(b.scope.iter().filter_map(|item| item.value));
            all
        }
        Body::OrderExtend(b) => vec![b.reference],
        Body::OrderNarrow(b) => b.exclude.iter().filter_map(|item| item.value).collect(),
        Body::HoldPlace(b) => b.targets.iter().map(|target| target.path).collect(),
        Body::SnapshotSealed(b) => vec![b.key],
        Body::Finding(b) => b.places.iter().copied().chain(b.by).collect(),
        Body::ClearanceAsk(b) => b.disk.iter().copied().chain(b.places.clone()).collect(),
        // An approval repeats its request's act: what opens that is here already.
        Body::RequestMake(b) => b.act.commitments(),
        Body::ClaimFile(b) => {
            let mut all = vec![b.recipient];
            all.extend(b.items.iter().map(|item| item.value));
            all
        }
        _ => Vec::new(),
    }
}

//! Approvals: nobody acts alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    act::Act,
    person::{Person, Role},
    refusal::{Refusal, conflict, forbidden, invalid},
};
use crate::{
    digest::Digest,
    id::{PersonId, RequestId},
    time::{Span, Time},
};

/// Who must agree to one kind of act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How many distinct people; fewer than two is no policy and refuses.
    pub approvals: u32,
    /// Of which roles.
    pub roles: Vec<Role>,
    /// Hours between the request and its earliest execution.
    pub notice_hours: u32,
}

/// The policies, by the act's word. An act without one is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policies(pub BTreeMap<String, Policy>);

impl Policies {
    /// The policy for an act.
    pub fn of(&self, act: &Act) -> Result<&Policy, Refusal> {
        let policy = self
            .0
            .get(act.policy())
            .filter(|p| p.approvals >= 2 && !p.roles.is_empty());
        policy.ok_or_else(|| {
            forbidden(
                "approval.no-policy",
                format!("No policy says who must agree to a {}", act.word()),
                "Set one with at least two approvals when the coordinator is initialised",
            )
        })
    }
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// It counts until then.
    pub expires: Time,
    /// Index of its entry.
    pub entry: u64,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Waiting for approvals, for its notice period or for a checkpoint that covers them.
    Open,
    /// Rejected.
    Rejected,
    /// Carried out.
    Executed,
}

/// A request as the house knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Who asked.
    pub by: PersonId,
    /// For what.
    pub act: Act,
    /// Leaf hash of its entry, which every vote repeats.
    pub leaf: Digest,
    /// When it was received.
    pub received: Time,
    /// Where it stands.
    pub status: Status,
    /// The approvals so far.
    pub votes: BTreeMap<PersonId, Vote>,
    /// Who rejected it: who asked, when it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_by: Option<PersonId>,
    /// Index of its entry.
    pub entry: u64,
}

/// The longest an approval may count.
pub const LONGEST: Span = Span::days(30);

impl Request {
    /// Checks an approval by `person`, received at `now`.
    pub fn check_vote(
        &self,
        person: &Person,
        policy: &Policy,
        entry: &Digest,
        act: &Act,
        expires: Time,
        now: Time,
    ) -> Result<(), Refusal> {
        self.check_open()?;
        if *entry != self.leaf || *act != self.act {
            return Err(conflict(
                "approval.other-request",
                "The approval was signed for something else",
                "Read the request again and sign a new approval",
            ));
        }
        if person.id == self.by {
            return Err(forbidden(
                "approval.own-request",
                "Nobody approves what he asked for himself",
                "Ask another approver",
            ));
        }
        if !self.was_there(person) {
            return Err(forbidden(
                "approval.newcomer",
                "You were added after this was asked for, so your approval would not count",
                "Ask someone who was there before, or make the request again",
            ));
        }
        if !person.has_any(&policy.roles) {
            return Err(forbidden(
                "approval.role",
                "The policy for this act does not count your role",
                "Ask someone whose role it counts",
            ));
        }
        if expires <= now {
            return Err(conflict(
                "approval.expired",
                "The approval has expired",
                "Read the request again and sign a new approval",
            ));
        }
        if expires > now + LONGEST {
            return Err(invalid(
                "approval.too-long",
                "The approval would count for more than 30 days",
                "Sign one that expires sooner",
            ));
        }
        if self
            .votes
            .get(&person.id)
            .is_some_and(|vote| vote.expires > now)
        {
            return Err(conflict(
                "approval.twice",
                "You have approved this already; it counts once",
                "Nothing more is needed from you",
            ));
        }
        Ok(())
    }

    /// Whether a person was there when it was asked for. Nobody is brought in to tip a vote.
    fn was_there(&self, person: &Person) -> bool {
        person.entry < self.entry
    }

    /// Checks a rejection by `person`: of who may vote, or of who asked and takes it back.
    pub fn check_reject(&self, person: &Person, entry: &Digest) -> Result<(), Refusal> {
        if *entry != self.leaf {
            return Err(conflict(
                "approval.other-request",
                "The rejection was signed for something else",
                "Read the request again",
            ));
        }
        if person.id != self.by && !person.has_any(&[Role::Approver, Role::Legal]) {
            return Err(forbidden(
                "approval.not-yours",
                "Somebody else asked for this, and your role does not reject",
                "Ask who asked for it, an approver or legal counsel",
            ));
        }
        self.check_open()
    }

    /// Refuses when the request is over.
    pub fn check_open(&self) -> Result<(), Refusal> {
        match self.status {
            Status::Open => Ok(()),
            Status::Rejected => Err(conflict(
                "approval.rejected",
                "The request was rejected",
                "Make a new request if things have changed",
            )),
            Status::Executed => Err(conflict(
                "approval.executed",
                "The request was carried out already",
                "Nothing more is needed",
            )),
        }
    }

    /// How many approvals count at `now`: distinct people who were there when it was asked for,
    /// hold a counted role still, did not ask themselves, and whose approval has not expired.
    pub fn counted<'a>(
        &self,
        policy: &Policy,
        now: Time,
        person: impl Fn(&PersonId) -> Option<&'a Person>,
    ) -> u32 {
        let counts = |(id, vote): &(&PersonId, &Vote)| {
            vote.expires > now
                && **id != self.by
                && person(id)
                    .is_some_and(|person| self.was_there(person) && person.has_any(&policy.roles))
        };
        u32::try_from(self.votes.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// When the notice period is over. Until it is carried out, which is never before, a request
    /// can be taken back; afterwards it is final.
    pub fn earliest(&self, policy: &Policy) -> Time {
        self.received + Span::hours(i64::from(policy.notice_hours))
    }
}

//! One release's case: its entries in order, and the rules that they must show to be kept.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    receipt::{Parcel, Shown},
    report::Findings,
};
use crate::{
    commit::Commitment,
    digest::Digest,
    house::{
        act::{Act, Rows},
        approval::Policies,
        claim::Matched,
        person::{self, Role},
    },
    id::{AgentId, PersonId, ReleaseId},
    ledger::entry::Entry,
    sign::PublicKey,
    statement::{
        Approve, Author, Body, ClaimFile, ReleasePacked, RequestExecuted, RequestMake,
        SnapshotReceived, SnapshotSealed, Statement, VERSION,
    },
    time::Time,
};

struct Known {
    key: PublicKey,
    roles: Vec<Role>,
    /// Index of the entry that added the person.
    since: u64,
}

/// Something said, and where and when.
struct Said<B> {
    index: u64,
    author: Author,
    time: Time,
    leaf: Digest,
    body: B,
}

/// The entries of one release, gathered.
pub(super) struct Case {
    origin: String,
    release: ReleaseId,
    coordinator: Option<PublicKey>,
    policies: Policies,
    people: BTreeMap<PersonId, Known>,
    agents: BTreeMap<(AgentId, u64), PublicKey>,
    sealed: Vec<Said<SnapshotSealed>>,
    received: Vec<Said<SnapshotReceived>>,
    claims: Vec<Said<ClaimFile>>,
    matched: Vec<Said<Matched>>,
    requests: Vec<Said<RequestMake>>,
    votes: Vec<Said<Approve>>,
    executed: Vec<Said<RequestExecuted>>,
    packed: Vec<Said<ReleasePacked>>,
    spooled: Vec<u64>,
    delivered: Vec<u64>,
}

impl Case {
    pub(super) fn new(origin: String, release: ReleaseId) -> Self {
        Self {
            origin,
            release,
            coordinator: None,
            policies: Policies::default(),
            people: BTreeMap::new(),
            agents: BTreeMap::new(),
            sealed: Vec::new(),
            received: Vec::new(),
            claims: Vec::new(),
            matched: Vec::new(),
            requests: Vec::new(),
            votes: Vec::new(),
            executed: Vec::new(),
            packed: Vec::new(),
            spooled: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// The commitment to the owner's key.
    pub(super) fn recipient(&self) -> Option<Commitment> {
        self.claims.first().map(|claim| claim.body.recipient)
    }

    /// Takes the next entry, in the order of indices, and checks who said it.
    pub(super) fn take(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
        let place = format!("entry {index}");
        let statement = match entry.statement() {
            Ok(statement) if statement.v == VERSION => statement,
            _ => {
                let what = "Its statement is not of a kind or version that this build understands";
                return findings.broken("entry.not-understood", place, what);
            }
        };
        if statement.log != self.origin {
            let what = "It was signed for another log";
            findings.broken("entry.other-log", &place, what);
        }
        match self.key(index, &statement) {
            None => {
                let what = "The receipt does not show the entry that gives its author a key";
                findings.broken("entry.no-key", &place, what);
            }
            Some(key) => {
                if let Err(error) = entry.verify(statement.namespace(), key) {
                    let what = format!("Its signature fails: {error}");
                    findings.broken("entry.signature", &place, what);
                }
            }
        }
        if let Author::Person(id) = &statement.author {
            let allowed = person::may(statement.body.kind());
            let has = |known: &Known| known.roles.iter().any(|role| allowed.contains(role));
            if !self.people.get(id).is_some_and(has) {
                let what = "Its author's roles do not allow it";
                findings.broken("entry.role", &place, what);
            }
        }
        self.keep(index, entry.leaf_hash(), statement, place, findings);
    }

    fn key<'a>(&'a self, index: u64, statement: &'a Statement) -> Option<&'a PublicKey> {
        match (&statement.author, &statement.body) {
            (Author::Coordinator, Body::LogOpened(opened)) if index == 0 => {
                Some(&opened.coordinator)
            }
            (Author::Coordinator, _) => self.coordinator.as_ref(),
            (Author::Person(id), _) => self.people.get(id).map(|known| &known.key),
            (Author::Agent(id), _) => {
                let epoch = statement.link.as_ref()?.epoch;
                self.agents.get(&(*id, epoch))
            }
        }
    }

    fn keep(
        &mut self,
        index: u64,
        leaf: Digest,
        statement: Statement,
        place: String,
        findings: &mut Findings,
    ) {
        let (author, time) = (statement.author, statement.time);
        let coordinator = author == Author::Coordinator;
        macro_rules! said {
            ($list:ident, $body:expr) => {
                self.$list.push(Said {
                    index,
                    author,
                    time,
                    leaf,
                    body: $body,
                })
            };
        }
        match statement.body {
            Body::LogOpened(b) if coordinator && index == 0 => {
                let roles = vec![Role::Admin];
                let (key, since) = (b.key, index);
                self.people.insert(b.person, Known { key, roles, since });
                self.coordinator = Some(b.coordinator);
                self.policies = b.policies;
            }
            Body::PersonAdd(b) => {
                let taken = self.people.values().any(|known| known.key == b.key);
                if taken || self.people.contains_key(&b.person) {
                    let what = "It gives one key to two people, or one id twice";
                    findings.broken("entry.rule", &place, what);
                }
                let (key, roles, since) = (b.key, b.roles, index);
                self.people.insert(b.person, Known { key, roles, since });
            }
            Body::AgentEnrolled(b) if coordinator => {
                self.agents.insert((b.agent, b.epoch), b.key);
            }
            Body::SnapshotSealed(b) => said!(sealed, b),
            Body::SnapshotReceived(b) if coordinator => said!(received, b),
            Body::ClaimFile(b) => said!(claims, b),
            Body::ClaimMatched(b) if coordinator => said!(matched, b),
            Body::RequestMake(b) => said!(requests, b),
            Body::Approve(b) => said!(votes, b),
            Body::RequestExecuted(b) if coordinator => said!(executed, b),
            Body::ReleasePacked(b) => said!(packed, b),
            Body::ReleaseSpooled(b) if coordinator && b.release == self.release => {
                self.spooled.push(index);
            }
            Body::ReleaseDelivered(b) if coordinator && b.release == self.release => {
                self.delivered.push(index);
            }
            other => {
                let what = format!("A {} has no place in this receipt", other.kind());
                findings.broken("receipt.stranger", place, what);
            }
        }
    }

    /// Checks that the entries together make the release right.
    pub(super) fn conclude(&self, shown: &mut Shown) {
        let wrong = &mut shown.findings;
        let (Some(request), Some(executed)) = (
            one(&self.requests, "request.make", wrong),
            one(&self.executed, "request.executed", wrong),
        ) else {
            return;
        };
        let (Some(claimed), Some(packed)) = (
            one(&self.claims, "claim.file", wrong),
            one(&self.packed, "release.packed", wrong),
        ) else {
            return;
        };
        shown.parcel = Some(Parcel {
            digest: packed.body.parcel,
            bytes: packed.body.bytes,
            files: packed.body.files,
        });
        shown.deliveries = self.delivered.len() as u64;
        let Act::Release {
            release,
            claim,
            files,
        } = &request.body.act
        else {
            let what = "The request asks for something else than a release";
            return wrong.broken("receipt.act", "receipt", what);
        };
        must(
            wrong,
            *release == self.release && packed.body.release == self.release,
            "receipt.other-release",
            "The request or the parcel is of another release",
        );
        must(
            wrong,
            *claim == claimed.body.claim && claimed.index < request.index,
            "receipt.other-claim",
            "The request answers another claim, or one that was not filed yet",
        );
        must(
            wrong,
            executed.body.request == request.body.request && executed.index > request.index,
            "receipt.other-request",
            "What was carried out is another request, or was carried out before it was made",
        );
        must(
            wrong,
            packed.index > executed.index
                && self.spooled.iter().all(|at| *at > packed.index)
                && self
                    .delivered
                    .iter()
                    .all(|at| self.spooled.iter().any(|s| s < at)),
            "receipt.order",
            "It was packed, spooled or delivered before it was allowed to be",
        );
        self.check_votes(request, executed, shown);
        self.check_files(claimed, request, packed, files, shown);
    }

    fn check_votes(
        &self,
        request: &Said<RequestMake>,
        executed: &Said<RequestExecuted>,
        shown: &mut Shown,
    ) {
        let wrong = &mut shown.findings;
        let policy = match self.policies.of(&request.body.act) {
            Ok(policy) => policy,
            Err(refusal) => return wrong.broken("receipt.policy", "entry 0", refusal.why),
        };
        let mut voters = BTreeSet::new();
        let mut newest = 0;
        for vote in &self.votes {
            let place = format!("entry {}", vote.index);
            let Author::Person(voter) = vote.author else {
                wrong.broken("receipt.vote", place, "Only a person can approve");
                continue;
            };
            let known = self.people.get(&voter);
            let counts =
                known.is_some_and(|known| known.roles.iter().any(|r| policy.roles.contains(r)));
            let was_there = known.is_some_and(|known| known.since < request.index);
            let what = if vote.body.request != request.body.request
                || vote.body.entry != request.leaf
                || vote.body.act != request.body.act
            {
                "The approval was signed for something else than this request"
            } else if request.author == vote.author {
                "Who asked for it approved it himself"
            } else if !counts {
                "The approver's role does not count under the policy"
            } else if !was_there {
                "The approver was added only after it was asked for"
            } else if vote.index < request.index || vote.index > executed.index {
                "The approval was not there when the request was carried out"
            } else if vote.body.expires <= executed.time {
                "The approval had expired when the request was carried out"
            } else {
                newest = newest.max(vote.index);
                voters.insert(voter);
                continue;
            };
            wrong.broken("receipt.vote", place, what);
        }
        (shown.approvals, shown.demanded) = (voters.len() as u32, policy.approvals);
        if shown.approvals < policy.approvals {
            let what = format!(
                "{} distinct people approved; the policy demands {}",
                shown.approvals, policy.approvals
            );
            wrong.broken("receipt.too-few", "receipt", what);
        }
        must(
            wrong,
            executed.body.checkpoint > newest && executed.body.checkpoint <= executed.index,
            "receipt.no-checkpoint",
            "No checkpoint covered the approvals when the request was carried out",
        );
    }

    fn check_files(
        &self,
        claimed: &Said<ClaimFile>,
        request: &Said<RequestMake>,
        packed: &Said<ReleasePacked>,
        files: &[Rows],
        shown: &mut Shown,
    ) {
        must(
            &mut shown.findings,
            !files.is_empty() && matches!(packed.author, Author::Agent(_)),
            "receipt.files",
            "It releases nothing, or was not packed by an agent",
        );
        for rows in files {
            let snapshot = rows.snapshot;
            let matched = self.matched.iter().any(|m| {
                m.body.snapshot == snapshot
                    && m.body.claim == claimed.body.claim
                    && m.body.rows.is_well_formed()
                    && rows.rows.is_well_formed()
                    && !rows.rows.is_empty()
                    && rows.rows.is_within(&m.body.rows)
                    && m.index < request.index
            });
            let sealed = self.sealed.iter().find(|s| s.body.snapshot == snapshot);
            let received = self.received.iter().any(|r| {
                r.body.snapshot == snapshot
                    && r.index < request.index
                    && sealed.is_some_and(|s| s.body.root == r.body.root && s.index < r.index)
            });
            let wrong = &mut shown.findings;
            must(
                wrong,
                matched,
                "receipt.not-claimed",
                &format!("The claim was not matched to these rows of {snapshot}"),
            );
            must(
                wrong,
                received && sealed.is_some_and(|s| s.author == packed.author),
                "receipt.snapshot",
                &format!("{snapshot} was not sealed by the agent that packed, and received"),
            );
            if let Some(sealed) = sealed {
                must(
                    wrong,
                    rows.rows.end() <= sealed.body.rows,
                    "receipt.rows",
                    &format!("It names rows that {snapshot} does not have"),
                );
                shown.roots.push((sealed.body.root, sealed.body.rows));
            }
        }
    }
}

fn must(findings: &mut Findings, kept: bool, code: &'static str, otherwise: &str) {
    if !kept {
        findings.broken(code, "receipt", otherwise);
    }
}

/// The one entry of a kind that there must be.
fn one<'a, B>(said: &'a [Said<B>], kind: &str, findings: &mut Findings) -> Option<&'a Said<B>> {
    match said {
        [one] => Some(one),
        _ => {
            let what = format!("It has {} entries {kind}; it must have one", said.len());
            findings.broken("receipt.entries", "receipt", what);
            None
        }
    }
}

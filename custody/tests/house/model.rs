//! A second, plain telling of the law: written from the promises, never from the code.
//!
//! It reads only the statements that were recorded with effect, in their order, and keeps what
//! the invariants speak of. Where it and the house disagree, one of them is wrong.

use std::collections::{BTreeMap, BTreeSet};

use custody::{
    commit::Commitment,
    digest::Digest,
    house::{act::Act, act::Rows, order::Copies, person::Role, scope::Rule},
    id::{AgentId, ClaimId, HoldId, OrderId, PersonId, ReleaseId, RequestId, SnapshotId, TargetId},
    statement::{Author, Body, Statement},
    time::{Span, Time},
};

use super::world::{APPROVALS, LIFT_ROLES, NOTICE_HOURS, RELEASE_ROLES};

pub struct Asked {
    pub by: PersonId,
    pub act: Act,
    pub leaf: Digest,
    pub received: Time,
    pub votes: BTreeMap<PersonId, (Time, u64)>,
    pub over: bool,
}

pub struct Place {
    pub agent: AgentId,
    pub path: String,
    pub hold: HoldId,
    pub lifted: bool,
    pub lowered: bool,
    /// Places that approvals took out, in their order, and how many of them are free.
    pub out: Vec<String>,
    pub free: usize,
}

#[derive(Default)]
pub struct Model {
    pub people: BTreeMap<PersonId, Vec<Role>>,
    pub orders: BTreeMap<OrderId, Copies>,
    pub holds: BTreeMap<HoldId, OrderId>,
    pub places: BTreeMap<TargetId, Place>,
    pub snapshots: BTreeMap<SnapshotId, (TargetId, bool)>,
    pub claims: BTreeMap<ClaimId, bool>,
    pub matches: BTreeMap<(ClaimId, SnapshotId), (BTreeSet<u64>, u64)>,
    pub lists: u64,
    pub requests: BTreeMap<RequestId, Asked>,
    pub releases: BTreeMap<ReleaseId, (ClaimId, Vec<Rows>, RequestId)>,
    /// Deliveries that went through.
    pub delivered: u64,
}

/// Component by component, as a person reads a path.
fn lies_in(path: &str, place: &str) -> bool {
    let parts = |text: &str| {
        text.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    parts(path).starts_with(&parts(place))
}

impl Place {
    /// Whether approvals took this path out.
    fn let_go(&self, path: &str) -> bool {
        self.out.iter().any(|out| lies_in(path, out))
    }
}

fn rows(rows: &Rows) -> BTreeSet<u64> {
    rows.rows
        .as_slice()
        .iter()
        .flat_map(|&(first, end)| first..end)
        .collect()
}

impl Model {
    /// Takes up a statement that was recorded with effect.
    pub fn take(
        &mut self,
        statement: &Statement,
        leaf: Digest,
        now: Time,
        index: u64,
        openings: &BTreeMap<Commitment, Vec<u8>>,
    ) {
        match (&statement.author, statement.body.clone()) {
            (_, Body::LogOpened(b)) => {
                self.people.insert(b.person, vec![Role::Admin]);
            }
            (_, Body::PersonAdd(b)) => {
                self.people.insert(b.person, b.roles);
            }
            (_, Body::PersonRetire(b)) => {
                self.people.insert(b.person, vec![]);
            }
            (_, Body::OrderAdd(b)) => {
                assert!(b.scope.iter().any(|item| item.rule == Rule::Include));
                self.orders.insert(b.order, b.copies);
            }
            (_, Body::HoldPlace(b)) => {
                self.holds.insert(b.hold, b.order);
                for target in b.targets {
                    let path = String::from_utf8(openings[&target.path].clone()).unwrap();
                    let (agent, hold) = (target.agent, b.hold);
                    let place = Place {
                        agent,
                        path,
                        hold,
                        lifted: false,
                        lowered: false,
                        out: vec![],
                        free: 0,
                    };
                    assert!(self.places.insert(target.target, place).is_none());
                }
            }
            (Author::Agent(by), Body::HoldLowered(b)) => {
                let place = self.places.get_mut(&b.target).unwrap();
                assert!(place.lifted, "I1: lowered what nobody had lifted");
                assert_eq!(place.agent, *by);
                place.lowered = true;
            }
            (Author::Agent(by), Body::HoldNarrowed(b)) => {
                let place = self.places.get_mut(&b.target).unwrap();
                let freed = usize::try_from(b.places).unwrap();
                assert!(freed <= place.out.len(), "I1: freed what nobody had let go");
                assert!(freed > place.free, "said twice");
                assert_eq!(place.agent, *by);
                place.free = freed;
            }
            (_, Body::SnapshotTake(b)) => {
                for wish in b.snapshots {
                    let fresh = self.snapshots.insert(wish.snapshot, (wish.target, false));
                    assert!(fresh.is_none());
                }
            }
            (_, Body::SnapshotReceived(b)) => self.snapshots.get_mut(&b.snapshot).unwrap().1 = true,
            (_, Body::ClaimFile(b)) => {
                self.claims.insert(b.claim, true);
            }
            (_, Body::ClaimWithdraw(b)) => {
                self.claims.insert(b.claim, false);
            }
            (_, Body::ClaimMatched(b)) => {
                let rows = b
                    .rows
                    .as_slice()
                    .iter()
                    .flat_map(|&(first, end)| first..end);
                self.matches
                    .insert((b.claim, b.snapshot), (rows.collect(), b.lists));
            }
            (_, Body::ListImport(_)) => self.lists += 1,
            (Author::Person(by), Body::RequestMake(b)) => {
                if let Act::Narrow { targets } = &b.act {
                    for one in targets {
                        let whole = &self.places[&one.target].path;
                        for place in &one.leave {
                            let text = String::from_utf8(openings[place].clone()).unwrap();
                            assert!(lies_in(&text, whole) && !lies_in(whole, &text));
                        }
                    }
                }
                let asked = Asked {
                    by: *by,
                    act: b.act,
                    leaf,
                    received: now,
                    votes: BTreeMap::new(),
                    over: false,
                };
                assert!(self.requests.insert(b.request, asked).is_none());
            }
            (Author::Person(by), Body::Approve(b)) => {
                let asked = self.requests.get_mut(&b.request).unwrap();
                assert!(!asked.over && asked.by != *by, "I6: his own request");
                assert_eq!(
                    (&b.entry, &b.act),
                    (&asked.leaf, &asked.act),
                    "another request"
                );
                assert!(b.expires > now && b.expires <= now + Span::days(30));
                asked.votes.insert(*by, (b.expires, index));
            }
            (Author::Person(by), Body::Reject(b)) => {
                let voters = [Role::Approver, Role::Legal];
                let asked = self.requests.get_mut(&b.request).unwrap();
                let may = self.people[by].iter().any(|role| voters.contains(role));
                assert!(!asked.over && (may || asked.by == *by), "not his to end");
                asked.over = true;
            }
            (_, Body::RequestExecuted(b)) => self.execute(b.request, b.checkpoint, now, openings),
            (_, Body::ReleaseDelivered(b)) => {
                assert_eq!(self.blocked(&b.release, now), None, "I7");
                self.delivered += 1;
            }
            _ => {}
        }
    }

    fn standing_votes(&self, asked: &Asked, now: Time) -> usize {
        let roles = match asked.act {
            Act::Release { .. } => &RELEASE_ROLES[..],
            Act::Lift { .. } | Act::Narrow { .. } => &LIFT_ROLES[..],
        };
        let counts = |(person, (expires, _)): &(&PersonId, &(Time, u64))| {
            **person != asked.by
                && *expires > now
                && self.people[person].iter().any(|role| roles.contains(role))
        };
        asked.votes.iter().filter(counts).count()
    }

    /// I6: nobody releases or lifts alone.
    fn execute(
        &mut self,
        request: RequestId,
        checkpoint: u64,
        now: Time,
        openings: &BTreeMap<Commitment, Vec<u8>>,
    ) {
        let asked = &self.requests[&request];
        assert!(!asked.over, "carried out twice, or after a rejection");
        assert!(
            self.standing_votes(asked, now) >= APPROVALS as usize,
            "I6: too few people"
        );
        assert!(asked.votes.values().all(|(_, index)| *index < checkpoint));
        let notice = Span::hours(i64::from(NOTICE_HOURS));
        let waited = now >= asked.received + notice;
        match asked.act.clone() {
            Act::Narrow { targets } => {
                assert!(waited, "P2: a part before the notice was over");
                for one in targets {
                    let place = self.places.get_mut(&one.target).unwrap();
                    if !place.lifted {
                        let text = |c| String::from_utf8(openings[c].clone()).unwrap();
                        place.out.extend(one.leave.iter().map(text));
                    }
                }
            }
            Act::Lift { targets } => {
                assert!(waited, "P2: before the notice was over");
                for target in targets {
                    self.places.get_mut(&target).unwrap().lifted = true;
                }
            }
            Act::Release {
                release,
                claim,
                files,
            } => {
                assert_eq!(self.forbids(&claim, &files), None, "I7");
                let fresh = self.releases.insert(release, (claim, files, request));
                assert!(fresh.is_none(), "a release replaced another");
            }
        }
        self.requests.get_mut(&request).unwrap().over = true;
    }

    /// I7: why a release may not be handed out now.
    pub fn blocked(&self, release: &ReleaseId, now: Time) -> Option<&'static str> {
        let (claim, files, request) = &self.releases[release];
        if self.standing_votes(&self.requests[request], now) < APPROVALS as usize {
            return Some("approvals are over");
        }
        self.forbids(claim, files)
    }

    /// I7: why no copy of these rows may leave to this claimant.
    pub fn forbids(&self, claim: &ClaimId, files: &[Rows]) -> Option<&'static str> {
        if self.claims.get(claim) != Some(&true) {
            return Some("the claim is over");
        }
        for wish in files {
            let Some((target, true)) = self.snapshots.get(&wish.snapshot) else {
                return Some("no manifest");
            };
            let wanted = rows(wish);
            match self.matches.get(&(*claim, wish.snapshot)) {
                Some((ours, lists)) if *lists == self.lists && wanted.is_subset(ours) => {}
                _ => return Some("not matched under today's lists"),
            }
            let others = self
                .claims
                .iter()
                .filter(|(other, open)| **open && *other != claim);
            for (other, _) in others {
                match self.matches.get(&(*other, wish.snapshot)) {
                    Some((theirs, _)) if wanted.is_disjoint(theirs) => {}
                    _ => return Some("contested"),
                }
            }
            let ours = &self.places[target];
            let near = |place: &&Place| {
                place.agent == ours.agent
                    && !place.lifted
                    && (lies_in(&place.path, &ours.path) || lies_in(&ours.path, &place.path))
                    && !place.let_go(&ours.path)
            };
            let mut near = self.places.values().filter(near);
            if near.any(|place| self.orders[&self.holds[&place.hold]] == Copies::Forbidden) {
                return Some("copies are forbidden");
            }
        }
        None
    }

    /// I1, I2: every hold that stands on a place.
    pub fn reasons(&self, agent: &AgentId, path: &str) -> BTreeSet<HoldId> {
        let on = |place: &&Place| {
            place.agent == *agent
                && !place.lifted
                && lies_in(path, &place.path)
                && !place.let_go(path)
        };
        self.places
            .values()
            .filter(on)
            .map(|place| place.hold)
            .collect()
    }
}

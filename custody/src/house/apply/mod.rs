//! Applies: folds one accepted statement into the state. It cannot fail and asks no rule.

mod clearance;
mod executed;
mod hold;

use std::collections::{BTreeMap, BTreeSet};

use self::hold::target;
use super::{
    ExclusionList, House, Key, Opened,
    agent::{Agent, Enrolment, Invitation, Limited},
    approval::{Request, Status as RequestStatus, Vote},
    claim::{Claim, Status as ClaimStatus},
    clearance::State as ClearanceState,
    decide::Accepted,
    finding::Noted,
    hold::State,
    order::{Order, Status as OrderStatus},
    person::{Person, Role},
    release::State as ReleaseState,
    snapshot::{Snapshot, State as SnapshotState},
};
use crate::{
    ledger::chain::{self, ChainHead},
    statement::{Author, Body},
};

/// The records that an entry changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeSet<Key>);

impl Changes {
    fn note(&mut self, kind: &'static str, id: impl ToString) {
        self.0.insert(Key {
            kind,
            id: id.to_string(),
        });
    }
}

/// Folds an accepted statement, which stands at `index` of the log, into the house.
pub fn apply(house: &mut House, accepted: Accepted, index: u64) -> Changes {
    let mut changes = Changes::default();
    let Accepted {
        statement,
        received,
        leaf,
        entry,
        agent,
        void,
    } = accepted;
    if let (Author::Agent(id), Some(link)) = (&statement.author, &statement.link)
        && let Some(enrolment) = house.agents.get_mut(id).and_then(|a| a.enrolment.as_mut())
    {
        enrolment.head = chain::next(link, entry);
        changes.note("agents", id);
    }
    if void.is_some() {
        return changes;
    }
    let author = statement.author;
    match statement.body {
        Body::LogOpened(b) => {
            house.persons.insert(
                b.person,
                Person {
                    id: b.person,
                    key: b.key,
                    roles: vec![Role::Admin],
                    name: b.name,
                    retired: false,
                    entry: index,
                },
            );
            house.opened = Some(Opened {
                origin: statement.log,
                coordinator: b.coordinator,
                policies: b.policies,
            });
            changes.note("persons", b.person);
            changes.note("opened", "");
        }
        Body::PersonAdd(b) => {
            changes.note("persons", b.person);
            house.persons.insert(
                b.person,
                Person {
                    id: b.person,
                    key: b.key,
                    roles: b.roles,
                    name: b.name,
                    retired: false,
                    entry: index,
                },
            );
        }
        Body::PersonRetire(b) => {
            if let Some(person) = house.persons.get_mut(&b.person) {
                person.retired = true;
                changes.note("persons", b.person);
            }
        }
        Body::AgentInvite(b) => {
            let invitation = Invitation {
                token: b.token,
                expires: b.expires,
            };
            let agent = house.agents.entry(b.agent).or_insert_with(|| Agent {
                id: b.agent,
                name: b.name,
                invitation: None,
                enrolment: None,
                limits: None,
                retired: false,
                entry: index,
            });
            agent.invitation = Some(invitation);
            changes.note("agents", b.agent);
        }
        Body::AgentRetire(b) => {
            if let Some(agent) = house.agents.get_mut(&b.agent) {
                agent.retired = true;
                agent.invitation = None;
                changes.note("agents", b.agent);
            }
        }
        Body::AgentEnrolled(b) => {
            if let Some(agent) = house.agents.get_mut(&b.agent) {
                agent.invitation = None;
                agent.enrolment = Some(Enrolment {
                    key: b.key,
                    certificates: vec![(b.certificate, b.not_after)],
                    head: ChainHead::start(b.epoch),
                });
                changes.note("agents", b.agent);
            }
        }
        Body::AgentCertified(b) => {
            if let Some(e) = house
                .agents
                .get_mut(&b.agent)
                .and_then(|a| a.enrolment.as_mut())
            {
                e.certify(b.certificate, b.not_after, b.over);
                changes.note("agents", b.agent);
            }
        }
        Body::OrderAdd(b) => {
            changes.note("orders", b.order);
            house.orders.insert(b.order, Order::new(b, index));
        }
        Body::OrderExtend(b) => {
            if let Some(order) = house.orders.get_mut(&b.order) {
                order.extend(b.received, b.beyond_regime, index);
                changes.note("orders", b.order);
            }
        }
        Body::OrderNarrow(b) => {
            if let Some(order) = house.orders.get_mut(&b.order) {
                order.served.scope.extend(b.exclude);
                changes.note("orders", b.order);
            }
        }
        Body::OrderWithdraw(b) => set_order(house, &mut changes, b.order, OrderStatus::Withdrawn),
        Body::OrderExpired(b) => set_order(house, &mut changes, b.order, OrderStatus::Expired),
        Body::HoldPlace(b) => hold::place(house, &mut changes, index, b),
        Body::HoldAcknowledged(b) => target(house, &mut changes, index, b.target, |target| {
            target.state = State::Acknowledged;
            target.trouble = None;
        }),
        Body::HoldRaised(b) => target(house, &mut changes, index, b.target, |target| {
            target.raised(b, statement.time);
        }),
        Body::HoldVerified(b) => target(house, &mut changes, index, b.target, |target| {
            target.state = State::Verified;
            target.trouble = None;
            target.attempts = b.refused;
            target.writers = 0;
        }),
        Body::HoldUnproved(b) => target(house, &mut changes, index, b.target, |target| {
            target.state = State::Acknowledged;
            target.attempts = b.refused;
            target.writers = b.writers;
            target.trouble = Some("unproved".to_owned());
        }),
        Body::HoldFailed(b) => target(house, &mut changes, index, b.id, |target| {
            target.state = State::Failed;
            target.trouble = Some(b.reason);
        }),
        Body::HoldLowered(b) => target(house, &mut changes, index, b.target, |target| {
            target.state = State::Lifted;
        }),
        Body::HoldNarrowed(b) => hold::narrowed(house, &mut changes, index, &b),
        Body::Finding(b) => {
            if let Some(id) = b.target {
                target(house, &mut changes, index, id, |target| {
                    if target.state.holds() && b.what.drifts() {
                        target.state = State::Drifted;
                    }
                });
            }
            house.findings.insert(
                index,
                Noted {
                    finding: b,
                    by: author,
                    entry: index,
                },
            );
            changes.note("findings", index);
        }
        Body::FixityChecked(b) => target(house, &mut changes, index, b.target, |target| {
            target.fixity = Some(b);
        }),
        Body::CopyMade(b) => target(house, &mut changes, index, b.target, |target| {
            target.copy = Some(b);
        }),
        // The next round says what is still amiss.
        Body::CopyRepaired(b) => target(house, &mut changes, index, b.target, |_| {}),
        Body::AgentLimit(b) => {
            if let Some(agent) = house.agents.get_mut(&b.agent) {
                agent.limits = Some(Limited {
                    limits: b.limits,
                    entry: index,
                });
                changes.note("agents", b.agent);
            }
        }
        Body::ClearanceAsk(b) => clearance::ask(house, &mut changes, index, author, b),
        Body::ClearanceGiven(b) => {
            let state = ClearanceState::Given { expires: b.expires };
            clearance::set(house, &mut changes, index, b.clearance, state);
        }
        Body::ClearanceRefused(b) => {
            let state = ClearanceState::Refused {
                holds: b.holds,
                orders: b.orders,
            };
            clearance::set(house, &mut changes, index, b.clearance, state);
        }
        Body::ClearanceUsed(b) => {
            clearance::set(
                house,
                &mut changes,
                index,
                b.clearance,
                ClearanceState::Used,
            );
        }
        Body::SnapshotTake(b) => {
            for wish in b.snapshots {
                let Some(target) = house.targets.get(&wish.target) else {
                    continue;
                };
                let snapshot = Snapshot {
                    id: wish.snapshot,
                    target: wish.target,
                    agent: target.wish.agent,
                    state: SnapshotState::Requested,
                    sealed: None,
                    sealed_entry: None,
                    trouble: None,
                    entry: index,
                };
                house.snapshots.insert(wish.snapshot, snapshot);
                changes.note("snapshots", wish.snapshot);
            }
        }
        Body::SnapshotSealed(b) => {
            if let Some(snapshot) = house.snapshots.get_mut(&b.snapshot) {
                changes.note("snapshots", b.snapshot);
                snapshot.state = SnapshotState::Sealed;
                snapshot.sealed_entry = Some(index);
                snapshot.sealed = Some(b);
            }
        }
        Body::SnapshotFailed(b) => {
            if let Some(snapshot) = house.snapshots.get_mut(&b.id) {
                snapshot.state = SnapshotState::Failed;
                snapshot.trouble = Some(b.reason);
                changes.note("snapshots", b.id);
            }
        }
        Body::SnapshotReceived(b) => {
            if let Some(snapshot) = house.snapshots.get_mut(&b.snapshot) {
                snapshot.state = SnapshotState::Received;
                changes.note("snapshots", b.snapshot);
            }
        }
        Body::ClaimFile(b) => {
            changes.note("claims", b.claim);
            let claim = Claim {
                status: ClaimStatus::Open,
                matches: BTreeMap::new(),
                entry: index,
                filed: b,
            };
            house.claims.insert(claim.filed.claim, claim);
        }
        Body::ClaimMatched(b) => {
            if let Some(claim) = house.claims.get_mut(&b.claim) {
                changes.note("claims", b.claim);
                claim.matches.insert(b.snapshot, b);
            }
        }
        Body::ClaimWithdraw(b) => {
            if let Some(claim) = house.claims.get_mut(&b.claim) {
                claim.status = ClaimStatus::Withdrawn;
                changes.note("claims", b.claim);
            }
        }
        Body::ListImport(b) => {
            let list = house
                .lists
                .entry(b.list.clone())
                .or_insert_with(|| ExclusionList {
                    id: b.list.clone(),
                    basis: b.basis.clone(),
                    hashes: BTreeSet::new(),
                    changed: index,
                });
            list.hashes.extend(b.hashes);
            list.changed = index;
            house.lists_revision += 1;
            changes.note("lists", b.list);
            changes.note("lists_revision", "");
        }
        Body::RequestMake(b) => {
            let Author::Person(by) = author else {
                return changes;
            };
            changes.note("requests", b.request);
            let request = Request {
                id: b.request,
                by,
                act: b.act,
                leaf,
                received,
                status: RequestStatus::Open,
                votes: BTreeMap::new(),
                rejected_by: None,
                entry: index,
            };
            house.requests.insert(b.request, request);
        }
        Body::Approve(b) => {
            if let (Author::Person(by), Some(request)) =
                (author, house.requests.get_mut(&b.request))
            {
                request.votes.insert(
                    by,
                    Vote {
                        expires: b.expires,
                        entry: index,
                    },
                );
                changes.note("requests", b.request);
            }
        }
        Body::Reject(b) => {
            if let Some(request) = house.requests.get_mut(&b.request) {
                request.status = RequestStatus::Rejected;
                if let Author::Person(by) = author {
                    request.rejected_by = Some(by);
                }
                changes.note("requests", b.request);
            }
        }
        Body::RequestExecuted(b) => executed::carry_out(house, &mut changes, index, &b, agent),
        Body::ReleasePacked(b) => {
            if let Some(release) = house.releases.get_mut(&b.release) {
                changes.note("releases", b.release);
                release.state = ReleaseState::Packed;
                release.packed_entry = Some(index);
                release.packed = Some(b);
            }
        }
        Body::ReleaseFailed(b) => {
            if let Some(release) = house.releases.get_mut(&b.id) {
                release.state = ReleaseState::Failed;
                release.trouble = Some(b.reason);
                changes.note("releases", b.id);
            }
        }
        Body::ReleaseSpooled(b) => {
            if let Some(release) = house.releases.get_mut(&b.release) {
                release.state = ReleaseState::Spooled;
                changes.note("releases", b.release);
            }
        }
        Body::ReleaseDelivered(b) => {
            if let Some(release) = house.releases.get_mut(&b.release) {
                release.state = ReleaseState::Delivered;
                release.deliveries += 1;
                changes.note("releases", b.release);
            }
        }
        Body::SubjectErase(_) | Body::Refused(_) | Body::Sealed(_) => {}
    }
    changes
}

fn set_order(
    house: &mut House,
    changes: &mut Changes,
    id: crate::id::OrderId,
    status: OrderStatus,
) {
    if let Some(order) = house.orders.get_mut(&id) {
        order.status = status;
        changes.note("orders", id);
    }
}

//! Random acts of random people: some may, some may not, some make no sense.

use custody::{
    digest::Digest,
    house::{
        act::Act,
        finding::FindingKind,
        order::Copies,
        release,
        scope::Rule,
        tasks::{Due, Task},
    },
    id::{OrderId, PersonId, SnapshotId, TargetId},
    statement::{
        AgentRetire, Author, Body, ClaimWithdraw, Finding, HoldAcknowledged, HoldProof, ListImport,
        OrderExpired, OrderExtend, OrderNarrow, OrderWithdraw, PersonRetire, Reject,
        ReleaseSpooled, RequestExecuted, RequestMake, Sealed, SnapshotReceived, SnapshotTake,
        SnapshotWish, Trouble,
    },
    time::Span,
};
use proptest::prelude::*;

use super::{Desk, Said, bytes16, clearances, narrow, world};

pub const PATHS: [&str; 6] = [
    "/srv",
    "/srv/a",
    "/srv/a/b",
    "/srv/ab",
    "/srv/a/b/c",
    "/data",
];

/// One act: what, by whom, and numbers that choose among what there is.
#[derive(Clone, Debug)]
pub struct Op {
    pub what: u8,
    /// The person whose task it is, or whoever this number names.
    pub right_person: bool,
    pub who: usize,
    pub a: usize,
    pub b: usize,
    pub c: usize,
}

pub const KINDS: u8 = 32;

pub fn op() -> impl Strategy<Value = Op> {
    let right = prop::bool::weighted(0.85);
    (
        0..KINDS,
        right,
        0_usize..11,
        0_usize..1000,
        0_usize..1000,
        0_usize..1000,
    )
        .prop_map(|(what, right_person, who, a, b, c)| Op {
            what,
            right_person,
            who,
            a,
            b,
            c,
        })
}

fn pick<T: Copy>(all: &[T], n: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[n % all.len()])
}

impl Op {
    fn by(&self, right: PersonId) -> PersonId {
        if self.right_person {
            right
        } else {
            world::PEOPLE[self.who]
        }
    }

    /// Does it; `None` when there is nothing yet that it could be about.
    pub fn run(&self, desk: &mut Desk) -> Option<Result<Said, custody::house::refusal::Refusal>> {
        let (a, b, c) = (self.a, self.b, self.c);
        let agent = if b.is_multiple_of(2) {
            world::ONE
        } else {
            world::TWO
        };
        let targets: Vec<TargetId> = desk.house.targets.keys().copied().collect();
        let orders: Vec<OrderId> = desk.house.orders.keys().copied().collect();
        let snapshots: Vec<SnapshotId> = desk.house.snapshots.keys().copied().collect();
        let claims: Vec<_> = desk.house.claims.keys().copied().collect();
        let requests: Vec<_> = desk.house.requests.keys().copied().collect();
        let said = match self.what {
            0 => {
                let regime = ["us-2703f", "eu-epoc-pr", "court-order", "nonsense"][c % 4];
                let copies = [Copies::Permitted, Copies::Permitted, Copies::Forbidden][b % 3];
                let (one, two) = (PATHS[a % 6], PATHS[c % 6]);
                let order = world::order(desk, regime, copies, &[one, two]);
                desk.person(self.by(world::INTAKE), Body::OrderAdd(order))
            }
            29 => {
                let (by, path) = (self.by(world::OPERATOR), PATHS[a % 6]);
                clearances::play(desk, by, agent, path, c)?
            }
            30 | 31 => {
                let by = self.by(if b.is_multiple_of(2) {
                    world::LEGAL
                } else {
                    world::CARLA
                });
                let paths = [PATHS[c % 6], PATHS[b % 6]];
                narrow::play(desk, by, pick(&targets, a)?, &paths, a)?
            }
            1 | 2 => {
                let order = desk.house.orders[&pick(&orders, a)?].served.clone();
                let (one, two) = (PATHS[c % 6], PATHS[(a + b) % 6]);
                let paths = if c.is_multiple_of(3) {
                    vec![one]
                } else {
                    vec![one, two]
                };
                let place = world::place(desk, &order, agent, &paths);
                desk.person(self.by(world::OPERATOR), Body::HoldPlace(place))
            }
            3 => {
                let reference = desk.commit("reference", b"renewal");
                let received = desk.now;
                let beyond_regime = c.is_multiple_of(2);
                let order = pick(&orders, a)?;
                let body = OrderExtend {
                    order,
                    received,
                    reference,
                    beyond_regime,
                };
                desk.person(self.by(world::LEGAL), Body::OrderExtend(body))
            }
            4 => {
                let (order, received) = (pick(&orders, a)?, desk.now);
                if c.is_multiple_of(3) {
                    let body = OrderWithdraw { order, received };
                    desk.person(self.by(world::LEGAL), Body::OrderWithdraw(body))
                } else {
                    let rule = if b.is_multiple_of(4) {
                        Rule::Include
                    } else {
                        Rule::Exclude
                    };
                    let exclude = vec![world::item(desk, rule, None, PATHS[b % 6])];
                    let body = OrderNarrow {
                        order,
                        received,
                        exclude,
                    };
                    desk.person(self.by(world::LEGAL), Body::OrderNarrow(body))
                }
            }
            5 => {
                desk.wait(Span::hours([1, 13, 25, 24 * 8, 24 * 40, 24 * 100][a % 6]));
                match pick(&desk.house.due(desk.now), b)? {
                    Due::Expire(order, ended) => {
                        desk.coordinator(Body::OrderExpired(OrderExpired { order, ended }))
                    }
                    Due::Execute(request) => world::execute(desk, request),
                    Due::Answer(clearance) => {
                        let body = clearances::due(desk, clearance);
                        desk.coordinator(body)
                    }
                }
            }
            6 => {
                let (order, ended) = (pick(&orders, a)?, desk.now);
                desk.coordinator(Body::OrderExpired(OrderExpired { order, ended }))
            }
            7 | 8 => {
                // What an honest agent does next.
                let task = pick(&desk.house.tasks(&agent), a)?;
                match task {
                    Task::Raise(target) => match c % 3 {
                        0 => desk.agent(agent, world::raised(target)),
                        1 => desk.agent(agent, world::proof(target, 3, 3, 0)),
                        _ => {
                            let body = HoldAcknowledged { target };
                            desk.agent(agent, Body::HoldAcknowledged(body))
                        }
                    },
                    Task::Capture(snapshot) => {
                        let body = world::sealed(desk, snapshot, 30);
                        desk.agent(agent, body)
                    }
                    Task::SendManifest(snapshot) => {
                        let root = Digest::of(b"root");
                        let body = SnapshotReceived { snapshot, root };
                        desk.coordinator(Body::SnapshotReceived(body))
                    }
                    Task::Lower(target) => desk.agent(agent, world::lowered(target)),
                    Task::Narrow(target) => narrow::report(desk, agent, target, c),
                    Task::Pack(release) => desk.agent(agent, world::packed(release)),
                    Task::SendParcel(release) => {
                        let body = ReleaseSpooled { release };
                        desk.coordinator(Body::ReleaseSpooled(body))
                    }
                }
            }
            9 | 10 => {
                // What a confused or dishonest agent may try.
                let id = pick(&targets, a)?;
                let root = Digest::of(b"root");
                let body = match c % 10 {
                    9 => narrow::narrowed(id, b as u64 % 4),
                    0 | 1 => world::lowered(id),
                    2 => world::proof(id, 3, 2, 0),
                    3 => Body::HoldFailed(Trouble {
                        id,
                        reason: "not-found".to_owned(),
                    }),
                    4 => Body::Finding(Finding {
                        what: FindingKind::HeldChanged,
                        target: Some(id),
                        count: 1,
                        evidence: vec![],
                        entry: None,
                        places: Vec::new(),
                        by: a
                            .is_multiple_of(2)
                            .then(|| desk.commit("process", b"somebody")),
                        noticed: None,
                    }),
                    5 => Body::SnapshotReceived(SnapshotReceived {
                        snapshot: pick(&snapshots, a)?,
                        root,
                    }),
                    6 => Body::RequestExecuted(RequestExecuted {
                        request: pick(&requests, a)?,
                        checkpoint: 1_000_000,
                    }),
                    7 => Body::HoldUnproved(HoldProof {
                        target: id,
                        attempts: 3,
                        refused: 2,
                        writers: 1,
                    }),
                    _ => world::proof(id, 3, 3, 0),
                };
                desk.agent(agent, body)
            }
            11 => {
                // A link that does not follow.
                let body = world::lowered(pick(&targets, a)?);
                let mut statement = desk.statement(Author::Agent(agent), body);
                let link = statement.link.as_mut()?;
                match c % 4 {
                    0 => link.seq += 1,
                    1 => link.epoch += 1,
                    2 => link.prev = Digest::of(b"another"),
                    _ => statement.link = None,
                }
                let entry = desk.seal(&statement);
                desk.take(entry)
            }
            12 => {
                // To the byte what was said before, as a retry sends it.
                let entry = desk.log[a % desk.log.len()].entry.clone();
                if !matches!(entry.statement().unwrap().author, Author::Agent(_)) {
                    return None;
                }
                let key = desk.house.key_of(&entry.statement().unwrap()).ok()?;
                entry.verify(custody::sign::Namespace::Agent, &key).ok()?;
                desk.take(entry)
            }
            13 => {
                let snapshot = SnapshotId::from_random(bytes16(desk.next()));
                let mut snapshots = vec![SnapshotWish {
                    snapshot,
                    target: pick(&targets, a)?,
                }];
                if c.is_multiple_of(5) {
                    snapshots.push(SnapshotWish {
                        snapshot,
                        target: pick(&targets, b)?,
                    });
                }
                desk.person(
                    self.by(world::CUSTODIAN),
                    Body::SnapshotTake(SnapshotTake { snapshots }),
                )
            }
            14 => {
                let mut body = world::claim_body(desk);
                body.sworn = !c.is_multiple_of(7);
                let claim = body.claim;
                let mut said = desk.person(self.by(world::CLAIMS), Body::ClaimFile(body));
                // Mostly the coordinator matches it at once, as it should.
                if said.is_ok() && !b.is_multiple_of(4) {
                    for snapshot in snapshots {
                        let first = (a % 60) as u64;
                        said =
                            world::matched(desk, claim, snapshot, &[(first, first + 9)]).or(said);
                    }
                }
                said
            }
            15..=17 => {
                let first = (c % 30) as u64;
                let rows = (first, first + (a % 15) as u64);
                world::matched(desk, pick(&claims, a)?, pick(&snapshots, b)?, &[rows])
            }
            18 => match c % 3 {
                0 => {
                    let claim = pick(&claims, a)?;
                    desk.person(
                        self.by(world::CLAIMS),
                        Body::ClaimWithdraw(ClaimWithdraw { claim }),
                    )
                }
                1 => {
                    let body = ListImport {
                        list: "known".to_owned(),
                        basis: "court".to_owned(),
                        hashes: vec![Digest::of(&a.to_be_bytes())],
                    };
                    desk.person(self.by(world::LEGAL), Body::ListImport(body))
                }
                _ => {
                    let person = world::PEOPLE[a % 11];
                    if person == world::ADMIN || !b.is_multiple_of(4) {
                        return None;
                    }
                    desk.person(
                        self.by(world::ADMIN),
                        Body::PersonRetire(PersonRetire { person }),
                    )
                }
            },
            19 => {
                let lifted: Vec<_> = [pick(&targets, a), pick(&targets, b)]
                    .into_iter()
                    .flatten()
                    .take(1 + c % 2)
                    .collect();
                let by = self.by(if c.is_multiple_of(2) {
                    world::LEGAL
                } else {
                    world::CARLA
                });
                world::request(desk, by, Act::Lift { targets: lifted })
                    .err()
                    .map(Err)?
            }
            20 => {
                // What may be released, or nearly.
                let matches = desk.house.claims.values().flat_map(|c| c.matches.values());
                let all: Vec<_> = matches
                    .filter_map(|m| Some((m.claim, m.snapshot, *m.rows.as_slice().first()?)))
                    .collect();
                let (claim, snapshot, (first, end)) = pick(&all, a)?;
                let end = if c.is_multiple_of(6) { end + 1 } else { end };
                let mut act = world::release_act(desk, claim, snapshot, (first, end));
                let earlier = desk.house.requests.values().find_map(|r| match &r.act {
                    Act::Release { release, .. } => Some(*release),
                    Act::Lift { .. } | Act::Narrow { .. } => None,
                });
                if let (Act::Release { release, .. }, Some(earlier), true) =
                    (&mut act, earlier, c.is_multiple_of(4))
                {
                    *release = earlier;
                }
                let by = self.by(if b.is_multiple_of(2) {
                    world::CLAIMS
                } else {
                    world::DAN
                });
                let request = custody::id::RequestId::from_random(bytes16(desk.next()));
                desk.person(by, Body::RequestMake(RequestMake { request, act }))
            }
            21..=23 => {
                let open: Vec<_> = requests
                    .iter()
                    .copied()
                    .filter(|id| desk.house.requests[id].check_open().is_ok())
                    .collect();
                let request = pick(&open, a).or(pick(&requests, a))?;
                let known = desk.house.requests[&request].clone();
                let voters = [
                    world::ANNA,
                    world::BEN,
                    world::CARLA,
                    world::DAN,
                    world::LEGAL,
                ];
                let by = self.by(voters[b % 5]);
                if c.is_multiple_of(23) {
                    let body = Reject {
                        request,
                        entry: known.leaf,
                    };
                    return Some(desk.person(by, Body::Reject(body)));
                }
                let days = [7, 20, 20, 20, 29, 31, 0][c % 7];
                let mut body = custody::statement::Approve {
                    request,
                    entry: known.leaf,
                    act: known.act,
                    expires: desk.now + Span::days(days),
                };
                match c % 13 {
                    1 => body.entry = Digest::of(b"another"),
                    2 => {
                        body.act = Act::Lift {
                            targets: targets.clone(),
                        }
                    }
                    _ => {}
                }
                desk.person(by, Body::Approve(body))
            }
            24 => {
                let request = pick(&requests, a)?;
                let size = desk.log.len() as u64;
                let checkpoint = if c.is_multiple_of(4) { size / 2 } else { size };
                desk.coordinator(Body::RequestExecuted(RequestExecuted {
                    request,
                    checkpoint,
                }))
            }
            25..=27 => {
                let releases: Vec<_> = desk.house.releases.keys().copied().collect();
                let release = pick(&releases, a)?;
                match desk.house.releases[&release].state {
                    release::State::Ordered if !c.is_multiple_of(4) => {
                        let by = desk.house.releases[&release].agent;
                        desk.agent(by, world::packed(release))
                    }
                    release::State::Packed if !c.is_multiple_of(4) => {
                        desk.coordinator(Body::ReleaseSpooled(ReleaseSpooled { release }))
                    }
                    _ => world::deliver(desk, release),
                }
            }
            _ => match c % 3 {
                0 => {
                    let body = Sealed {
                        class: "matter-7".to_owned(),
                        ciphertext: "AAAA".to_owned(),
                    };
                    let by = [
                        Author::Coordinator,
                        Author::Agent(agent),
                        Author::Person(world::PEOPLE[self.who]),
                    ];
                    desk.say(by[a % 3], Body::Sealed(body))
                }
                1 => {
                    let body = AgentRetire { agent };
                    desk.person(world::OPERATOR, Body::AgentRetire(body))
                }
                _ => {
                    let key = desk.next();
                    world::enrol(desk, agent, key)
                }
            },
        };
        Some(said)
    }
}

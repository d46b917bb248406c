//! A small provider to play with: people of every role, two servers, and what they say.

use custody::{
    digest::Digest,
    house::{
        act::{Act, Rows},
        approval::{Policies, Policy},
        claim::Matched,
        hold::Target,
        order::{Copies, NewOrder},
        person::Role,
        ranges::Ranges,
        refusal::Refusal,
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::{
        AgentId, ClaimId, HoldId, ItemId, OrderId, PersonId, ReleaseId, RequestId, SnapshotId,
        SubjectId, TargetId,
    },
    sign::{SecretKey, Signer as _},
    statement::{
        AgentEnrolled, AgentInvite, Approve, Body, ClaimFile, ClaimItem, HoldAcknowledged,
        HoldLowered, HoldPlace, HoldProof, HoldRaised, LogOpened, PersonAdd, ReleaseDelivered,
        ReleasePacked, ReleaseSpooled, RequestExecuted, RequestMake, SnapshotReceived,
        SnapshotSealed, SnapshotTake, SnapshotWish,
    },
    time::{Span, Time},
};

use super::{Desk, Said, bytes16, seed};

pub const NOTICE_HOURS: u32 = 24;
pub const RELEASE_ROLES: [Role; 2] = [Role::Approver, Role::Legal];
pub const LIFT_ROLES: [Role; 1] = [Role::Approver];
pub const APPROVALS: u32 = 2;

pub const ADMIN: PersonId = PersonId::from_random([1; 16]);
pub const INTAKE: PersonId = PersonId::from_random([2; 16]);
pub const LEGAL: PersonId = PersonId::from_random([3; 16]);
pub const OPERATOR: PersonId = PersonId::from_random([4; 16]);
pub const CUSTODIAN: PersonId = PersonId::from_random([5; 16]);
pub const CLAIMS: PersonId = PersonId::from_random([6; 16]);
pub const ANNA: PersonId = PersonId::from_random([7; 16]);
pub const BEN: PersonId = PersonId::from_random([8; 16]);
/// Approver and legal counsel: may ask for lifts and vote on others'.
pub const CARLA: PersonId = PersonId::from_random([9; 16]);
/// Approver and claims officer: may ask for releases and vote on others'.
pub const DAN: PersonId = PersonId::from_random([10; 16]);
pub const AUDITOR: PersonId = PersonId::from_random([11; 16]);
pub const PEOPLE: [PersonId; 11] = [
    ADMIN, INTAKE, LEGAL, OPERATOR, CUSTODIAN, CLAIMS, ANNA, BEN, CARLA, DAN, AUDITOR,
];

pub const ONE: AgentId = AgentId::from_random([1; 16]);
pub const TWO: AgentId = AgentId::from_random([2; 16]);

pub fn roles(person: PersonId) -> Vec<Role> {
    match person {
        p if p == ADMIN => vec![Role::Admin],
        p if p == INTAKE => vec![Role::Intake],
        p if p == LEGAL => vec![Role::Legal],
        p if p == OPERATOR => vec![Role::Operator],
        p if p == CUSTODIAN => vec![Role::Custodian],
        p if p == CLAIMS => vec![Role::Claims],
        p if p == CARLA => vec![Role::Approver, Role::Legal],
        p if p == DAN => vec![Role::Approver, Role::Claims],
        p if p == AUDITOR => vec![Role::Auditor],
        _ => vec![Role::Approver],
    }
}

pub fn policies() -> Policies {
    let policy = |roles: &[Role], notice_hours| Policy {
        approvals: APPROVALS,
        roles: roles.to_vec(),
        notice_hours,
    };
    Policies(
        [
            ("release".to_owned(), policy(&RELEASE_ROLES, 0)),
            ("lift".to_owned(), policy(&LIFT_ROLES, NOTICE_HOURS)),
        ]
        .into(),
    )
}

/// A house that is open, with everyone in it and both servers enrolled.
pub fn open() -> Desk {
    let mut desk = Desk::new();
    let name = desk.commit("name", b"admin");
    desk.people.insert(ADMIN, seed(2));
    let opened = LogOpened {
        coordinator: desk.coordinator.public_key(),
        person: ADMIN,
        key: SecretKey::from_seed(&seed(2)).public_key(),
        name,
        policies: policies(),
    };
    desk.coordinator(Body::LogOpened(opened)).unwrap();
    for (at, person) in PEOPLE.into_iter().enumerate().skip(1) {
        let secret = seed(20 + at as u64);
        desk.people.insert(person, secret);
        let name = desk.commit("name", b"somebody");
        let key = SecretKey::from_seed(&secret).public_key();
        let roles = roles(person);
        desk.person(
            ADMIN,
            Body::PersonAdd(PersonAdd {
                person,
                key,
                roles,
                name,
            }),
        )
        .unwrap();
    }
    for (at, agent) in [ONE, TWO].into_iter().enumerate() {
        enrol(&mut desk, agent, 50 + at as u64).unwrap();
    }
    desk
}

/// Invites an agent and enrols it with the key of that number.
pub fn enrol(desk: &mut Desk, agent: AgentId, key: u64) -> Result<Said, Refusal> {
    let name = desk.commit("name", b"server");
    let expires = desk.now + Span::hours(1);
    let token = Digest::of(b"token");
    desk.person(
        ADMIN,
        Body::AgentInvite(AgentInvite {
            agent,
            token,
            expires,
            name,
        }),
    )?;
    let known = desk
        .house
        .agents
        .get(&agent)
        .and_then(|a| a.enrolment.as_ref());
    let epoch = known.map_or(0, |e| e.head.epoch + 1);
    let said = desk.coordinator(Body::AgentEnrolled(AgentEnrolled {
        agent,
        epoch,
        key: SecretKey::from_seed(&seed(key)).public_key(),
        certificate: Digest::of(b"certificate"),
        not_after: desk.now + Span::days(30),
    }))?;
    desk.agents.insert(agent, seed(key));
    Ok(said)
}

pub fn item(desk: &mut Desk, rule: Rule, agent: Option<AgentId>, path: &str) -> ScopeItem {
    ScopeItem {
        item: ItemId::from_random(bytes16(desk.next())),
        rule,
        selector: Selector::Path,
        agent,
        value: Some(desk.commit("path", path.as_bytes())),
    }
}

/// An order that names these paths on any server, received now.
pub fn order(desk: &mut Desk, regime: &str, copies: Copies, paths: &[&str]) -> NewOrder {
    let scope = paths
        .iter()
        .map(|path| item(desk, Rule::Include, None, path))
        .collect();
    NewOrder {
        order: OrderId::from_random(bytes16(desk.next())),
        regime: regime.to_owned(),
        holding: Holding::Freeze,
        copies,
        issued: desk.now,
        received: desk.now,
        zone_minutes: 60,
        ends: None,
        emergency: false,
        authority: desk.commit("authority", b"a court"),
        reference: desk.commit("reference", b"1:12-cr-3"),
        document: None,
        scope,
    }
}

pub fn place(desk: &mut Desk, order: &NewOrder, agent: AgentId, paths: &[&str]) -> HoldPlace {
    let targets = paths
        .iter()
        .enumerate()
        .map(|(at, path)| Target {
            target: TargetId::from_random(bytes16(desk.next())),
            item: order.scope[at.min(order.scope.len() - 1)].item,
            agent,
            path: desk.commit("path", path.as_bytes()),
        })
        .collect();
    HoldPlace {
        hold: HoldId::from_random(bytes16(desk.next())),
        order: order.order,
        targets,
        at_least: None,
    }
}

/// Registers an order and holds its paths on a server; gives the order, the hold and targets.
pub fn held(
    desk: &mut Desk,
    regime: &str,
    copies: Copies,
    agent: AgentId,
    paths: &[&str],
) -> (OrderId, HoldId, Vec<TargetId>) {
    let order = order(desk, regime, copies, paths);
    desk.person(INTAKE, Body::OrderAdd(order.clone())).unwrap();
    let place = place(desk, &order, agent, paths);
    let (hold, targets) = (place.hold, place.targets.iter().map(|t| t.target).collect());
    desk.person(OPERATOR, Body::HoldPlace(place)).unwrap();
    (order.order, hold, targets)
}

/// The agent reports the whole way to a proved hold.
pub fn prove(desk: &mut Desk, agent: AgentId, target: TargetId) {
    for body in [
        Body::HoldAcknowledged(HoldAcknowledged { target }),
        raised(target),
        proof(target, 3, 3, 0),
    ] {
        assert_eq!(desk.agent(agent, body).unwrap().void, None);
    }
}

pub fn raised(target: TargetId) -> Body {
    Body::HoldRaised(HoldRaised {
        target,
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        file_system: "ext4".to_owned(),
        does_not_prevent: vec![],
        files: 3,
        folders: 1,
        bytes: 300,
    })
}

pub fn proof(target: TargetId, attempts: u64, refused: u64, writers: u64) -> Body {
    Body::HoldVerified(HoldProof {
        target,
        attempts,
        refused,
        writers,
    })
}

pub fn lowered(target: TargetId) -> Body {
    Body::HoldLowered(HoldLowered {
        target,
        freed: 1,
        kept: 0,
    })
}

pub fn sealed(desk: &mut Desk, snapshot: SnapshotId, rows: u64) -> Body {
    Body::SnapshotSealed(SnapshotSealed {
        snapshot,
        root: Digest::of(b"root"),
        rows,
        bytes: rows * 10,
        unreadable: 0,
        manifest: Digest::of(b"manifest"),
        manifest_bytes: 1000,
        key: desk.commit("salt-key", &[1; 32]),
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        tool: "test".to_owned(),
        began: desk.now,
        ended: desk.now,
    })
}

/// A snapshot of a target of 100 rows, sealed and received.
pub fn snapshot(desk: &mut Desk, agent: AgentId, target: TargetId) -> SnapshotId {
    let snapshot = SnapshotId::from_random(bytes16(desk.next()));
    let snapshots = vec![SnapshotWish { snapshot, target }];
    desk.person(CUSTODIAN, Body::SnapshotTake(SnapshotTake { snapshots }))
        .unwrap();
    let body = sealed(desk, snapshot, 100);
    assert_eq!(desk.agent(agent, body).unwrap().void, None);
    let root = Digest::of(b"root");
    desk.coordinator(Body::SnapshotReceived(SnapshotReceived { snapshot, root }))
        .unwrap();
    snapshot
}

pub fn claim_body(desk: &mut Desk) -> ClaimFile {
    ClaimFile {
        claim: ClaimId::from_random(bytes16(desk.next())),
        subject: SubjectId::from_random(bytes16(desk.next())),
        recipient: desk.commit("recipient", b"age1owner"),
        items: vec![ClaimItem {
            item: ItemId::from_random(bytes16(desk.next())),
            selector: Selector::Account,
            agent: None,
            value: desk.commit("account", b"alice"),
        }],
        sworn: true,
    }
}

pub fn claim(desk: &mut Desk) -> ClaimId {
    let body = claim_body(desk);
    let claim = body.claim;
    desk.person(CLAIMS, Body::ClaimFile(body)).unwrap();
    claim
}

pub fn matched(
    desk: &mut Desk,
    claim: ClaimId,
    snapshot: SnapshotId,
    rows: &[(u64, u64)],
) -> Result<Said, Refusal> {
    let lists = desk.house.lists_revision;
    desk.coordinator(Body::ClaimMatched(Matched {
        claim,
        snapshot,
        rows: Ranges::from_unsorted(rows.to_vec()),
        bytes: 10,
        excluded: 0,
        lists,
    }))
}

pub fn release_act(desk: &mut Desk, claim: ClaimId, snapshot: SnapshotId, rows: (u64, u64)) -> Act {
    Act::Release {
        release: ReleaseId::from_random(bytes16(desk.next())),
        claim,
        files: vec![Rows {
            snapshot,
            rows: Ranges::from_unsorted(vec![rows]),
        }],
    }
}

pub fn request(desk: &mut Desk, by: PersonId, act: Act) -> Result<RequestId, Refusal> {
    let request = RequestId::from_random(bytes16(desk.next()));
    desk.person(by, Body::RequestMake(RequestMake { request, act }))?;
    Ok(request)
}

pub fn vote_until(
    desk: &mut Desk,
    by: PersonId,
    request: RequestId,
    expires: Time,
) -> Result<Said, Refusal> {
    let known = desk.house.requests[&request].clone();
    let (entry, act) = (known.leaf, known.act);
    desk.person(
        by,
        Body::Approve(Approve {
            request,
            entry,
            act,
            expires,
        }),
    )
}

pub fn vote(desk: &mut Desk, by: PersonId, request: RequestId) -> Result<Said, Refusal> {
    let expires = desk.now + Span::days(7);
    vote_until(desk, by, request, expires)
}

pub fn execute(desk: &mut Desk, request: RequestId) -> Result<Said, Refusal> {
    let checkpoint = desk.log.len() as u64;
    desk.coordinator(Body::RequestExecuted(RequestExecuted {
        request,
        checkpoint,
    }))
}

/// Asks for a lift, has it approved twice, waits out the notice and carries it out.
pub fn lift(desk: &mut Desk, targets: &[TargetId]) -> RequestId {
    let act = Act::Lift {
        targets: targets.to_vec(),
    };
    carried_out(desk, act)
}

/// Has what is asked for approved by two, waits out the notice and carries it out.
pub fn carried_out(desk: &mut Desk, act: Act) -> RequestId {
    let request = request(desk, LEGAL, act).unwrap();
    vote(desk, ANNA, request).unwrap();
    vote(desk, BEN, request).unwrap();
    desk.wait(Span::hours(i64::from(NOTICE_HOURS)));
    execute(desk, request).unwrap();
    request
}

pub fn packed(release: ReleaseId) -> Body {
    Body::ReleasePacked(ReleasePacked {
        release,
        parcel: Digest::of(b"parcel"),
        bytes: 100,
        files: 1,
    })
}

/// Packs and spools a release that was ordered.
pub fn spool(desk: &mut Desk, agent: AgentId, release: ReleaseId) {
    assert_eq!(desk.agent(agent, packed(release)).unwrap().void, None);
    desk.coordinator(Body::ReleaseSpooled(ReleaseSpooled { release }))
        .unwrap();
}

pub fn deliver(desk: &mut Desk, release: ReleaseId) -> Result<Said, Refusal> {
    desk.coordinator(Body::ReleaseDelivered(ReleaseDelivered {
        release,
        to: CLAIMS,
    }))
}

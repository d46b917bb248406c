//! A whole case, from an order to a delivered release and a lifted hold: every kind of entry.

use custody::{
    commit::Opening,
    digest::Digest,
    house::{
        act::{Act, Rows},
        hold::Target,
        order::{Copies, NewOrder},
        person::Role,
        ranges::Ranges,
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::{AgentId, ClaimId, HoldId, ItemId, OrderId, ReleaseId, SnapshotId, SubjectId, TargetId},
    statement::{
        AgentCertified, AgentRetire, Approve, Body, ClaimFile, ClaimItem, HoldAcknowledged,
        HoldLowered, HoldPlace, HoldProof, HoldRaised, ListImport, OrderExtend, OrderNarrow,
        OrderWithdraw, PersonRetire, Reject, ReleaseDelivered, ReleasePacked, ReleaseSpooled,
        SnapshotReceived, SnapshotSealed, SnapshotTake, SnapshotWish, Trouble,
    },
    time::{Span, Time},
};
use server::clock;

pub use super::votes::{approve, ask, erase, matched, withdraw};
use super::{House, Person, Robot, opening, plain, random, rule, under, upkeep, with};

/// What is planted wherever a person's words go in; it must never come out.
pub const CANARIES: [&str; 2] = ["CANARY", "decafbaddecafbaddecafbaddecafbad"];
const HASH: &str = "decafbaddecafbaddecafbaddecafbaddecafbaddecafbaddecafbaddecafbad";

pub struct Cast {
    pub legal: Person,
    pub operator: Person,
    pub claims: Person,
    pub approvers: [Person; 2],
    pub robot: Robot,
}

impl Cast {
    pub async fn new(house: &House) -> Self {
        Self {
            legal: house.person(&[Role::Legal]).await,
            operator: house.person(&[Role::Operator, Role::Custodian]).await,
            claims: house.person(&[Role::Claims]).await,
            approvers: [
                house.person(&[Role::Approver]).await,
                house.person(&[Role::Approver]).await,
            ],
            robot: house.robot().await,
        }
    }
}

fn item(selector: Selector, value: Option<&Opening>, agent: Option<AgentId>) -> ScopeItem {
    ScopeItem {
        item: ItemId::from_random(random()),
        rule: Rule::Include,
        selector,
        agent,
        value: value.map(Opening::commitment),
    }
}

pub async fn order(house: &House, cast: &Cast, ends: Option<Time>) -> (OrderId, ItemId) {
    let order = OrderId::from_random(random());
    let openings = vec![
        opening("authority", "CANARY court"),
        opening("reference", "CANARY 1:12-cr-00003"),
        opening("document", HASH),
        opening("path", "/srv/CANARY/alice"),
        opening("account", "CANARY-alice"),
        opening("hash", HASH),
    ];
    let scope = vec![
        item(Selector::Path, Some(&openings[3]), Some(cast.robot.id)),
        item(Selector::Account, Some(&openings[4]), None),
        item(Selector::Hash, Some(&openings[5]), None),
    ];
    let first = scope[0].item;
    let received = clock::now();
    let body = Body::OrderAdd(NewOrder {
        order,
        regime: "us-2703f".to_owned(),
        holding: Holding::Preserve,
        copies: Copies::Permitted,
        issued: Time::from_millis(received.millis() - 1000 * 86_400_000),
        received: if ends.is_some() {
            Time::from_millis(received.millis() - 900 * 86_400_000)
        } else {
            received
        },
        zone_minutes: 60,
        ends,
        emergency: false,
        authority: openings[0].commitment(),
        reference: openings[1].commitment(),
        document: Some(openings[2].commitment()),
        scope,
    });
    house
        .submit(with(cast.legal.says(body), openings))
        .await
        .unwrap();
    (order, first)
}

pub async fn place(house: &House, cast: &Cast, order: OrderId, item: ItemId) -> (HoldId, TargetId) {
    let (hold, target) = (
        HoldId::from_random(random()),
        TargetId::from_random(random()),
    );
    let path = opening("path", "/srv/CANARY/alice/www");
    let body = Body::HoldPlace(HoldPlace {
        hold,
        order,
        targets: vec![Target {
            target,
            item,
            agent: cast.robot.id,
            path: path.commitment(),
        }],
        at_least: None,
    });
    house
        .submit(with(cast.operator.says(body), vec![path]))
        .await
        .unwrap();
    (hold, target)
}

pub async fn reports(house: &House, robot: &mut Robot, body: Body) {
    let recorded = house.submit(plain(robot.says(body))).await.unwrap();
    assert_eq!(recorded.void, None);
}

pub async fn raise(house: &House, robot: &mut Robot, target: TargetId) {
    let proof = |refused, writers| HoldProof {
        target,
        attempts: 4,
        refused,
        writers,
    };
    for body in [
        Body::HoldAcknowledged(HoldAcknowledged { target }),
        Body::HoldFailed(Trouble {
            id: target,
            reason: "no-space".to_owned(),
        }),
        Body::HoldRaised(HoldRaised {
            target,
            mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
            file_system: "ext4".to_owned(),
            does_not_prevent: vec![],
            files: 3,
            folders: 1,
            bytes: 12,
        }),
        Body::HoldUnproved(proof(3, 1)),
        Body::HoldVerified(proof(4, 0)),
    ] {
        reports(house, robot, body).await;
    }
}

pub async fn snapshot(house: &House, cast: &mut Cast, target: TargetId) -> SnapshotId {
    let (snapshot, failed) = (
        SnapshotId::from_random(random()),
        SnapshotId::from_random(random()),
    );
    let wish = |snapshot| SnapshotWish { snapshot, target };
    let body = Body::SnapshotTake(SnapshotTake {
        snapshots: vec![wish(snapshot), wish(failed)],
    });
    house.submit(plain(cast.operator.says(body))).await.unwrap();
    let trouble = Trouble {
        id: failed,
        reason: "io-error".to_owned(),
    };
    reports(house, &mut cast.robot, Body::SnapshotFailed(trouble)).await;
    let key = opening("salt-key", random::<32>());
    let root = Digest::of(b"root");
    let body = Body::SnapshotSealed(SnapshotSealed {
        snapshot,
        root,
        rows: 100,
        bytes: 1000,
        unreadable: 0,
        manifest: Digest::of(b"manifest"),
        manifest_bytes: 10_000,
        key: key.commitment(),
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        tool: "holdfast-agent 0.1.0".to_owned(),
        began: clock::now(),
        ended: clock::now(),
    });
    house
        .submit(with(cast.robot.says(body), vec![key]))
        .await
        .unwrap();
    let body = Body::SnapshotReceived(SnapshotReceived { snapshot, root });
    house.desk().say(body).await.unwrap();
    snapshot
}

pub async fn claim(house: &House, cast: &Cast) -> (ClaimId, SubjectId, Vec<Opening>) {
    let (claim, subject) = (
        ClaimId::from_random(random()),
        SubjectId::from_random(random()),
    );
    let openings = vec![
        opening("recipient", "age1CANARY"),
        opening("account", "CANARY-alice"),
    ];
    let body = Body::ClaimFile(ClaimFile {
        claim,
        subject,
        recipient: openings[0].commitment(),
        items: vec![ClaimItem {
            item: ItemId::from_random(random()),
            selector: Selector::Account,
            agent: None,
            value: openings[1].commitment(),
        }],
        sworn: true,
    });
    let submission = under(cast.claims.says(body), openings.clone(), subject);
    house.submit(submission).await.unwrap();
    (claim, subject, openings)
}

/// Everything, once. The house must have no notice period for lifts.
pub async fn whole(house: &House) -> Cast {
    let mut cast = Cast::new(house).await;
    let (order, item) = order(house, &cast, None).await;
    change_orders(house, &cast, order).await;
    let (_, target) = place(house, &cast, order, item).await;
    raise(house, &mut cast.robot, target).await;
    let shot = snapshot(house, &mut cast, target).await;
    upkeep::goes_on(house, &mut cast, target, shot).await;
    release(house, &mut cast, shot).await;
    lift(house, &mut cast, target).await;
    leave(house, &cast).await;
    cast
}

async fn change_orders(house: &House, cast: &Cast, order: OrderId) {
    let reference = opening("reference", "CANARY renewal");
    let body = Body::OrderExtend(OrderExtend {
        order,
        received: clock::now(),
        reference: reference.commitment(),
        beyond_regime: false,
    });
    house
        .submit(with(cast.legal.says(body), vec![reference]))
        .await
        .unwrap();
    let out = opening("path", "/srv/CANARY/alice/mail");
    let mut exclude = item(Selector::Path, Some(&out), None);
    exclude.rule = Rule::Exclude;
    let body = Body::OrderNarrow(OrderNarrow {
        order,
        received: clock::now(),
        exclude: vec![exclude],
    });
    house
        .submit(with(cast.legal.says(body), vec![out]))
        .await
        .unwrap();
    // One that ran out long ago, and one that is taken back.
    let past = Time::from_millis(clock::now().millis() - 86_400_000);
    let (old, _) = self::order(house, cast, Some(past)).await;
    house
        .until("an order runs out", |h| {
            h.orders[&old].status == custody::house::order::Status::Expired
        })
        .await;
    let body = Body::OrderWithdraw(OrderWithdraw {
        order: old,
        received: clock::now(),
    });
    house.submit(plain(cast.legal.says(body))).await.unwrap();
    let body = Body::ListImport(ListImport {
        list: "contraband".to_owned(),
        basis: "art-3".to_owned(),
        hashes: vec![Digest::of(b"bad")],
    });
    house.submit(plain(cast.legal.says(body))).await.unwrap();
}

async fn release(house: &House, cast: &mut Cast, shot: SnapshotId) {
    let (claim, subject, _) = claim(house, cast).await;
    matched(house, claim, shot, &[(10, 20)]).await;
    let act = |release| Act::Release {
        release,
        claim,
        files: vec![Rows {
            snapshot: shot,
            rows: Ranges::from_unsorted(vec![(10, 15)]),
        }],
    };
    // Nobody acts alone: it is tried, refused and on record.
    let release = ReleaseId::from_random(random());
    let (request, leaf) = ask(house, &cast.claims, act(release)).await;
    let own = Body::Approve(Approve {
        request,
        entry: leaf,
        act: act(release),
        expires: clock::now() + Span::hours(1),
    });
    let answer = house.submit(plain(cast.claims.says(own))).await;
    assert_eq!(rule(&answer), "role");
    let (one, two) = (&cast.approvers[0], &cast.approvers[1]);
    approve(house, &[one, two], request, leaf, &act(release)).await;
    house
        .until("a release is ordered", |h| {
            h.releases.contains_key(&release)
        })
        .await;
    let packed = ReleasePacked {
        release,
        parcel: Digest::of(b"parcel"),
        bytes: 10,
        files: 5,
    };
    reports(house, &mut cast.robot, Body::ReleasePacked(packed)).await;
    house
        .desk()
        .say(Body::ReleaseSpooled(ReleaseSpooled { release }))
        .await
        .unwrap();
    let to = cast.claims.id;
    house
        .desk()
        .say(Body::ReleaseDelivered(ReleaseDelivered { release, to }))
        .await
        .unwrap();
    // One that cannot be packed, and one that is rejected.
    let release = ReleaseId::from_random(random());
    let (request, leaf) = ask(house, &cast.claims, act(release)).await;
    approve(house, &[one, two], request, leaf, &act(release)).await;
    house
        .until("a release is ordered", |h| {
            h.releases.contains_key(&release)
        })
        .await;
    let failed = Trouble {
        id: release,
        reason: "bytes-differ".to_owned(),
    };
    reports(house, &mut cast.robot, Body::ReleaseFailed(failed)).await;
    let (request, entry) = ask(house, &cast.claims, act(ReleaseId::from_random(random()))).await;
    let body = Body::Reject(Reject { request, entry });
    house
        .submit(plain(cast.approvers[0].says(body)))
        .await
        .unwrap();
    withdraw(house, cast, claim).await;
    erase(house, cast, subject).await;
}

async fn lift(house: &House, cast: &mut Cast, target: TargetId) {
    let act = Act::Lift {
        targets: vec![target],
    };
    let (request, leaf) = ask(house, &cast.legal, act.clone()).await;
    approve(
        house,
        &[&cast.approvers[0], &cast.approvers[1]],
        request,
        leaf,
        &act,
    )
    .await;
    house
        .until("a hold is lifted", |h| !h.targets[&target].state.holds())
        .await;
    let lowered = HoldLowered {
        target,
        freed: 3,
        kept: 0,
    };
    reports(house, &mut cast.robot, Body::HoldLowered(lowered)).await;
}

async fn leave(house: &House, cast: &Cast) {
    let body = Body::AgentCertified(AgentCertified {
        agent: cast.robot.id,
        certificate: Digest::of(b"second"),
        not_after: clock::now() + Span::hours(72),
        over: None,
    });
    house.desk().say(body).await.unwrap();
    let other = house.robot().await;
    let body = Body::AgentRetire(AgentRetire { agent: other.id });
    house.submit(plain(house.admin.says(body))).await.unwrap();
    let gone = house.person(&[Role::Auditor]).await;
    let body = Body::PersonRetire(PersonRetire { person: gone.id });
    house.submit(plain(house.admin.says(body))).await.unwrap();
}

//! Steps of a case, as the people and the agent of a test take them.

use custody::{
    commit::Opening,
    digest::Digest,
    house::{
        act::{Act, Rows},
        hold::Target,
        order::{Copies, NewOrder},
        person::Role,
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::{
        AgentId, ClaimId, HoldId, ItemId, OrderId, ReleaseId, RequestId, SnapshotId, SubjectId,
        TargetId,
    },
    manifest::{
        file::Writer,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
    statement::{
        Approve, Body, ClaimFile, ClaimItem, HoldPlace, HoldProof, HoldRaised, RequestMake,
        SnapshotSealed, SnapshotTake, SnapshotWish,
    },
    time::Span,
};
use proto::v1::{EvidenceKind, task};
use serde_json::Value;

use super::{
    Coordinator, Human,
    agent::{Agent, Outcome, Stream},
    commit, fresh, now, random,
};

pub const MANIFEST: i32 = EvidenceKind::Manifest as i32;
pub const PARCEL: i32 = EvidenceKind::Parcel as i32;

/// People of a case.
pub struct People {
    pub clerk: Human,
    pub legal: Human,
    pub operator: Human,
    pub custodian: Human,
    pub claims: Human,
    pub approvers: [Human; 2],
    pub auditor: Human,
}

pub async fn people(coordinator: &Coordinator) -> People {
    let person = |name, role| async move { coordinator.person(name, &[role]).await };
    People {
        clerk: person("Carl", Role::Intake).await,
        legal: person("Lena", Role::Legal).await,
        operator: person("Olaf", Role::Operator).await,
        custodian: person("Cora", Role::Custodian).await,
        claims: person("Clara", Role::Claims).await,
        approvers: [
            person("Anna", Role::Approver).await,
            person("Arno", Role::Approver).await,
        ],
        auditor: person("Audrey", Role::Auditor).await,
    }
}

/// A scope item and what opens it.
pub fn item(
    rule: Rule,
    selector: Selector,
    agent: Option<AgentId>,
    value: Option<&str>,
) -> (ScopeItem, Option<Opening>) {
    let field = match selector {
        Selector::Path => "path",
        Selector::Account => "account",
        _ => "hash",
    };
    let committed = value.map(|value| commit(field, value));
    let item = ScopeItem {
        item: fresh!(ItemId),
        rule,
        selector,
        agent,
        value: committed.as_ref().map(|(commitment, _)| *commitment),
    };
    (item, committed.map(|(_, opening)| opening))
}

pub async fn order(
    coordinator: &Coordinator,
    clerk: &Human,
    scope: Vec<(ScopeItem, Option<Opening>)>,
) -> OrderId {
    let (authority, one) = commit("authority", "Court of Example");
    let (reference, two) = commit("reference", "12/34");
    let (scope, openings): (Vec<_>, Vec<_>) = scope.into_iter().unzip();
    let mut all = vec![one, two];
    all.extend(openings.into_iter().flatten());
    let order = fresh!(OrderId);
    let body = Body::OrderAdd(NewOrder {
        order,
        regime: "us-2703f".to_owned(),
        holding: Holding::Freeze,
        copies: Copies::Permitted,
        issued: now(),
        received: now(),
        zone_minutes: 0,
        ends: None,
        emergency: false,
        authority,
        reference,
        document: None,
        scope,
    });
    coordinator.say(clerk, body, &all).await.unwrap();
    order
}

pub async fn place(
    coordinator: &Coordinator,
    operator: &Human,
    order: OrderId,
    targets: &[(ItemId, AgentId, &str)],
) -> Vec<TargetId> {
    let (mut wishes, mut openings, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (item, agent, path) in targets {
        let (path, opening) = commit("path", *path);
        let target = fresh!(TargetId);
        wishes.push(Target {
            target,
            item: *item,
            agent: *agent,
            path,
        });
        openings.push(opening);
        ids.push(target);
    }
    let body = Body::HoldPlace(HoldPlace {
        hold: fresh!(HoldId),
        order,
        targets: wishes,
        at_least: None,
    });
    coordinator.say(operator, body, &openings).await.unwrap();
    ids
}

/// A target `/srv/data` that an agent holds and has proved.
pub async fn held(
    coordinator: &Coordinator,
    people: &People,
    agent: &mut Agent,
) -> (TargetId, Stream) {
    let scope = item(
        Rule::Include,
        Selector::Path,
        Some(agent.id),
        Some("/srv/data"),
    );
    let id = scope.0.item;
    let order = order(coordinator, &people.clerk, vec![scope]).await;
    let target = place(
        coordinator,
        &people.operator,
        order,
        &[(id, agent.id, "/srv/data")],
    )
    .await[0];
    let mut stream = agent.follow(coordinator).await.unwrap();
    let task::Task::Raise(raise) = stream.task().await else {
        panic!("no raise");
    };
    assert_eq!(raise.target, target.to_string());
    assert_eq!(raise.path.as_ref(), b"/srv/data");
    verify(coordinator, agent, &mut stream, target).await;
    (target, stream)
}

/// Raises a hold and proves it.
pub async fn verify(
    coordinator: &Coordinator,
    agent: &mut Agent,
    stream: &mut Stream,
    target: TargetId,
) {
    let raised = Body::HoldRaised(HoldRaised {
        target,
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        file_system: "ext4".to_owned(),
        does_not_prevent: Vec::new(),
        files: 10,
        folders: 2,
        bytes: 1000,
    });
    let proof = Body::HoldVerified(HoldProof {
        target,
        attempts: 3,
        refused: 3,
        writers: 0,
    });
    for said in [raised, proof] {
        let said = agent.say(coordinator, stream, said, &[]).await;
        assert!(matches!(said, Outcome::Recorded(_)), "{said:?}");
    }
    assert_eq!(
        coordinator.show("targets", target).await["state"],
        "verified"
    );
}

/// A manifest of two accounts, sealed by the agent; its bytes.
pub struct Evidence {
    pub snapshot: SnapshotId,
    pub manifest: Vec<u8>,
    pub sealed: SnapshotSealed,
}

/// Rows: `.`, alice, alice/1 .. alice/n, bob, bob/1 .. bob/n.
pub fn manifest(each: u64, key: &SnapshotKey) -> (Vec<u8>, u64, u64, Digest) {
    let mut names = vec![".".to_owned()];
    for account in ["alice", "bob"] {
        names.push(account.to_owned());
        names.extend((1..=each).map(|at| format!("{account}/{at:06}")));
    }
    let mut out = Vec::new();
    let (mut writer, mut bytes) = (Writer::new(&mut out, &[]).unwrap(), 0);
    for (index, name) in names.iter().enumerate() {
        let (index, file) = (index as u64, name.contains('/'));
        let row = Row {
            kind: if file { Kind::File } else { Kind::Folder },
            size: if file { 100 } else { 0 },
            sha256: file.then(|| Digest::of(name.as_bytes())),
            inode: index,
            status: Status::Read,
            reason: None,
            ..Row::unknown(index, name.as_bytes().to_vec(), "")
        };
        bytes += row.size;
        let hash = leaf::leaf_hash(&row, &key.salt_row(index));
        writer.push(row, hash).unwrap();
    }
    let (_, rows, root) = writer.finish().unwrap();
    (out, rows, bytes, root)
}

/// Asks for a snapshot and lets the agent seal it.
pub async fn seal(
    coordinator: &Coordinator,
    people: &People,
    agent: &mut Agent,
    stream: &mut Stream,
    target: TargetId,
    each: u64,
) -> Evidence {
    let snapshot = fresh!(SnapshotId);
    let body = Body::SnapshotTake(SnapshotTake {
        snapshots: vec![SnapshotWish { snapshot, target }],
    });
    coordinator.say(&people.custodian, body, &[]).await.unwrap();
    let task::Task::Capture(capture) = stream.task().await else {
        panic!("no capture");
    };
    assert_eq!(capture.snapshot, snapshot.to_string());
    let secret = random();
    let (bytes, rows, total, root) = manifest(each, &SnapshotKey::from_random(secret));
    let (key, opening) = commit("salt-key", secret);
    let sealed = SnapshotSealed {
        snapshot,
        root,
        rows,
        bytes: total,
        unreadable: 0,
        manifest: Digest::of(&bytes),
        manifest_bytes: bytes.len() as u64,
        key,
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        tool: "test".to_owned(),
        began: now(),
        ended: now(),
    };
    let said = Body::SnapshotSealed(sealed.clone());
    let said = agent.say(coordinator, stream, said, &[opening]).await;
    assert!(matches!(said, Outcome::Recorded(_)), "{said:?}");
    let task::Task::SendManifest(send) = stream.task().await else {
        panic!("no send-manifest");
    };
    assert_eq!(send.snapshot, snapshot.to_string());
    Evidence {
        snapshot,
        manifest: bytes,
        sealed,
    }
}

pub async fn claim(
    coordinator: &Coordinator,
    people: &People,
    items: &[(Selector, &str)],
) -> ClaimId {
    let claim = fresh!(ClaimId);
    let (recipient, opening) = commit("recipient", "age1example");
    let (mut openings, mut named) = (vec![opening], Vec::new());
    for (selector, value) in items {
        let field = match selector {
            Selector::Account => "account",
            Selector::Path => "path",
            _ => "hash",
        };
        let (value, opening) = commit(field, *value);
        openings.push(opening);
        named.push(ClaimItem {
            item: fresh!(ItemId),
            selector: *selector,
            agent: None,
            value,
        });
    }
    let body = Body::ClaimFile(ClaimFile {
        claim,
        subject: fresh!(SubjectId),
        recipient,
        items: named,
        sworn: true,
    });
    coordinator
        .say(&people.claims, body, &openings)
        .await
        .unwrap();
    claim
}

/// Waits until a claim is matched against a snapshot; gives the match.
pub async fn matched(coordinator: &Coordinator, claim: ClaimId, snapshot: SnapshotId) -> Value {
    super::until("the claim is matched", async || {
        let record = coordinator.show("claims", claim).await;
        let found = &record["matches"][snapshot.to_string()];
        (!found.is_null()).then(|| found.clone())
    })
    .await
}

/// Asks for a release of rows and has two people approve it.
pub async fn released(
    coordinator: &Coordinator,
    people: &People,
    claim: ClaimId,
    snapshot: SnapshotId,
    rows: Vec<(u64, u64)>,
) -> ReleaseId {
    let (release, request) = (fresh!(ReleaseId), fresh!(RequestId));
    let act = Act::Release {
        release,
        claim,
        files: vec![Rows {
            snapshot,
            rows: custody::house::ranges::Ranges::from_unsorted(rows),
        }],
    };
    let ask = Body::RequestMake(RequestMake {
        request,
        act: act.clone(),
    });
    let asked = coordinator.say(&people.claims, ask, &[]).await.unwrap();
    let leaf: [u8; 32] = asked.leaf_hash.as_ref().try_into().unwrap();
    for approver in &people.approvers {
        let vote = Body::Approve(Approve {
            request,
            entry: Digest::from_bytes(leaf),
            act: act.clone(),
            expires: now() + Span::hours(1),
        });
        coordinator.say(approver, vote, &[]).await.unwrap();
    }
    coordinator
        .becomes("requests", request, "status", "executed")
        .await;
    release
}

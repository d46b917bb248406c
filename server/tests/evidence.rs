//! Evidence going out: what a claim matches, and a parcel that went by every rule, with a receipt
//! that says so to outsiders.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{
    Coordinator, Human,
    agent::{Agent, Outcome},
    bearer, commit, fetch, now, random, rule,
    story::{self, MANIFEST, PARCEL},
};
use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{person::Role, scope::Selector},
    id::AgentId,
    ledger::{entry::Entry, note::VerifierKey, proof::LogProof},
    statement::{AgentInvite, Author, Body, ClaimWithdraw, ListImport, ReleasePacked},
    time::Span,
    verify::receipt::Receipt,
};
use proto::v1::{FetchRequest, ListMatchesRequest, task};
use tonic::Code;

/// A coordinator with a received snapshot of 50 files each of alice and bob.
struct Case {
    coordinator: Coordinator,
    people: story::People,
    agent: Agent,
    stream: common::agent::Stream,
    snapshot: custody::id::SnapshotId,
}

async fn case() -> Case {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 50).await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    let whole = (0, bytes.len());
    agent
        .upload(&coordinator, (MANIFEST, &id), bytes, whole, 1 << 20)
        .await
        .unwrap();
    Case {
        coordinator,
        people,
        agent,
        stream,
        snapshot: evidence.snapshot,
    }
}

async fn matches(case: &Case, claim: custody::id::ClaimId) -> Vec<proto::v1::MatchedFile> {
    let request = ListMatchesRequest {
        claim: claim.to_string(),
    };
    let mut records = case.coordinator.records().await;
    let stream = records
        .list_matches(bearer(&case.people.claims.token, request))
        .await;
    let (mut stream, mut all) = (stream.unwrap().into_inner(), Vec::new());
    while let Some(file) = stream.message().await.unwrap() {
        all.push(file);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_matched_by_account_path_and_hash_and_overlaps_are_shown() {
    let case = case().await;
    let (coordinator, people) = (&case.coordinator, &case.people);
    let hash = Digest::of(b"bob/000007").to_string();
    let items = [
        (Selector::Account, "alice"),
        (Selector::Hash, hash.as_str()),
    ];
    let alice = story::claim(coordinator, people, &items).await;
    let matched = story::matched(coordinator, alice, case.snapshot).await;
    // Row 0 is the target, 1 alice's folder, 2..52 her files, 52 bob's folder, 59 his seventh.
    assert_eq!(matched["rows"], serde_json::json!([[1, 52], [59, 60]]));
    assert_eq!(
        (matched["bytes"].as_u64(), matched["excluded"].as_u64()),
        (Some(5100), Some(0))
    );
    let files = matches(&case, alice).await;
    assert_eq!(files.len(), 52);
    assert_eq!(files[1].path.as_ref(), b"/srv/data/alice/000001");
    assert!(files.iter().all(|file| !file.contested));

    let bob = story::claim(
        coordinator,
        people,
        &[(Selector::Path, "/srv/data/bob/000007")],
    )
    .await;
    story::matched(coordinator, bob, case.snapshot).await;
    let contested = matches(&case, alice)
        .await
        .into_iter()
        .filter(|file| file.contested);
    assert_eq!(contested.map(|file| file.index).collect::<Vec<_>>(), [59]);

    // A list keeps a file back: everything is matched anew.
    let list = Body::ListImport(ListImport {
        list: "illegal".to_owned(),
        basis: "statute".to_owned(),
        hashes: vec![Digest::of(b"alice/000001")],
    });
    coordinator.say(&people.legal, list, &[]).await.unwrap();
    let anew = common::until("matched under the new list", async || {
        let matched = story::matched(coordinator, alice, case.snapshot).await;
        (matched["lists"] == 1).then_some(matched)
    })
    .await;
    assert_eq!(anew["rows"], serde_json::json!([[1, 2], [3, 52], [59, 60]]));
    assert_eq!(anew["excluded"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_what_is_not_there_matches_nothing() {
    let case = case().await;
    let items = [
        (Selector::Account, "../alice"),
        (Selector::Path, "/srv/data/ali"),
    ];
    let claim = story::claim(&case.coordinator, &case.people, &items).await;
    let matched = story::matched(&case.coordinator, claim, case.snapshot).await;
    assert_eq!(matched["rows"], serde_json::json!([]));
    assert!(matches(&case, claim).await.is_empty());
    common::until("it is on record", async || {
        let known = case.coordinator.refused("claim.nothing-held", "claim.file");
        known.await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_goes_out_by_every_rule_on_record_with_a_receipt_that_checks_offline() {
    let mut case = case().await;
    let claim = story::claim(
        &case.coordinator,
        &case.people,
        &[(Selector::Account, "alice")],
    )
    .await;
    story::matched(&case.coordinator, claim, case.snapshot).await;
    let rows = vec![(2, 12)];
    let release =
        story::released(&case.coordinator, &case.people, claim, case.snapshot, rows).await;
    let task::Task::Pack(pack) = case.stream.task().await else {
        panic!("no pack");
    };
    assert_eq!(
        (pack.release, pack.recipient),
        (release.to_string(), "age1example".to_owned())
    );
    assert_eq!(
        (pack.rows[0].ranges[0].first, pack.rows[0].ranges[0].end),
        (2, 12)
    );

    let parcel: Vec<u8> = (0..9_000_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let packed = Body::ReleasePacked(ReleasePacked {
        release,
        parcel: Digest::of(&parcel),
        bytes: parcel.len() as u64,
        files: 10,
    });
    let said = case
        .agent
        .say(&case.coordinator, &mut case.stream, packed, &[])
        .await;
    assert!(matches!(said, Outcome::Recorded(_)));
    assert!(matches!(
        case.stream.task().await,
        task::Task::SendParcel(_)
    ));

    let (coordinator, people, id) = (&case.coordinator, &case.people, release.to_string());
    let early = fetch(coordinator, &people.claims, PARCEL, &id, 0)
        .await
        .unwrap_err();
    assert_eq!(rule(&early), "release.not-spooled");
    let whole = (0, parcel.len());
    let done = case
        .agent
        .upload(coordinator, (PARCEL, &id), &parcel, whole, 1 << 20)
        .await;
    assert!(done.unwrap().complete);
    assert_eq!(coordinator.show("releases", &id).await["state"], "spooled");

    // From an offset, with no delivery begun, it is a delivery all the same.
    let got = fetch(coordinator, &people.claims, PARCEL, &id, 10)
        .await
        .unwrap();
    assert_eq!(got, parcel[10..]);
    assert_eq!(coordinator.show("releases", &id).await["deliveries"], 1);
    let rest = fetch(coordinator, &people.claims, PARCEL, &id, 2_000_000)
        .await
        .unwrap();
    assert_eq!(rest, parcel[2_000_000..]);
    assert_eq!(
        coordinator.show("releases", &id).await["deliveries"],
        1,
        "a resumed one"
    );
    assert_eq!(
        fetch(coordinator, &people.claims, PARCEL, &id, 0)
            .await
            .unwrap(),
        parcel
    );
    assert_eq!(coordinator.show("releases", &id).await["deliveries"], 2);

    let receipt = fetch(coordinator, &people.auditor, 3, &id, 0)
        .await
        .unwrap();
    check_receipt(coordinator, &receipt, &id);
    receipts_of_a_log_that_grows(coordinator, people, &id).await;

    // A second claim over the same files freezes them at the door, also for a resumed fetch and
    // for one that is under way.
    let mut evidence = coordinator.evidence().await;
    let request = FetchRequest {
        kind: PARCEL,
        id: id.clone(),
        offset: 0,
    };
    let under_way = evidence.fetch(bearer(&people.claims.token, request)).await;
    let mut under_way = under_way.unwrap().into_inner();
    let items = [(Selector::Path, "/srv/data/alice/000003")];
    let rival = story::claim(coordinator, people, &items).await;
    let stopped = loop {
        match under_way.message().await {
            Ok(chunk) => assert!(chunk.is_some(), "it was sent whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(stopped.code(), Code::FailedPrecondition, "{stopped}");
    for offset in [0, 10] {
        let frozen = fetch(coordinator, &people.claims, PARCEL, &id, offset)
            .await
            .unwrap_err();
        assert_eq!(frozen.code(), Code::FailedPrecondition, "{frozen}");
    }
    story::matched(coordinator, rival, case.snapshot).await;
    let frozen = fetch(coordinator, &people.claims, PARCEL, &id, 0)
        .await
        .unwrap_err();
    assert_eq!(rule(&frozen), "release.contested");
    assert!(
        coordinator
            .refused("release.contested", "release.deliver")
            .await
    );
    let over = Body::ClaimWithdraw(ClaimWithdraw { claim: rival });
    coordinator.say(&people.claims, over, &[]).await.unwrap();
    assert_eq!(
        fetch(coordinator, &people.claims, PARCEL, &id, 0)
            .await
            .unwrap(),
        parcel
    );
}

/// However the log grows while a receipt is made, all its proofs are of one checkpoint.
async fn receipts_of_a_log_that_grows(coordinator: &Coordinator, people: &story::People, id: &str) {
    let growing = async {
        for _ in 0..40 {
            let (name, opening) = commit("name", "store");
            let invite = Body::AgentInvite(AgentInvite {
                agent: AgentId::from_random(random()),
                token: Digest::of(b"token"),
                expires: now() + Span::hours(1),
                name,
            });
            let openings = [opening];
            let said = coordinator.say(&coordinator.admin, invite, &openings);
            said.await.unwrap();
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let key = VerifierKey::parse(&coordinator.vkey).unwrap();
    let reading = async {
        for _ in 0..20 {
            let receipt = fetch(coordinator, &people.auditor, 3, id, 0).await.unwrap();
            let shown = Receipt::parse(&receipt).unwrap().verify(Some(&key));
            assert!(shown.findings.is_clean(), "{:?}", shown.findings.all());
        }
    };
    tokio::join!(growing, reading);
}

fn check_receipt(coordinator: &Coordinator, receipt: &[u8], id: &str) {
    let receipt: serde_json::Value = serde_json::from_slice(receipt).unwrap();
    assert_eq!(receipt["format"], "holdfast-receipt/1");
    assert_eq!(
        (receipt["release"].as_str(), receipt["origin"].as_str()),
        (Some(id), Some(coordinator.origin.as_str()))
    );
    let key = VerifierKey::parse(receipt["vkey"].as_str().unwrap()).unwrap();
    assert_eq!(key.to_string(), coordinator.vkey);
    let mut kinds = Vec::new();
    for entry in receipt["entries"].as_array().unwrap() {
        let bytes = entry["entry"].as_str().unwrap().as_bytes();
        let proof = LogProof::parse(entry["proof"].as_str().unwrap()).unwrap();
        assert_eq!(entry["index"].as_u64(), Some(proof.index));
        proof.verify(bytes, &key).unwrap();
        let statement = Entry::parse(bytes).unwrap().statement().unwrap();
        assert!(
            statement.body.kind() != "person.add" || matches!(statement.author, Author::Person(_))
        );
        kinds.push(statement.body.kind());
    }
    let count = |kind: &str| kinds.iter().filter(|known| **known == kind).count();
    for (kind, times) in [
        ("log.opened", 1),
        ("person.add", 3),
        ("agent.enrolled", 1),
        ("snapshot.sealed", 1),
        ("snapshot.received", 1),
        ("claim.file", 1),
        ("claim.matched", 1),
        ("request.make", 1),
        ("request.approve", 2),
        ("request.executed", 1),
        ("release.packed", 1),
        ("release.spooled", 1),
        ("release.delivered", 2),
    ] {
        assert_eq!(count(kind), times, "{kind}");
    }
    let opening = &receipt["openings"][0];
    let text = |key: &str| opening[key].as_str().unwrap();
    let r: [u8; 32] = hex::decode(text("r")).unwrap().try_into().unwrap();
    let opened = Opening::new(text("field"), STANDARD.decode(text("value")).unwrap(), r);
    let commitment: Commitment = text("commitment").parse().unwrap();
    assert!(opened.opens(&commitment));
    assert_eq!(opened.value, b"age1example");
    assert_eq!(receipt["openings"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_the_salt_key_and_a_claims_officer_does_not() {
    let case = case().await;
    let keys = async |who: &Human| {
        let records = case.coordinator.list(who, "snapshots").await;
        records[0]
            .opened
            .values()
            .filter(|value| value.len() == 32)
            .count()
    };
    assert_eq!(keys(&case.people.auditor).await, 1);
    assert_eq!(keys(&case.people.claims).await, 0);
    let both = case
        .coordinator
        .person("Bo", &[Role::Claims, Role::Legal])
        .await;
    assert_eq!(keys(&both).await, 1);
}

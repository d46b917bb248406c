//! Log-in and what people may read: no key no entry, no role no reading, and it is on record.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Coordinator, agent::Agent, bearer, fresh, random, rule, story};
use custody::{
    house::{
        person::Role,
        scope::{Rule, Selector},
    },
    id::SnapshotId,
    sign::{Namespace, SecretKey, Signer as _},
    statement::{Body, PersonRetire},
};
use proto::v1::{
    FetchRequest, GetCheckpointRequest, ListMatchesRequest, PlanHoldRequest, ShowRequest,
    SubmitRequest, WhoAmIRequest, desk_client::DeskClient, session_client::SessionClient,
};
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

async fn who(coordinator: &Coordinator, token: &str) -> Result<String, Status> {
    let mut session = SessionClient::new(coordinator.channel().await);
    let answer = session.who_am_i(bearer(token, WhoAmIRequest {})).await?;
    Ok(answer.into_inner().name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_opens_and_nothing_else_does() {
    let coordinator = Coordinator::new().await;
    assert_eq!(
        who(&coordinator, &coordinator.admin.token).await.unwrap(),
        "Ada"
    );

    let stranger = SecretKey::from_seed(&random());
    let unknown = coordinator.login(&stranger).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);

    // Another purpose, another log, another nonce: no signature serves.
    let key = &coordinator.admin.key;
    for (namespace, message) in [
        (Namespace::Command, None),
        (Namespace::Login, Some(b"other.example/log\nabc\n".to_vec())),
        (Namespace::Login, Some(coordinator.to_sign(&[7; 32]))),
    ] {
        let nonce = coordinator.challenge().await;
        let message = message.unwrap_or_else(|| coordinator.to_sign(&nonce));
        let signature = key.sign(namespace, &message).unwrap().encode();
        let refused = coordinator.login_with(&nonce, signature).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    let nonce = coordinator.challenge().await;
    let nonsense = coordinator
        .login_with(&nonce, vec![1, 2, 3])
        .await
        .unwrap_err();
    assert_eq!(nonsense.code(), Code::Unauthenticated);

    for token in ["", "0", &"ab".repeat(32)] {
        let refused = who(&coordinator, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let mut ledger = coordinator.ledger().await;
    let naked = ledger
        .get_checkpoint(Request::new(GetCheckpointRequest {}))
        .await;
    assert_eq!(naked.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_serves_once() {
    let coordinator = Coordinator::new().await;
    let nonce = coordinator.challenge().await;
    let signed = coordinator
        .admin
        .key
        .sign(Namespace::Login, &coordinator.to_sign(&nonce))
        .unwrap()
        .encode();
    coordinator
        .login_with(&nonce, signed.clone())
        .await
        .unwrap();
    let again = coordinator.login_with(&nonce, signed).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    assert!(again.message().contains("challenge"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_person_is_out_at_once_and_the_attempt_is_on_record() {
    let coordinator = Coordinator::new().await;
    let auditor = coordinator.person("Audrey", &[Role::Auditor]).await;
    assert_eq!(who(&coordinator, &auditor.token).await.unwrap(), "Audrey");
    let retire = Body::PersonRetire(PersonRetire { person: auditor.id });
    coordinator
        .say(&coordinator.admin, retire, &[])
        .await
        .unwrap();

    let out = who(&coordinator, &auditor.token).await.unwrap_err();
    assert_eq!(out.code(), Code::Unauthenticated);
    let refused = coordinator.login(&auditor.key).await.unwrap_err();
    let stranger = coordinator
        .login(&SecretKey::from_seed(&random()))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (stranger.code(), stranger.message()),
        "an answer must not say whether a key is known"
    );
    assert!(coordinator.refused("login.retired", "login").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_read_is_refused_and_recorded() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let agent = Agent::new(&coordinator).await;
    let scope = story::item(
        Rule::Include,
        Selector::Path,
        Some(agent.id),
        Some("/srv/data"),
    );
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;

    let plan = PlanHoldRequest {
        survey: false,
        order: order.to_string(),
    };
    let mut records = coordinator.records().await;
    let refused = records
        .plan_hold(bearer(&people.auditor.token, plan))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), rule(&refused).as_str()),
        (Code::PermissionDenied, "role")
    );
    assert!(refused.message().contains("operator"), "{refused}");

    let matches = ListMatchesRequest {
        claim: "clm-0".to_owned(),
    };
    let refused = records
        .list_matches(bearer(&people.operator.token, matches))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);

    let fetch = |kind| FetchRequest {
        kind,
        id: fresh!(SnapshotId).to_string(),
        offset: 0,
    };
    let mut evidence = coordinator.evidence().await;
    for (who, kind) in [
        (&people.operator, story::MANIFEST),
        (&people.auditor, story::PARCEL),
        (&coordinator.admin, 3),
    ] {
        let refused = evidence
            .fetch(bearer(&who.token, fetch(kind)))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert!(coordinator.refused("role", "planning a hold").await);
    assert!(coordinator.refused("role", "fetching a parcel").await);

    // The record is everyone's; what it stands for is not.
    let show = || ShowRequest {
        kind: "orders".to_owned(),
        id: order.to_string()[..12].to_owned(),
    };
    let legal = records
        .show(bearer(&people.legal.token, show()))
        .await
        .unwrap()
        .into_inner();
    let values: Vec<_> = legal.opened.values().map(|value| value.as_ref()).collect();
    assert!(values.contains(&&b"Court of Example"[..]) && values.contains(&&b"/srv/data"[..]));
    let claims = records
        .show(bearer(&people.claims.token, show()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(claims.id, order.to_string());
    assert!(claims.opened.is_empty());
    let persons = coordinator.list(&people.claims, "persons").await;
    assert_eq!(persons.len(), 9);
    assert!(persons.iter().all(|person| person.opened.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_fits_several_records_is_refused() {
    let coordinator = Coordinator::new().await;
    coordinator.person("Audrey", &[Role::Auditor]).await;
    let mut records = coordinator.records().await;
    for (kind, id, code) in [
        ("persons", "per-", Code::InvalidArgument),
        ("persons", "per-zz", Code::NotFound),
        ("persons", "", Code::NotFound),
        ("wishes", "per-", Code::InvalidArgument),
    ] {
        let show = ShowRequest {
            kind: kind.to_owned(),
            id: id.to_owned(),
        };
        let refused = records
            .show(bearer(&coordinator.admin.token, show))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{kind} {id}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_with_a_next_step() {
    let coordinator = Coordinator::new().await;
    let mut desk = DeskClient::new(coordinator.channel().await);
    let huge = SubmitRequest {
        entry: vec![b'x'; 5 << 20].into(),
        ..SubmitRequest::default()
    };
    let refused = desk
        .submit(bearer(&coordinator.admin.token, huge))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("4 MiB"), "{refused}");
    // Below the limit of messages and above that of entries: another clear sentence.
    let long = SubmitRequest {
        entry: vec![b'x'; 70_000].into(),
        ..SubmitRequest::default()
    };
    let refused = desk
        .submit(bearer(&coordinator.admin.token, long))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_sends_is_not_read() {
    let coordinator = Coordinator::new().await;
    // No call without a log-in is read to its end, and none that is open to strangers is long.
    let mut desk = DeskClient::new(coordinator.channel().await);
    let large = SubmitRequest {
        entry: vec![b'x'; 5 << 20].into(),
        ..SubmitRequest::default()
    };
    let refused = desk.submit(Request::new(large)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let refused = coordinator
        .login_with(&[7; 32], vec![0; 100_000])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_id_of_its_call() {
    let coordinator = Coordinator::new().await;
    let mut session = SessionClient::new(coordinator.channel().await);
    let mut ask = bearer(&coordinator.admin.token, WhoAmIRequest {});
    ask.metadata_mut()
        .insert("x-request-id", "my-call-0001".parse().unwrap());
    let answer = session.who_am_i(ask).await.unwrap();
    assert_eq!(
        answer.metadata().get("x-request-id").unwrap(),
        "my-call-0001"
    );
    let mut ask = bearer(&coordinator.admin.token, WhoAmIRequest {});
    ask.metadata_mut()
        .insert("x-request-id", "a b".parse().unwrap());
    let answer = session.who_am_i(ask).await.unwrap();
    let given = answer
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap();
    assert_eq!(given.len(), 16);

    let log = std::fs::read_to_string(coordinator.folder.path().join("server.log")).unwrap();
    assert!(log.contains("my-call-0001"));
    for secret in [coordinator.admin.token.as_str(), "Ada", "Bearer"] {
        assert!(!log.contains(secret), "the log has {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_the_streams_and_ends_in_time_with_exit_0() {
    let mut coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let mut health = HealthClient::new(coordinator.channel().await);
    let check = HealthCheckRequest::default();
    let serving = health.check(check.clone()).await.unwrap().into_inner();
    assert_eq!(serving.status, 1);
    let mut watch = health.watch(check).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);

    let told = tokio::spawn(async move { stream.end().await });
    let health = tokio::spawn(async move { watch.message().await });
    let (code, took) = coordinator.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 14, "{took:?}");
    let told = told.await.unwrap();
    assert_eq!(told.code(), Code::Unavailable, "{told}");
    assert_eq!(health.await.unwrap().unwrap().unwrap().status, 2);
    assert!(coordinator.connect(None).await.is_err());
}

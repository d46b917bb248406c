//! Enrolment: a token serves once, in time, for its agent; a revoked certificate opens nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Coordinator,
    agent::{Agent, csr, enrol, invite},
    now, random, rule,
};
use custody::{
    id::AgentId,
    sign::{SecretKey, Signer as _},
    statement::{AgentRetire, Body},
    time::Span,
};
use proto::v1::{RenewRequest, UploadStateRequest, fleet_client::FleetClient};
use tonic::{Code, transport::Identity};

fn keys() -> (SecretKey, rcgen::KeyPair) {
    (
        SecretKey::from_seed(&random()),
        rcgen::KeyPair::generate().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_recorded_and_the_right_one_still_serves() {
    let coordinator = Coordinator::new().await;
    let (agent, token) = invite(&coordinator, now() + Span::hours(1)).await;
    let (key, tls) = keys();
    let wrong = enrol(&coordinator, agent, &[7; 32], &key, &tls, |_| {})
        .await
        .unwrap_err();
    assert_eq!(
        (wrong.code(), rule(&wrong).as_str()),
        (Code::PermissionDenied, "enrol.token")
    );
    assert!(coordinator.refused("enrol.token", "agent.enrol").await);
    let enrolled = enrol(&coordinator, agent, &token, &key, &tls, |_| {})
        .await
        .unwrap();
    assert!(enrolled.certificate.contains("BEGIN CERTIFICATE"));
    assert_eq!(enrolled.vkey, coordinator.vkey);
    assert_eq!(enrolled.authority, coordinator.authority());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_names_an_agent_neither_speaks_for_it_nor_fills_the_log() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let (key, tls) = keys();
    for _ in 0..20 {
        let refused = enrol(&coordinator, agent.id, &[7; 32], &key, &tls, |_| {}).await;
        assert_eq!(rule(&refused.unwrap_err()), "enrol.used");
    }
    let log = coordinator.log().await;
    let refused: Vec<_> = log
        .iter()
        .filter_map(|statement| match &statement.body {
            Body::Refused(refused) => Some(refused),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 10);
    assert!(refused.iter().all(|refused| refused.by.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_is_refused_and_says_to_invite_again() {
    let coordinator = Coordinator::new().await;
    let (agent, token) = invite(&coordinator, now() + Span::hours(1)).await;
    let (key, tls) = keys();
    enrol(&coordinator, agent, &token, &key, &tls, |_| {})
        .await
        .unwrap();
    let (key, tls) = keys();
    let used = enrol(&coordinator, agent, &token, &key, &tls, |_| {})
        .await
        .unwrap_err();
    assert_eq!(
        (used.code(), rule(&used).as_str()),
        (Code::PermissionDenied, "enrol.used")
    );
    assert!(used.message().contains("invite"), "{used}");
    assert!(coordinator.refused("enrol.used", "agent.enrol").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_and_recorded() {
    let coordinator = Coordinator::new().await;
    let (agent, token) = invite(&coordinator, now() + Span::seconds(2)).await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let (key, tls) = keys();
    let late = enrol(&coordinator, agent, &token, &key, &tls, |_| {})
        .await
        .unwrap_err();
    assert_eq!(
        (late.code(), rule(&late).as_str()),
        (Code::PermissionDenied, "enrol.expired")
    );
    assert!(coordinator.refused("enrol.expired", "agent.enrol").await);
    let nobody = AgentId::from_random(random());
    let refused = enrol(&coordinator, nobody, &token, &key, &tls, |_| {})
        .await
        .unwrap_err();
    assert_eq!(rule(&refused), "enrol.unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_agents_own_is_not_taken() {
    let coordinator = Coordinator::new().await;
    let (agent, token) = invite(&coordinator, now() + Span::hours(1)).await;
    let ((key, tls), (other, other_tls)) = (keys(), keys());
    let refused = enrol(&coordinator, agent, &token, &key, &tls, |request| {
        request.key = other.public_key().to_openssh();
    })
    .await
    .unwrap_err();
    assert_eq!(rule(&refused), "enrol.key-proof");
    // The proof is over this request and fits no other.
    let refused = enrol(&coordinator, agent, &token, &key, &tls, |request| {
        request.csr = csr(&other_tls).into();
    })
    .await
    .unwrap_err();
    assert_eq!(rule(&refused), "enrol.key-proof");
    // A person's key is not an agent's.
    let admins = &coordinator.admin.key;
    let refused = enrol(&coordinator, agent, &token, admins, &tls, |_| {})
        .await
        .unwrap_err();
    assert_eq!(rule(&refused), "key.in-use");
    // None of this used the token up.
    enrol(&coordinator, agent, &token, &key, &tls, |_| {})
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_and_its_stream_is_cut() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let retire = Body::AgentRetire(AgentRetire { agent: agent.id });
    coordinator
        .say(&coordinator.admin, retire, &[])
        .await
        .unwrap();
    let cut = stream.end().await;
    assert_eq!(cut.code(), Code::Unauthenticated, "{cut}");
    let mut fleet = agent.fleet(&coordinator).await;
    let refused = fleet
        .upload_state(UploadStateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let Err(refused) = agent.follow(&coordinator).await else {
        panic!("a revoked certificate was let in");
    };
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(coordinator.refused("agent.certificate", "fleet").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_serves_beside_the_old_one() {
    let coordinator = Coordinator::new().await;
    let mut agent = Agent::new(&coordinator).await;
    let fresh = rcgen::KeyPair::generate().unwrap();
    let request = RenewRequest {
        csr: csr(&fresh).into(),
    };
    let mut fleet = agent.fleet(&coordinator).await;
    let renewed = fleet.renew(request).await.unwrap().into_inner().certificate;
    assert!(agent.follow(&coordinator).await.is_ok());
    (agent.certificate, agent.tls) = (renewed, fresh);
    assert!(agent.follow(&coordinator).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admitted_certificate_the_fleet_is_closed() {
    let coordinator = Coordinator::new().await;
    let mut naked = FleetClient::new(coordinator.channel().await);
    let refused = naked
        .upload_state(UploadStateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A certificate of another authority does not even get through the handshake.
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let foreign = params.self_signed(&key).unwrap();
    let identity = Identity::from_pem(foreign.pem(), key.serialize_pem());
    if let Ok(channel) = coordinator.connect(Some(identity)).await {
        let mut fleet = FleetClient::new(channel);
        assert!(
            fleet
                .upload_state(UploadStateRequest::default())
                .await
                .is_err()
        );
    }
}

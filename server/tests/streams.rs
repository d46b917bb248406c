//! Answers at length: who was retired reads no further, and nobody takes what all need.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Coordinator, Human,
    agent::Agent,
    bearer,
    story::{self, MANIFEST, People},
};
use custody::statement::{Body, PersonRetire};
use proto::v1::{
    ChallengeRequest, Chunk, FetchRequest, evidence_client::EvidenceClient,
    session_client::SessionClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};

/// A coordinator with a manifest of several chunks.
async fn house() -> (Coordinator, People, String) {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(
        &coordinator,
        &people,
        &mut agent,
        &mut stream,
        target,
        25_000,
    )
    .await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    assert!(bytes.len() > 3 * proto::CHUNK, "{}", bytes.len());
    let whole = (0, bytes.len());
    let sent = agent.upload(&coordinator, (MANIFEST, &id), bytes, whole, proto::CHUNK);
    assert!(sent.await.unwrap().complete);
    (coordinator, people, id)
}

async fn fetch(
    evidence: &mut EvidenceClient<Channel>,
    who: &Human,
    id: &str,
) -> Result<Streaming<Chunk>, Status> {
    let request = FetchRequest {
        kind: MANIFEST,
        id: id.to_owned(),
        offset: 0,
    };
    Ok(evidence
        .fetch(bearer(&who.token, request))
        .await?
        .into_inner())
}

async fn end(mut stream: Streaming<Chunk>) -> Result<usize, Status> {
    let mut read = 0;
    while let Some(chunk) = stream.message().await? {
        read += chunk.data.len();
    }
    Ok(read)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_way_ends_when_its_reader_is_retired() {
    let (coordinator, people, id) = house().await;
    let mut evidence = coordinator.evidence().await;
    let theirs = fetch(&mut evidence, &people.auditor, &id).await.unwrap();
    let other = fetch(&mut evidence, &people.custodian, &id).await.unwrap();
    let retire = Body::PersonRetire(PersonRetire {
        person: people.auditor.id,
    });
    coordinator
        .say(&coordinator.admin, retire, &[])
        .await
        .unwrap();
    let cut = end(theirs).await.unwrap_err();
    assert_eq!(cut.code(), Code::Unauthenticated, "{cut}");
    assert!(end(other).await.unwrap() > 3 * proto::CHUNK);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_one_person_leaves_unread_are_few_and_take_nothing_from_others() {
    let (coordinator, people, id) = house().await;
    let mut evidence = coordinator.evidence().await;
    let mut unread = Vec::new();
    let full = loop {
        match fetch(&mut evidence, &people.auditor, &id).await {
            Ok(stream) => unread.push(stream),
            Err(status) => break status,
        }
        assert!(unread.len() < 100);
    };
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert_eq!(unread.len(), 16);
    // What is left unread also fills the connection: others have their own.
    let mut evidence = coordinator.evidence().await;
    let other = fetch(&mut evidence, &people.custodian, &id).await.unwrap();
    assert!(end(other).await.unwrap() > 3 * proto::CHUNK);
    drop(unread);
    common::until("a place is free again", async || {
        fetch(&mut evidence, &people.auditor, &id).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_that_takes_every_connection_it_can_keeps_nobody_else_out() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let address = coordinator.address.parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..700 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        idle.push(socket.connect(address).await.unwrap());
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    coordinator.login(&coordinator.admin.key).await.unwrap();
    // So many connections without a certificate as one address may have: an agent beside them
    // still gets in.
    let mut strangers = Vec::new();
    loop {
        let channel = coordinator.channel().await;
        let mut session = SessionClient::new(channel);
        match session.challenge(ChallengeRequest {}).await {
            Ok(_) => strangers.push(session),
            Err(_) => break,
        }
        assert!(strangers.len() < 1000);
    }
    assert!(strangers.len() > 200, "{}", strangers.len());
    agent.follow(&coordinator).await.unwrap();
    drop(idle);
}

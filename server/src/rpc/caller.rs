//! Who is calling, and whether he may read what he asks for.

use custody::{digest::Digest, house::refusal::Kind, id::AgentId, statement::Author};
use tonic::Request;

use super::{
    may::{self, Read},
    status::{No, refuse},
};
use crate::{
    app::Coordinator,
    clock,
    identity::{acceptor::Peer, login::Caller},
};

/// The person who calls, by the bearer token.
pub(crate) fn person<T>(coordinator: &Coordinator, request: &Request<T>) -> Result<Caller, No> {
    let header = request.metadata().get("authorization");
    let token = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let house = coordinator.desk.house();
    coordinator.sessions.caller(&house, token, clock::now())
}

/// Refuses, for everyone to see, what the caller's roles do not allow.
pub(crate) async fn check(
    coordinator: &Coordinator,
    caller: &Caller,
    read: Read,
    what: &str,
) -> Result<(), No> {
    let allowed = may::may(read);
    if caller.has_any(allowed) {
        return Ok(());
    }
    let who: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    let refusal = refuse(
        Kind::Forbidden,
        "role",
        format!(
            "Your roles do not allow {what}; it takes {}",
            who.join(" or ")
        ),
        "Ask someone who has the role",
    );
    let by = Some(Author::Person(caller.person));
    coordinator.desk.say_refused(&refusal, what, by, None).await;
    Err(refusal.into())
}

/// The agent that calls, by its client certificate; with the certificate's digest.
pub(crate) async fn agent<T>(
    coordinator: &Coordinator,
    request: &Request<T>,
) -> Result<(AgentId, Digest), No> {
    let peer = request.extensions().get::<Peer>();
    let Some(certificate) = peer.and_then(|peer| peer.certificate) else {
        return Err(No::Unauthenticated(
            "This call takes an agent's certificate. Enrol the agent first".to_owned(),
        ));
    };
    let (admitted, once) = {
        let house = coordinator.desk.house();
        let now = clock::now();
        let admitted = house.agents.values().find(|a| a.admits(&certificate, now));
        let once = house.agents.values().find(|agent| {
            let known = agent.enrolment.iter().flat_map(|e| &e.certificates);
            known.into_iter().any(|(digest, _)| *digest == certificate)
        });
        (admitted.map(|a| a.id), once.map(|a| a.id))
    };
    if let Some(agent) = admitted {
        return Ok((agent, certificate));
    }
    let refusal = refuse(
        Kind::Forbidden,
        "agent.certificate",
        "The certificate was revoked, replaced or is over",
        "Ask an administrator to invite the agent again",
    );
    let by = once.map(Author::Agent);
    coordinator
        .desk
        .say_refused(&refusal, "fleet", by, Some(certificate))
        .await;
    Err(No::Unauthenticated(refusal.to_string()))
}

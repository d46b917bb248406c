//! Enrolment: a one-time token and a certificate request become an agent's identity.
//!
//! The enrolment is durable before the certificate is answered. When the answer is lost the
//! token is used up: the agent must be invited again, and nothing half-done is left, for a
//! certificate that nobody has opens nothing.

use custody::{
    digest::Digest,
    house::refusal::{Kind, Refusal},
    id::AgentId,
    sign::{Namespace, PublicKey, SshSig},
    statement::{AgentCertified, AgentEnrolled, Body},
};
use proto::v1::{EnrolRequest, EnrolResponse};
use subtle::ConstantTimeEq as _;

use super::pki::Issued;
use crate::{
    app::Coordinator,
    clock,
    rpc::status::{self, No, invalid, refuse},
};

const AGAIN: &str = "Ask an administrator to run `holdfast agent invite` again";

/// Checks the token and the proofs, records the enrolment and answers with the certificate.
pub async fn enrol(coordinator: &Coordinator, request: EnrolRequest) -> Result<EnrolResponse, No> {
    let agent: AgentId = status::id(&request.agent)?;
    let token = Digest::of(&request.token);
    let epoch = match check_token(coordinator, &agent, &token) {
        Ok(epoch) => epoch,
        Err(refusal) => {
            // Nothing shows that it was the agent: whoever names one must not speak for it.
            coordinator
                .desk
                .say_refused(&refusal, "agent.enrol", None, None)
                .await;
            return Err(refusal.into());
        }
    };
    let key = PublicKey::from_openssh(&request.key)
        .ok()
        .filter(|key| !key.is_hardware())
        .ok_or_else(|| {
            invalid(
                "enrol.key",
                "The agent's key is not an `ssh-ed25519` key",
                "Let the agent make its own key",
            )
        })?;
    SshSig::decode(&request.key_proof)
        .and_then(|proof| proof.verify(Namespace::Agent, &request.csr, &key))
        .map_err(|error| {
            invalid(
                "enrol.key-proof",
                format!("The agent did not prove that it has its key: {error}"),
                "Enrol with the agent of the coordinator's version",
            )
        })?;
    let issued = issue(coordinator, &agent, &request.csr)?;
    let body = Body::AgentEnrolled(AgentEnrolled {
        agent,
        epoch,
        key,
        certificate: issued.digest,
        not_after: issued.not_after,
    });
    coordinator.desk.say(body).await?;
    tracing::info!(%agent, epoch, "enrolled");
    Ok(EnrolResponse {
        certificate: issued.pem,
        authority: coordinator.authority.certificate().to_owned(),
        epoch,
        origin: coordinator.desk.origin().to_owned(),
        vkey: coordinator.desk.vkey().to_string(),
    })
}

/// Checks a token against the open invitation; gives the epoch that comes next.
fn check_token(coordinator: &Coordinator, agent: &AgentId, token: &Digest) -> Result<u64, Refusal> {
    let no = |rule, why: &str| Err(refuse(Kind::Forbidden, rule, why, AGAIN));
    let house = coordinator.desk.house();
    let Some(known) = house.agents.get(agent) else {
        return no("enrol.unknown", "Nobody invited an agent of this id");
    };
    if known.retired {
        return no("enrol.retired", "This agent is retired");
    }
    let Some(invitation) = &known.invitation else {
        return no("enrol.used", "The token was used already");
    };
    if !bool::from(invitation.token.as_bytes().ct_eq(token.as_bytes())) {
        return no("enrol.token", "The token is not the one of this invitation");
    }
    if invitation.expires <= clock::now() {
        return no("enrol.expired", "The token has expired");
    }
    Ok(known.enrolment.as_ref().map_or(0, |e| e.head.epoch + 1))
}

fn issue(coordinator: &Coordinator, agent: &AgentId, csr: &[u8]) -> Result<Issued, No> {
    let hours = coordinator.config.certificates.agent_hours;
    coordinator
        .authority
        .agent(agent, csr, clock::now(), hours)
        .map_err(|_| {
            invalid(
                "enrol.csr",
                "The certificate request cannot be read, or its signature is wrong",
                "Enrol with the agent of the coordinator's version",
            )
        })
}

/// Gives an enrolled agent, known by the certificate it showed, a fresh one beside that.
pub async fn renew(
    coordinator: &Coordinator,
    (agent, shown): (AgentId, Digest),
    csr: &[u8],
) -> Result<String, No> {
    let issued = issue(coordinator, &agent, csr)?;
    let body = Body::AgentCertified(AgentCertified {
        agent,
        certificate: issued.digest,
        not_after: issued.not_after,
        over: Some(shown),
    });
    coordinator.desk.say(body).await?;
    tracing::info!(%agent, "certificate renewed");
    Ok(issued.pem)
}

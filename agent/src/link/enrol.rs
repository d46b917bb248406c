//! Enrolling: trades an invitation's token for a certificate, once.
//!
//! It believes the invitation and nothing else: the connection is pinned to the invitation's
//! authority, and what the coordinator answers must be of the log that the invitation names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    id::AgentId,
    ledger::note::VerifierKey,
    sign::{Namespace, SecretKey, Signer as _},
};
use proto::v1::{EnrolRequest, EnrolResponse, enrolment_client::EnrolmentClient};
use serde::Deserialize;

use super::{
    dial::Dialer,
    identity::{Enrolment, Identity, Request, Tls, settle_all},
};
use crate::{
    config::{Config, Place, RootConfig},
    edge::Edge,
    exit::Trouble,
};

/// An invitation, as `holdfast agent invite` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    server: String,
    agent: AgentId,
    token: String,
    origin: String,
    vkey: String,
    authority: String,
}

impl Invitation {
    /// Reads an invitation.
    pub fn load(path: &Path) -> Result<Self, Trouble> {
        let text = fs::read_to_string(path).map_err(|error| Trouble::file("read", path, error))?;
        // What does not parse may hold the token: it is not shown.
        toml::from_str(&text).map_err(|error| {
            let (path, why) = (path.display(), error.message());
            Trouble::Usage(format!(
                "{path} is not an invitation ({why}). Take the file that `holdfast agent \
                 invite` wrote."
            ))
        })
    }

    fn token(&self) -> Result<[u8; 32], Trouble> {
        let mut token = [0; 32];
        hex::decode_to_slice(&self.token, &mut token).map_err(|_| {
            Trouble::Usage(
                "The invitation's token is not 64 hex digits. Take the file that `holdfast \
                 agent invite` wrote, unchanged."
                    .to_owned(),
            )
        })?;
        Ok(token)
    }
}

/// What enrolling came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The agent has its identity now.
    Now {
        /// Which agent.
        agent: AgentId,
        /// The number of the enrolment.
        epoch: u64,
    },
    /// It was enrolled with this very invitation before.
    Already(AgentId),
}

/// Enrols the agent of a folder.
pub async fn enrol(
    invite: &Path,
    place: &Place,
    roots: &[PathBuf],
    edge: &dyn Edge,
) -> Result<Enrolled, Trouble> {
    let invitation = Invitation::load(invite)?;
    let token = invitation.token()?;
    let vkey = VerifierKey::parse(&invitation.vkey)
        .ok()
        .filter(|vkey| vkey.name() == invitation.origin)
        .ok_or_else(|| {
            Trouble::Usage(
                "The invitation's verifier key is not one of its log. Ask for a new invitation."
                    .to_owned(),
            )
        })?;
    let _lock = place.lock()?;
    settle_all(place)?;
    let before = Enrolment::load(place)?;
    configure(place, roots)?;
    if let Some(before) = &before {
        if before.agent != invitation.agent || before.origin != invitation.origin {
            return Err(Trouble::Refused(format!(
                "{} belongs to {} of {} already, and the invitation is for another. Enrol into \
                 a fresh folder.",
                place.0.display(),
                before.agent,
                before.origin
            )));
        }
        if before.token == Digest::of(&token) {
            return Ok(Enrolled::Already(before.agent));
        }
    }
    // One key is one enrolment: an old key says nothing new.
    let random = edge
        .random()
        .map_err(|error| Trouble::Failed(format!("No random numbers: {error}.")))?;
    let key = SecretKey::from_seed(&random);
    let request = Request::new(&invitation.agent)?;
    let proof = key
        .sign(Namespace::Agent, &request.csr)
        .map_err(|error| Trouble::Failed(format!("Cannot sign: {error}.")))?;
    let channel = Dialer::new(&invitation.server, &invitation.authority, None)?
        .connect()
        .await?;
    let asked = EnrolRequest {
        agent: invitation.agent.to_string(),
        token: token.to_vec().into(),
        csr: request.csr.into(),
        key: key.public_key().to_openssh(),
        key_proof: proof.encode().into(),
    };
    let answer = EnrolmentClient::new(channel).enrol(asked).await?;
    let answer = check(answer.into_inner(), &invitation)?;
    let identity = Identity {
        enrolment: Enrolment {
            server: invitation.server,
            agent: invitation.agent,
            origin: invitation.origin,
            vkey: invitation.vkey,
            epoch: answer.epoch,
            token: Digest::of(&token),
        },
        vkey,
        key,
        tls: Tls {
            key: request.key,
            certificate: answer.certificate,
        },
        authority: invitation.authority,
    };
    Dialer::new(
        &identity.enrolment.server,
        &identity.authority,
        Some(&identity.tls),
    )?;
    identity.store(place)?;
    Ok(Enrolled::Now {
        agent: identity.enrolment.agent,
        epoch: answer.epoch,
    })
}

/// Writes the configuration where there is none; an existing one is left as it is.
fn configure(place: &Place, roots: &[PathBuf]) -> Result<(), Trouble> {
    if place.config().exists() {
        let config = Config::load(place)?;
        if !roots.is_empty() {
            let named = roots.iter().map(|root| root_of(root)).collect::<Vec<_>>();
            if named.iter().any(|root| !config.roots.contains(root)) {
                return Err(Trouble::Usage(format!(
                    "{} is there already and names other roots. Change the roots in that file.",
                    place.config().display()
                )));
            }
        }
        return Ok(());
    }
    let roots = roots.iter().map(|root| root_of(root)).collect();
    Config::with_roots(roots).store(place)
}

fn root_of(flag: &Path) -> RootConfig {
    RootConfig::from_flag(&flag.to_string_lossy())
}

/// Checks that the answer is of the coordinator that invited.
fn check(answer: EnrolResponse, invitation: &Invitation) -> Result<EnrolResponse, Trouble> {
    let same = |one: &str, other: &str| one.trim() == other.trim();
    let other = if !same(&answer.origin, &invitation.origin) {
        "origin"
    } else if !same(&answer.vkey, &invitation.vkey) {
        "verifier key"
    } else if !same(&answer.authority, &invitation.authority) {
        "authority"
    } else {
        return Ok(answer);
    };
    Err(Trouble::Breach(format!(
        "The coordinator's {other} is not the one of the invitation. Nothing was stored. Do not \
         go on: ask who wrote the invitation whether this is the right coordinator."
    )))
}

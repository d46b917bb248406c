//! Logging in: the challenge is signed with the person's own key, for the pinned log alone.

use custody::{
    ledger::note::VerifierKey,
    sign::{Namespace, Signer},
};
use proto::v1;
use tonic::transport::Channel;

use super::strange;
use crate::{
    connect::{Services, patient},
    exit::{Outcome, Trouble},
    profile::{Place, Profile, Token},
    sign,
};

/// Logs in over a channel: signs the challenge with the profile's key.
pub async fn log_in(
    channel: &Channel,
    verifier: &VerifierKey,
    signer: &dyn Signer,
) -> Outcome<v1::LoginResponse> {
    let mut services = Services::new(channel.clone(), None)?;
    let challenge = services.session.challenge(patient(v1::ChallengeRequest {}));
    let challenge = challenge.await?.into_inner();
    // What is signed names the log that is pinned, whatever the server says.
    if challenge.origin != verifier.name() {
        return Err(Trouble::breach(
            "log.other",
            format!(
                "This coordinator keeps the log {}, and the profile is pinned to {}. Check the \
                 address, or use another profile.",
                crate::show::text::plain(&challenge.origin),
                verifier.name()
            ),
        ));
    }
    if challenge.nonce.len() != 32 {
        return Err(Trouble::breach(
            "login.challenge",
            "The coordinator's challenge is not 32 bytes, so it was not signed. Ask who runs it.",
        ));
    }
    let message = format!("{}\n{}\n", verifier.name(), hex::encode(&challenge.nonce));
    let signature = signer
        .sign(Namespace::Login, message.as_bytes())
        .map_err(|error| not_signed(&error))?;
    let answer = services.session.login(patient(v1::LoginRequest {
        nonce: challenge.nonce,
        signature: signature.encode().into(),
    }));
    Ok(answer.await?.into_inner())
}

pub(super) fn not_signed(error: &custody::sign::SignError) -> Trouble {
    Trouble::failed(
        "key.sign",
        format!("Nothing was signed: {error}. Check the key, and touch it if it is hardware."),
    )
}

/// Logs in with the profile's key and keeps the session; the key stays open for what follows.
pub(super) async fn enter(
    channel: &Channel,
    place: &Place,
    profile: &Profile,
    verifier: &VerifierKey,
    signer: &mut Option<Box<dyn Signer>>,
) -> Outcome<Token> {
    if signer.is_none() {
        *signer = Some(sign::open(&profile.key)?);
    }
    let key = signer.as_deref().ok_or_else(|| strange("the key"))?;
    let answer = log_in(channel, verifier, key).await?;
    let token = Token {
        token: answer.token,
        person: answer.person,
        expires_unix_ms: answer.expires_unix_ms,
    };
    place.put_token(&token)?;
    Ok(token)
}

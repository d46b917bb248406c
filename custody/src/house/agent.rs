//! Agents: the storage servers, their keys, certificates and place in their own chains.

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::{
    commit::Commitment, digest::Digest, id::AgentId, ledger::chain::ChainHead, sign::PublicKey,
    time::Time,
};

/// An agent as the house knows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The id.
    pub id: AgentId,
    /// The server's name, opened elsewhere.
    pub name: Commitment,
    /// The open invitation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
    /// What enrolment gave it, once enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// What its reading may take of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limited>,
    /// Retired agents are refused at the door.
    pub retired: bool,
    /// Index of the entry that invited it.
    pub entry: u64,
}

/// Limits that were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// The limits.
    #[serde(flatten)]
    pub limits: Limits,
    /// Index of the entry that set them.
    pub entry: u64,
}

/// A one-time token that has not been used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// SHA-256 of the token's secret.
    pub token: Digest,
    /// After this it is refused.
    pub expires: Time,
}

/// An enrolled agent's key, certificates and chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The key it signs statements with.
    pub key: PublicKey,
    /// The newest certificates, at most two so that rotation overlaps: SHA-256 of the DER
    /// form and the end of each.
    pub certificates: Vec<(Digest, Time)>,
    /// Where its chain stands.
    pub head: ChainHead,
}

impl Enrolment {
    /// Notes a fresh certificate. It stands beside the one that it was asked for with, or, where
    /// that is not said, beside the newest.
    pub fn certify(&mut self, certificate: Digest, end: Time, over: Option<Digest>) {
        if let Some(over) = over {
            self.certificates.retain(|(known, _)| *known == over);
        }
        self.certificates.push((certificate, end));
        let surplus = self.certificates.len().saturating_sub(2);
        self.certificates.drain(..surplus);
    }
}

impl Agent {
    /// Whether a peer that shows this certificate is this agent, now.
    pub fn admits(&self, certificate: &Digest, now: Time) -> bool {
        !self.retired
            && self.enrolment.as_ref().is_some_and(|enrolment| {
                enrolment
                    .certificates
                    .iter()
                    .any(|(known, end)| known == certificate && now < *end)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{SecretKey, Signer as _};

    #[test]
    fn answers_that_are_lost_take_no_certificate_away_that_is_in_use() {
        let end = Time::from_millis(1_000);
        let [used, lost, lost_too, got] = [1_u8, 2, 3, 4].map(|n| Digest::of(&[n]));
        let mut enrolment = Enrolment {
            key: SecretKey::from_seed(&[1; 32]).public_key(),
            certificates: vec![(used, end)],
            head: ChainHead::start(0),
        };
        let known = |enrolment: &Enrolment| -> Vec<_> {
            enrolment
                .certificates
                .iter()
                .map(|(digest, _)| *digest)
                .collect()
        };
        for certificate in [lost, lost_too, got] {
            enrolment.certify(certificate, end, Some(used));
            assert_eq!(known(&enrolment), [used, certificate]);
        }
        enrolment.certify(lost, end, Some(got));
        assert_eq!(known(&enrolment), [got, lost]);
        // As it was before that was said.
        enrolment.certify(used, end, None);
        assert_eq!(known(&enrolment), [lost, used]);
    }
}

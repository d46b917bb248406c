//! Signatures: SSHSIG with Ed25519, for people, agents and the coordinator alike.
//!
//! The format is OpenSSH's `PROTOCOL.sshsig`; hardware keys sign as in `PROTOCOL.u2f`. Each
//! purpose has its namespace, so that no signature serves another one. Verification is strict
//! (no malleable signatures, no weak keys), and hardware keys must show that they were touched
//! and that their holder was verified: `ssh-keygen -Y verify` does not ask for that.

mod blob;
mod key;

pub use blob::{SshSig, signed_data};
pub use key::{PublicKey, SecretKey};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// A person's command.
    Command,
    /// A person's vote.
    Approval,
    /// An agent's statement.
    Agent,
    /// The coordinator's statement.
    Coordinator,
    /// A person's log-in.
    Login,
}

impl Namespace {
    /// The namespace as it is signed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command@holdfast",
            Self::Approval => "approval@holdfast",
            Self::Agent => "agent@holdfast",
            Self::Coordinator => "coordinator@holdfast",
            Self::Login => "login@holdfast",
        }
    }
}

/// Whatever can sign: a key in memory, an ssh-agent, a hardware key.
pub trait Signer: Send + Sync {
    /// The key that its signatures verify under.
    fn public_key(&self) -> PublicKey;
    /// Signs a message for a purpose.
    fn sign(&self, namespace: Namespace, message: &[u8]) -> Result<SshSig, SignError>;
}

/// What can be wrong with a key or a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not an Ed25519 key in OpenSSH form.
    #[error(
        "not a usable public key: expected `ssh-ed25519 AAAA...` or \
         `sk-ssh-ed25519@openssh.com AAAA...`"
    )]
    Key,
    /// Not an SSHSIG blob of version 1 with SHA-512.
    #[error("not a readable SSH signature")]
    Blob,
    /// Made for another purpose.
    #[error("the signature was made for another purpose than {expected}")]
    Namespace {
        /// What it should have been made for.
        expected: &'static str,
    },
    /// Made with another key.
    #[error("the signature was made with another key")]
    OtherKey,
    /// A hardware key that was not touched, or whose holder it did not verify.
    #[error("the hardware key was not touched, or did not verify its holder")]
    Presence,
    /// The signature is not one of this message.
    #[error("the signature does not verify")]
    Wrong,
    /// The signer could not sign.
    #[error("signing failed: {0}")]
    Signer(String),
}

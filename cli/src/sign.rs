//! Signing as a person: with an SSH key file, or with whatever the ssh-agent holds, hardware
//! keys included.
//!
//! A secret key is read, used and dropped; it is never written, shown or sent. What the agent
//! answers is wrapped as SSHSIG and verified before it goes anywhere.

use std::path::{Path, PathBuf};

use custody::sign::{Namespace, PublicKey, SecretKey, SignError, Signer, SshSig, signed_data};
use ssh_agent_client_rs::{Client, Identity};

use crate::{
    exit::{Outcome, Trouble},
    show::ask,
};

/// Opens the key of a profile: a private key file, or a public one whose private half the
/// ssh-agent has.
pub fn open(path: &Path) -> Outcome<Box<dyn Signer>> {
    let public = PathBuf::from(format!("{}.pub", path.display()));
    let path = if !path.exists() && public.exists() {
        public.as_path()
    } else {
        path
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::file("read the key", path, &error))?;
    if !text.contains("PRIVATE KEY-----") {
        let key = PublicKey::from_openssh(&text).map_err(|error| not_a_key(path, &error))?;
        return from_agent(&key)?.ok_or_else(|| {
            Trouble::failed(
                "key.not-in-agent",
                format!(
                    "The ssh-agent does not have the key {}. Add it with `ssh-add`, or log in \
                     with the private key's file.",
                    key.fingerprint()
                ),
            )
        });
    }
    let private =
        ssh_key::PrivateKey::from_openssh(&text).map_err(|error| not_a_key(path, &error))?;
    let wire = private.public_key().to_bytes();
    let wire = wire.map_err(|error| not_a_key(path, &error))?;
    let public = PublicKey::from_wire(&wire).map_err(|error| not_a_key(path, &error))?;
    if public.is_hardware() {
        return from_agent(&public)?.ok_or_else(|| {
            Trouble::failed(
                "key.hardware",
                format!(
                    "{} is a hardware key and the ssh-agent does not have it. Add it with \
                     `ssh-add {}`.",
                    path.display(),
                    path.display()
                ),
            )
        });
    }
    if !private.is_encrypted() {
        return secret(&private).map_err(|error| not_a_key(path, &error));
    }
    // The agent has asked for the passphrase already, so we need not.
    if let Ok(Some(signer)) = from_agent(&public) {
        return Ok(signer);
    }
    for _ in 0..3 {
        let passphrase = ask::secret(&format!("Passphrase for {}: ", path.display()))?;
        if let Ok(open) = private.decrypt(passphrase.as_bytes()) {
            return secret(&open).map_err(|error| not_a_key(path, &error));
        }
        ask::tell("That is not its passphrase.");
    }
    Err(Trouble::failed(
        "key.passphrase",
        format!(
            "The key {} was not opened. Try again with its passphrase, or add it to the \
             ssh-agent with `ssh-add`.",
            path.display()
        ),
    ))
}

/// The public half of a profile's key, read without opening the private one.
pub fn public_of(path: &Path) -> Outcome<PublicKey> {
    let public = PathBuf::from(format!("{}.pub", path.display()));
    let path = if !path.exists() && public.exists() {
        public.as_path()
    } else {
        path
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::file("read the key", path, &error))?;
    if !text.contains("PRIVATE KEY-----") {
        return PublicKey::from_openssh(&text).map_err(|error| not_a_key(path, &error));
    }
    let private =
        ssh_key::PrivateKey::from_openssh(&text).map_err(|error| not_a_key(path, &error))?;
    let wire = private.public_key().to_bytes();
    let wire = wire.map_err(|error| not_a_key(path, &error))?;
    PublicKey::from_wire(&wire).map_err(|error| not_a_key(path, &error))
}

fn not_a_key(path: &Path, error: &dyn std::fmt::Display) -> Trouble {
    Trouble::usage(format!(
        "{} is not a key that can be used here: {error}. Make one with `ssh-keygen -t ed25519` \
         or `ssh-keygen -t ed25519-sk -O verify-required`.",
        path.display()
    ))
}

fn secret(key: &ssh_key::PrivateKey) -> Result<Box<dyn Signer>, SignError> {
    let pair = key.key_data().ed25519().ok_or(SignError::Key)?;
    Ok(Box::new(SecretKey::from_seed(&pair.private.to_bytes())))
}

/// Whether an ssh-agent answers, and how many keys it has.
pub fn agent_keys() -> Outcome<Option<usize>> {
    let Some(mut client) = client()? else {
        return Ok(None);
    };
    let keys = client
        .list_all_identities()
        .map_err(|error| agent_trouble(&error))?;
    Ok(Some(keys.len()))
}

/// The agent's half of a key; `None` when there is no agent or it does not have the key.
pub fn from_agent(key: &PublicKey) -> Outcome<Option<Box<dyn Signer>>> {
    let Some(mut client) = client()? else {
        return Ok(None);
    };
    let keys = client
        .list_all_identities()
        .map_err(|error| agent_trouble(&error))?;
    let wire = key.wire();
    let ours = keys.into_iter().find(|identity| match identity {
        Identity::PublicKey(key) => key.to_bytes().is_ok_and(|bytes| bytes == wire),
        Identity::Certificate(_) => false,
    });
    Ok(ours.map(|identity| {
        Box::new(AgentKey {
            key: key.clone(),
            identity,
        }) as Box<dyn Signer>
    }))
}

fn client() -> Outcome<Option<Client>> {
    match std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
        None => Ok(None),
        Some(path) => Client::connect(Path::new(&path))
            .map(Some)
            .map_err(|error| agent_trouble(&error)),
    }
}

fn agent_trouble(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::failed(
        "key.agent",
        format!(
            "The ssh-agent at SSH_AUTH_SOCK does not answer: {error}. Start one with \
             `eval $(ssh-agent)`, or unset SSH_AUTH_SOCK."
        ),
    )
}

struct AgentKey {
    key: PublicKey,
    identity: Identity<'static>,
}

impl Signer for AgentKey {
    fn public_key(&self) -> PublicKey {
        self.key.clone()
    }

    fn sign(&self, namespace: Namespace, message: &[u8]) -> Result<SshSig, SignError> {
        let signer = |text: String| SignError::Signer(text);
        if self.key.is_hardware() {
            ask::tell("Touch the hardware key.");
        }
        // A line of its own each time: the client cannot be shared between threads.
        let client = client().map_err(|trouble| signer(trouble.message))?;
        let answer = client
            .ok_or_else(|| signer("the ssh-agent is gone".to_owned()))?
            .sign_with_ref(&self.identity, &signed_data(namespace, message))
            .map_err(|error| signer(format!("the ssh-agent says: {error}")))?;
        let raw = raw(answer.algorithm().as_str(), answer.as_bytes())
            .ok_or_else(|| signer("the ssh-agent's answer is no Ed25519 signature".to_owned()))?;
        let signature = SshSig::from_raw(&self.key, namespace, &raw)?;
        signature.verify(namespace, message, &self.key)?;
        Ok(signature)
    }
}

/// SSH's form of a signature: `string kind, string signature` and a hardware key's trailer.
fn raw(kind: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let (signature, trailer) = bytes.split_at_checked(64)?;
    let mut out = Vec::new();
    for part in [kind.as_bytes(), signature] {
        out.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(trailer);
    Some(out)
}

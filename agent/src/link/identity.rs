//! The agent's identity on disk: its statement key, its TLS key and certificate, the
//! authority, and which coordinator it belongs to.
//!
//! Files that belong together are put in place together: they are first written aside, the
//! last of them is the mark that all are whole, and the next process that has the folder
//! finishes what a crash interrupted. All are for their owner only.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    id::AgentId,
    ledger::note::VerifierKey,
    sign::{SecretKey, Signer as _},
};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

use crate::{config::Place, durable, exit::Trouble};

/// Statement key, OpenSSH form.
const AGENT_KEY: &str = "agent.key";
/// TLS key and certificate, PEM.
const TLS_KEY: &str = "tls.key";
const TLS_CERTIFICATE: &str = "tls.pem";
/// The authority, PEM.
const AUTHORITY: &str = "ca.pem";
/// To whom the agent belongs.
const ENROLMENT: &str = "enrolment.toml";

/// Ends of the names of files written aside, by occasion.
const ENROLLED: &str = ".enrolled";
const RENEWED: &str = ".renewed";

/// To whom the agent belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// `https://HOST:PORT`.
    pub server: String,
    /// Its id.
    pub agent: AgentId,
    /// The log's origin.
    pub origin: String,
    /// The log's verifier key, pinned.
    pub vkey: String,
    /// The number of the enrolment.
    pub epoch: u64,
    /// SHA-256 of the token it enrolled with.
    pub token: Digest,
}

/// A TLS key and the certificate for it, PEM.
#[derive(Clone)]
pub struct Tls {
    /// The key.
    pub key: String,
    /// The certificate.
    pub certificate: String,
}

/// Everything that makes the agent this agent.
pub struct Identity {
    /// To whom it belongs.
    pub enrolment: Enrolment,
    /// The log's verifier key.
    pub vkey: VerifierKey,
    /// The statement key.
    pub key: SecretKey,
    /// For TLS.
    pub tls: Tls,
    /// The authority, PEM.
    pub authority: String,
}

/// A fresh TLS key with a request for a certificate.
pub struct Request {
    /// The key, PEM.
    pub key: String,
    /// PKCS #10, DER.
    pub csr: Vec<u8>,
}

impl Request {
    /// Makes a P-256 key and a request that names the agent.
    pub fn new(agent: &AgentId) -> Result<Self, Trouble> {
        let wrong = |error: rcgen::Error| {
            Trouble::Failed(format!("Cannot make a certificate request: {error}."))
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, agent.to_string());
        let csr = params.serialize_request(&key).map_err(wrong)?;
        Ok(Self {
            key: key.serialize_pem(),
            csr: csr.der().to_vec(),
        })
    }
}

/// Writes a statement key as OpenSSH does, so that `ssh-keygen` reads it.
fn write_key(key: &SecretKey) -> Result<Vec<u8>, ssh_key::Error> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&key.seed()));
    Ok(key.to_openssh(LineEnding::LF)?.as_bytes().to_vec())
}

fn read_key(text: &str) -> Option<SecretKey> {
    let key = PrivateKey::from_openssh(text).ok()?;
    let pair = key.key_data().ed25519()?;
    Some(SecretKey::from_seed(&pair.private.to_bytes()))
}

fn aside(folder: &Path, name: &str, end: &str) -> PathBuf {
    folder.join(format!("{name}{end}"))
}

/// Writes files aside, in order, and then puts all in place. The last is the mark.
fn put(folder: &Path, end: &str, files: &[(&str, &[u8])]) -> Result<(), Trouble> {
    for (name, bytes) in files {
        let path = aside(folder, name, end);
        durable::write(&path, 0o600, bytes)
            .map_err(|error| Trouble::file("write", &path, error))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    settle(folder, end, &names)
}

/// Puts files in place that were written aside whole; otherwise drops what is there of them.
fn settle(folder: &Path, end: &str, names: &[&str]) -> Result<(), Trouble> {
    let Some(mark) = names.last() else {
        return Ok(());
    };
    let whole = aside(folder, mark, end).exists();
    for name in names {
        let from = aside(folder, name, end);
        let done = if whole {
            fs::rename(&from, folder.join(name))
        } else {
            fs::remove_file(&from)
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Trouble::file("put in place", &from, error));
            }
            _ => {}
        }
    }
    let synced = durable::sync_folder(&folder.join(mark));
    synced.map_err(|error| Trouble::file("flush", folder, error))
}

/// Finishes what a crash interrupted. Only for who has the folder's lock.
pub fn settle_all(place: &Place) -> Result<(), Trouble> {
    let folder = &place.0;
    let all = [AGENT_KEY, TLS_KEY, TLS_CERTIFICATE, AUTHORITY, ENROLMENT];
    settle(folder, ENROLLED, &all)?;
    settle(folder, RENEWED, &[TLS_KEY, TLS_CERTIFICATE])
}

fn read(folder: &Path, name: &str) -> Result<String, Trouble> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|error| Trouble::file("read", &path, error))
}

impl Enrolment {
    /// Reads the enrolment in a folder, if there is one.
    pub fn load(place: &Place) -> Result<Option<Self>, Trouble> {
        if !place.0.join(ENROLMENT).exists() {
            return Ok(None);
        }
        let text = read(&place.0, ENROLMENT)?;
        let path = place.0.join(ENROLMENT);
        toml::from_str(&text)
            .map(Some)
            .map_err(|error| Trouble::file("read", &path, error.message()))
    }
}

impl Identity {
    /// Reads the identity in a folder.
    pub fn load(place: &Place) -> Result<Self, Trouble> {
        let folder = &place.0;
        let enrolment = Enrolment::load(place)?.ok_or_else(|| {
            let folder = folder.display();
            Trouble::Usage(format!(
                "{folder} holds no enrolled agent. Run `holdfast-agent enrol --invite FILE \
                 --data {folder}` with an invitation from `holdfast agent invite`."
            ))
        })?;
        let vkey = VerifierKey::parse(&enrolment.vkey)
            .map_err(|error| Trouble::file("read", &folder.join(ENROLMENT), error))?;
        let key = read_key(&read(folder, AGENT_KEY)?)
            .ok_or_else(|| Trouble::file("read", &folder.join(AGENT_KEY), "not a key"))?;
        Ok(Self {
            vkey,
            key,
            tls: Tls::load(place)?,
            authority: read(folder, AUTHORITY)?,
            enrolment,
        })
    }

    /// Puts a whole identity in place, durably.
    pub fn store(&self, place: &Place) -> Result<(), Trouble> {
        let path = place.0.join(AGENT_KEY);
        let key = write_key(&self.key).map_err(|error| Trouble::file("write", &path, error))?;
        let enrolment = toml::to_string(&self.enrolment)
            .map_err(|error| Trouble::file("write", &place.0.join(ENROLMENT), error))?;
        let files: [(&str, &[u8]); 5] = [
            (AGENT_KEY, &key),
            (TLS_KEY, self.tls.key.as_bytes()),
            (TLS_CERTIFICATE, self.tls.certificate.as_bytes()),
            (AUTHORITY, self.authority.as_bytes()),
            (ENROLMENT, enrolment.as_bytes()),
        ];
        put(&place.0, ENROLLED, &files)?;
        tracing::info!(
            agent = %self.enrolment.agent,
            key = %self.key.public_key().fingerprint(),
            "identity stored"
        );
        Ok(())
    }
}

impl Tls {
    /// Reads the newest key and certificate.
    pub fn load(place: &Place) -> Result<Self, Trouble> {
        Ok(Self {
            key: read(&place.0, TLS_KEY)?,
            certificate: read(&place.0, TLS_CERTIFICATE)?,
        })
    }

    /// Puts a renewed key and certificate in place, durably.
    pub fn store(&self, place: &Place) -> Result<(), Trouble> {
        let files: [(&str, &[u8]); 2] = [
            (TLS_KEY, self.key.as_bytes()),
            (TLS_CERTIFICATE, self.certificate.as_bytes()),
        ];
        put(&place.0, RENEWED, &files)
    }

    /// When the certificate begins and ends, in seconds since 1970.
    pub fn life(&self) -> Option<(i64, i64)> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let validity = certificate.validity();
        Some((
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_written_as_openssh_reads_it() {
        let key = SecretKey::from_seed(&[7; 32]);
        let text = String::from_utf8(write_key(&key).unwrap()).unwrap();
        assert!(text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(read_key(&text).unwrap().seed(), key.seed());
    }

    #[test]
    fn a_crash_while_files_are_put_in_place_leaves_all_old_or_all_new() {
        let names = ["key", "certificate", "mark"];
        for crash in 0..=2 * names.len() {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(folder.path().join(name), "old").unwrap();
            }
            // The steps of `put`, up to the crash: each written aside, then each renamed.
            for (step, name) in names.iter().chain(&names).enumerate().take(crash) {
                let from = aside(folder.path(), name, ".x");
                if step < names.len() {
                    fs::write(&from, "new").unwrap();
                } else {
                    fs::rename(&from, folder.path().join(name)).unwrap();
                }
            }
            settle(folder.path(), ".x", &names).unwrap();
            let expected = if crash < names.len() { "old" } else { "new" };
            for name in names {
                let text = fs::read_to_string(folder.path().join(name)).unwrap();
                assert_eq!(text, expected, "{name} after a crash at step {crash}");
            }
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), names.len());
        }
    }
}

//! Keys: Ed25519 public keys as OpenSSH writes them, and secret keys that stay secret.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Namespace, SignError, Signer, SshSig, blob, signed_data};
use crate::digest::Digest;

pub(super) const ED25519: &str = "ssh-ed25519";
pub(super) const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";

/// An Ed25519 public key, in software or in a hardware key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    bytes: [u8; 32],
    /// For a hardware key: the application it is bound to, usually `ssh:`.
    application: Option<String>,
}

impl PublicKey {
    /// Makes a software key of 32 bytes; points that are weak or not on the curve are refused.
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, SignError> {
        Self::new(bytes, None)
    }

    pub(super) fn new(bytes: [u8; 32], application: Option<String>) -> Result<Self, SignError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| SignError::Key)?;
        if key.is_weak() {
            return Err(SignError::Key);
        }
        Ok(Self { bytes, application })
    }

    /// The 32 bytes of the point.
    pub const fn ed25519_bytes(&self) -> [u8; 32] {
        self.bytes
    }

    /// Whether the key lives in hardware (`sk-ssh-ed25519@openssh.com`).
    pub const fn is_hardware(&self) -> bool {
        self.application.is_some()
    }

    pub(super) fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }

    pub(super) fn verifying(&self) -> Result<VerifyingKey, SignError> {
        VerifyingKey::from_bytes(&self.bytes).map_err(|_| SignError::Key)
    }

    /// The key as SSH sends it (RFC 8709, section 4).
    pub fn wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.application {
            None => {
                blob::put(&mut out, ED25519.as_bytes());
                blob::put(&mut out, &self.bytes);
            }
            Some(application) => {
                blob::put(&mut out, SK_ED25519.as_bytes());
                blob::put(&mut out, &self.bytes);
                blob::put(&mut out, application.as_bytes());
            }
        }
        out
    }

    /// Reads a key as SSH sends it; nothing may follow.
    pub fn from_wire(wire: &[u8]) -> Result<Self, SignError> {
        let mut reader = blob::Reader(wire);
        let kind = reader.string()?.to_vec();
        let bytes = reader.string()?.try_into().map_err(|_| SignError::Key)?;
        let application = match kind.as_slice() {
            b"ssh-ed25519" => None,
            b"sk-ssh-ed25519@openssh.com" => {
                let text = std::str::from_utf8(reader.string()?).map_err(|_| SignError::Key)?;
                Some(text.to_owned())
            }
            _ => return Err(SignError::Key),
        };
        reader.end()?;
        Self::new(bytes, application)
    }

    /// Reads a line of a `.pub` file; a comment behind the key is ignored.
    pub fn from_openssh(line: &str) -> Result<Self, SignError> {
        let mut words = line.split_ascii_whitespace();
        let (kind, body) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let wire = STANDARD.decode(body).map_err(|_| SignError::Key)?;
        let key = Self::from_wire(&wire)?;
        if key.kind() != kind {
            return Err(SignError::Key);
        }
        Ok(key)
    }

    const fn kind(&self) -> &'static str {
        if self.is_hardware() {
            SK_ED25519
        } else {
            ED25519
        }
    }

    /// The key as a line of a `.pub` file, without a comment.
    pub fn to_openssh(&self) -> String {
        format!("{} {}", self.kind(), STANDARD.encode(self.wire()))
    }

    /// The fingerprint as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        let digest = STANDARD.encode(Digest::of(&self.wire()).as_bytes());
        format!("SHA256:{}", digest.trim_end_matches('='))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_openssh())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl FromStr for PublicKey {
    type Err = SignError;
    fn from_str(text: &str) -> Result<Self, SignError> {
        Self::from_openssh(text)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An Ed25519 secret key in memory. It is wiped when dropped and never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a key of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for writing it to its file.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Signs bytes as they are, with no envelope (for notes).
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?}, not shown)", self.public_key())
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> PublicKey {
        PublicKey {
            bytes: self.0.verifying_key().to_bytes(),
            application: None,
        }
    }

    fn sign(&self, namespace: Namespace, message: &[u8]) -> Result<SshSig, SignError> {
        let signature = self.sign_raw(&signed_data(namespace, message));
        let mut raw = Vec::new();
        blob::put(&mut raw, ED25519.as_bytes());
        blob::put(&mut raw, &signature);
        SshSig::from_raw(&self.public_key(), namespace, &raw)
    }
}

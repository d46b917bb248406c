//! The SSHSIG blob: its bytes, its armour and its verification (`PROTOCOL.sshsig`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signature;
use sha2::{Digest as _, Sha512};

use super::{
    Namespace, PublicKey, SignError,
    key::{ED25519, SK_ED25519},
};
use crate::digest::Digest;

const MAGIC: &[u8] = b"SSHSIG";
const HASH: &[u8] = b"sha512";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// The longest blob that is read, in bytes.
const LONGEST: usize = 4096;
/// Hardware flags: the key was touched, and it verified its holder.
const PRESENT_AND_VERIFIED: u8 = 0x01 | 0x04;

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Reads SSH wire strings (RFC 4251, section 5).
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SignError> {
        if self.0.len() < length {
            return Err(SignError::Blob);
        }
        let (head, tail) = self.0.split_at(length);
        self.0 = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, SignError> {
        let bytes = self.take(4)?.try_into().map_err(|_| SignError::Blob)?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], SignError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(super) fn end(&self) -> Result<(), SignError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SignError::Blob)
        }
    }
}

/// The bytes that are signed: `"SSHSIG" || namespace || "" || "sha512" || SHA-512(message)`.
pub fn signed_data(namespace: Namespace, message: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, namespace.as_str().as_bytes());
    put(&mut out, b"");
    put(&mut out, HASH);
    put(&mut out, &Sha512::digest(message));
    out
}

/// An SSH signature: which key, for what, and the raw signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSig {
    key: PublicKey,
    namespace: String,
    signature: [u8; 64],
    /// For hardware keys: flags and counter.
    hardware: Option<(u8, u32)>,
}

impl SshSig {
    /// Wraps a raw SSH signature (`string kind, string signature`, and for hardware keys
    /// `byte flags, uint32 counter`), as an ssh-agent answers with.
    pub fn from_raw(key: &PublicKey, namespace: Namespace, raw: &[u8]) -> Result<Self, SignError> {
        Self::build(key.clone(), namespace.as_str().to_owned(), raw)
    }

    fn build(key: PublicKey, namespace: String, raw: &[u8]) -> Result<Self, SignError> {
        let mut reader = Reader(raw);
        let kind = reader.string()?;
        let expected = if key.is_hardware() {
            SK_ED25519
        } else {
            ED25519
        };
        if kind != expected.as_bytes() {
            return Err(SignError::Blob);
        }
        let signature = reader.string()?.try_into().map_err(|_| SignError::Blob)?;
        let hardware = match key.is_hardware() {
            true => Some((reader.take(1)?[0], reader.u32()?)),
            false => None,
        };
        reader.end()?;
        Ok(Self {
            key,
            namespace,
            signature,
            hardware,
        })
    }

    /// The key it says it was made with.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The namespace it was made for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&1_u32.to_be_bytes());
        put(&mut out, &self.key.wire());
        put(&mut out, self.namespace.as_bytes());
        put(&mut out, b"");
        put(&mut out, HASH);
        let mut raw = Vec::new();
        let kind = if self.key.is_hardware() {
            SK_ED25519
        } else {
            ED25519
        };
        put(&mut raw, kind.as_bytes());
        put(&mut raw, &self.signature);
        if let Some((flags, counter)) = self.hardware {
            raw.push(flags);
            raw.extend_from_slice(&counter.to_be_bytes());
        }
        put(&mut out, &raw);
        out
    }

    /// Reads a blob; nothing may follow, and no other hash is taken.
    pub fn decode(blob: &[u8]) -> Result<Self, SignError> {
        if blob.len() > LONGEST {
            return Err(SignError::Blob);
        }
        let mut reader = Reader(blob);
        if reader.take(MAGIC.len())? != MAGIC || reader.u32()? != 1 {
            return Err(SignError::Blob);
        }
        let key = PublicKey::from_wire(reader.string()?)?;
        let namespace = std::str::from_utf8(reader.string()?).map_err(|_| SignError::Blob)?;
        let (reserved, hash, raw) = (reader.string()?, reader.string()?, reader.string()?);
        reader.end()?;
        if !reserved.is_empty() || hash != HASH {
            return Err(SignError::Blob);
        }
        Self::build(key, namespace.to_owned(), raw)
    }

    /// The blob in base64, as entries carry it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.encode())
    }

    /// Reads the blob from base64.
    pub fn from_base64(text: &str) -> Result<Self, SignError> {
        Self::decode(&STANDARD.decode(text).map_err(|_| SignError::Blob)?)
    }

    /// The armoured form that `ssh-keygen -Y verify -s` reads.
    pub fn armor(&self) -> String {
        let body = self.to_base64();
        let mut out = format!("{BEGIN}\n");
        for line in body.as_bytes().chunks(70) {
            out.push_str(&String::from_utf8_lossy(line));
            out.push('\n');
        }
        out.push_str(END);
        out.push('\n');
        out
    }

    /// Reads the armoured form.
    pub fn from_armor(text: &str) -> Result<Self, SignError> {
        let body = text
            .trim()
            .strip_prefix(BEGIN)
            .and_then(|t| t.strip_suffix(END));
        let body: String = body
            .ok_or(SignError::Blob)?
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect();
        Self::from_base64(&body)
    }

    /// Verifies that `key` signed `message` for `namespace`.
    pub fn verify(
        &self,
        namespace: Namespace,
        message: &[u8],
        key: &PublicKey,
    ) -> Result<(), SignError> {
        if self.namespace != namespace.as_str() {
            return Err(SignError::Namespace {
                expected: namespace.as_str(),
            });
        }
        if self.key != *key {
            return Err(SignError::OtherKey);
        }
        let mut data = signed_data(namespace, message);
        if let (Some((flags, counter)), Some(application)) = (self.hardware, key.application()) {
            if flags & PRESENT_AND_VERIFIED != PRESENT_AND_VERIFIED {
                return Err(SignError::Presence);
            }
            let mut signed = Digest::of(application.as_bytes()).as_bytes().to_vec();
            signed.push(flags);
            signed.extend_from_slice(&counter.to_be_bytes());
            signed.extend_from_slice(Digest::of(&data).as_bytes());
            data = signed;
        }
        let signature = Signature::from_bytes(&self.signature);
        key.verifying()?
            .verify_strict(&data, &signature)
            .map_err(|_| SignError::Wrong)
    }
}

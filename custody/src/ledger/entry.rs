//! Entries: a statement and its signature, kept to the byte as they came.

use serde::{Deserialize, Serialize};

use super::{tile::LONGEST_ENTRY, tree};
use crate::{
    digest::Digest,
    json::{self, JsonError},
    sign::{Namespace, PublicKey, SignError, SshSig},
    statement::Statement,
};

/// What can be wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than a bundle can carry.
    #[error("the entry has {0} bytes; at most 65535 fit")]
    TooLong(usize),
    /// Not UTF-8, or not `{"signature":…,"statement":…}` in canonical form.
    #[error("the entry cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Its signature.
    #[error(transparent)]
    Sign(#[from] SignError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    signature: String,
    statement: String,
}

/// An entry: what is stored, hashed and shown, never written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
    text: String,
    signature: SshSig,
}

impl Entry {
    /// Joins a statement's text and its signature.
    pub fn seal(statement: &str, signature: &SshSig) -> Result<Self, EntryError> {
        let wire = Wire {
            signature: signature.to_base64(),
            statement: statement.to_owned(),
        };
        let bytes = json::canonical(&wire)?.into_bytes();
        if bytes.len() > LONGEST_ENTRY {
            return Err(EntryError::TooLong(bytes.len()));
        }
        Ok(Self {
            bytes,
            text: wire.statement,
            signature: signature.clone(),
        })
    }

    /// Reads an entry. Its signature is not verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > LONGEST_ENTRY {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| JsonError::Unreadable("not UTF-8".to_owned()))?;
        let wire: Wire = json::parse(text)?;
        let signature = SshSig::from_base64(&wire.signature)?;
        if signature.to_base64() != wire.signature {
            return Err(JsonError::NotCanonical.into());
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            text: wire.statement,
            signature,
        })
    }

    /// The bytes that are hashed and kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The statement's text, as it was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the statement.
    pub fn statement(&self) -> Result<Statement, EntryError> {
        Ok(Statement::from_text(&self.text)?)
    }

    /// The signature.
    pub const fn signature(&self) -> &SshSig {
        &self.signature
    }

    /// The leaf hash in the log's tree.
    pub fn leaf_hash(&self) -> Digest {
        tree::leaf_hash(&self.bytes)
    }

    /// SHA-256 of the bytes: what an agent's next entry names.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Verifies that `key` signed the statement for that purpose.
    pub fn verify(&self, namespace: Namespace, key: &PublicKey) -> Result<(), EntryError> {
        Ok(self
            .signature
            .verify(namespace, self.text.as_bytes(), key)?)
    }
}

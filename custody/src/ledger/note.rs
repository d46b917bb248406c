//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    digest::Digest,
    sign::{PublicKey, SecretKey, Signer as _},
};

/// The type byte of a plain Ed25519 note signature.
pub const ED25519: u8 = 0x01;
/// The type byte of an Ed25519 cosignature (C2SP tlog-cosignature).
pub const COSIGNATURE: u8 = 0x04;
/// The longest note that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// The most signature lines that are read.
const MOST_SIGNATURES: usize = 100;

/// What can be wrong with a note, a key or their signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// Not a verifier key of a type that is understood.
    #[error("not a verifier key: expected `name+hash+base64`")]
    Key,
    /// No line is by the key that must have signed.
    #[error("not signed by {0}")]
    Unsigned(String),
    /// A line that names a known key does not verify.
    #[error("the signature of {0} does not verify")]
    Wrong(String),
}

/// A key that verifies notes: `name+hex8(id)+base64(type || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: u8,
    key: PublicKey,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.chars().any(char::is_whitespace)
}

impl VerifierKey {
    /// Makes a verifier key for plain signatures ([`ED25519`]) or [`COSIGNATURE`]s.
    pub fn new(name: &str, kind: u8, key: PublicKey) -> Result<Self, NoteError> {
        if !is_name(name) || !matches!(kind, ED25519 | COSIGNATURE) || key.is_hardware() {
            return Err(NoteError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            key,
        })
    }

    /// Reads `name+hash+base64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(name), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let body = STANDARD.decode(body).map_err(|_| NoteError::Key)?;
        let (&kind, bytes) = body.split_first().ok_or(NoteError::Key)?;
        let bytes = bytes.try_into().map_err(|_| NoteError::Key)?;
        let key = PublicKey::ed25519(bytes).map_err(|_| NoteError::Key)?;
        let key = Self::new(name, kind, key)?;
        if hex::encode(key.id()) != id {
            return Err(NoteError::Key);
        }
        Ok(key)
    }

    /// The name; of a log's key it is the origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type byte.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// The key id: SHA-256(name || LF || type || key), its first four bytes.
    pub fn id(&self) -> [u8; 4] {
        let name = self.name.as_bytes();
        let hash = Digest::of_parts(&[name, b"\n", &[self.kind], &self.key.ed25519_bytes()]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        [a, b, c, d]
    }

    pub(super) fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (
            ed25519_dalek::VerifyingKey::from_bytes(&self.key.ed25519_bytes()),
            <[u8; 64]>::try_from(signature),
        ) else {
            return false;
        };
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature))
            .is_ok()
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut body = vec![self.kind];
        body.extend_from_slice(&self.key.ed25519_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.id()),
            STANDARD.encode(body)
        )
    }
}

/// A log's or witness's signing key, kept as `PRIVATE+KEY+name+hash+base64(type || seed)`.
pub struct NoteKey {
    verifier: VerifierKey,
    secret: SecretKey,
}

impl NoteKey {
    /// Makes a key of a name, a type and a 32-byte seed.
    pub fn from_seed(name: &str, kind: u8, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let secret = SecretKey::from_seed(seed);
        Ok(Self {
            verifier: VerifierKey::new(name, kind, secret.public_key())?,
            secret,
        })
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text
            .trim_end()
            .strip_prefix("PRIVATE+KEY+")
            .ok_or(NoteError::Key)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let body = STANDARD.decode(body).map_err(|_| NoteError::Key)?;
        let (&kind, seed) = body.split_first().ok_or(NoteError::Key)?;
        let key = Self::from_seed(name, kind, seed.try_into().map_err(|_| NoteError::Key)?)?;
        if hex::encode(key.verifier.id()) != id {
            return Err(NoteError::Key);
        }
        Ok(key)
    }

    /// The text form. It is a secret.
    pub fn to_secret_text(&self) -> String {
        let mut body = vec![self.verifier.kind];
        body.extend_from_slice(&self.secret.seed());
        let id = hex::encode(self.verifier.id());
        format!(
            "PRIVATE+KEY+{}+{id}+{}",
            self.verifier.name,
            STANDARD.encode(body)
        )
    }

    /// The key that verifies what this one signs.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text plainly and gives the signature line's content.
    pub fn sign(&self, text: &str) -> NoteSignature {
        self.line(self.secret.sign_raw(text.as_bytes()).to_vec())
    }

    /// Cosigns a checkpoint text at a time (seconds since 1970), as C2SP tlog-cosignature says.
    pub fn cosign(&self, text: &str, seconds: u64) -> NoteSignature {
        let signature = self.secret.sign_raw(cosigned(text, seconds).as_bytes());
        let mut bytes = seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signature);
        self.line(bytes)
    }

    fn line(&self, signature: Vec<u8>) -> NoteSignature {
        NoteSignature {
            name: self.verifier.name.clone(),
            id: self.verifier.id(),
            signature,
        }
    }
}

fn cosigned(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// What follows the id.
    pub signature: Vec<u8>,
}

/// A note with its signature lines, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Joins a text, which ends in LF, and signatures.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Self {
        Self { text, signatures }
    }

    /// Reads a signed note.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        use NoteError::Malformed;
        if note.len() > LONGEST {
            return Err(Malformed("it is longer than 1 MiB"));
        }
        let note = std::str::from_utf8(note).map_err(|_| Malformed("it is not UTF-8"))?;
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Malformed("it has control characters"));
        }
        let cut = note
            .rfind("\n\n")
            .ok_or(Malformed("it has no empty line"))?;
        let (text, lines) = (&note[..=cut], &note[cut + 2..]);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(Malformed("its last line is not ended"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let line = line
                .strip_prefix("\u{2014} ")
                .ok_or(Malformed("a line is no signature"))?;
            let (name, body) = line
                .split_once(' ')
                .ok_or(Malformed("a line is no signature"))?;
            let body = STANDARD
                .decode(body)
                .map_err(|_| Malformed("a line is no base64"))?;
            let (id, signature) = body
                .split_first_chunk::<4>()
                .ok_or(Malformed("a signature is too short"))?;
            if !is_name(name) || signature.is_empty() || signatures.len() == MOST_SIGNATURES {
                return Err(Malformed("a line is no signature, or there are over 100"));
            }
            let (name, signature) = (name.to_owned(), signature.to_vec());
            signatures.push(NoteSignature {
                name,
                id: *id,
                signature,
            });
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, ending in LF.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }

    /// Verifies that a key signed it. Lines of other keys are ignored; every line that names
    /// this key must verify. A cosignature answers with its time in seconds since 1970.
    pub fn verify(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        let (name, id) = (key.name(), key.id());
        let mut answer = Err(NoteError::Unsigned(name.to_owned()));
        for line in self
            .signatures
            .iter()
            .filter(|l| l.name == name && l.id == id)
        {
            let wrong = || NoteError::Wrong(name.to_owned());
            answer = if key.kind() == COSIGNATURE {
                let (time, signature) =
                    line.signature.split_first_chunk::<8>().ok_or_else(wrong)?;
                let seconds = u64::from_be_bytes(*time);
                let message = cosigned(&self.text, seconds);
                if !key.verify_bytes(message.as_bytes(), signature) {
                    return Err(wrong());
                }
                Ok(Some(seconds))
            } else {
                if !key.verify_bytes(self.text.as_bytes(), &line.signature) {
                    return Err(wrong());
                }
                Ok(None)
            };
        }
        answer
    }
}

impl std::fmt::Display for SignedNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let mut body = line.id.to_vec();
            body.extend_from_slice(&line.signature);
            writeln!(f, "\u{2014} {} {}", line.name, STANDARD.encode(body))?;
        }
        Ok(())
    }
}

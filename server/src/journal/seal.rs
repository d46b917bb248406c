//! Seals openings under their subject's key, so that destroying one key erases them all.
//!
//! XChaCha20-Poly1305 with a random nonce; the commitment and the subject are bound in, so that
//! a sealed opening cannot be put in another's place. This module never stores a key.

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use custody::commit::{Commitment, Opening};

/// A sealed opening that does not open: damaged, or sealed under another key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the opening of {0} cannot be unsealed: it is damaged, or its key is another")]
pub struct Unopenable(pub Commitment);

fn bound(commitment: &Commitment, subject: &str) -> Vec<u8> {
    let mut bound = b"holdfast/opening/v1\0".to_vec();
    bound.extend_from_slice(commitment.as_bytes());
    bound.extend_from_slice(subject.as_bytes());
    bound
}

/// Seals an opening: nonce and ciphertext.
pub fn seal(
    key: &[u8; 32],
    nonce: [u8; 24],
    subject: &str,
    commitment: &Commitment,
    opening: &Opening,
) -> Result<Vec<u8>, Unopenable> {
    let field = opening.field.as_bytes();
    let length = u16::try_from(field.len()).map_err(|_| Unopenable(*commitment))?;
    let mut plain = opening.r.to_vec();
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(field);
    plain.extend_from_slice(&opening.value);
    let aad = bound(commitment, subject);
    let payload = Payload {
        msg: &plain,
        aad: &aad,
    };
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    let sealed = cipher.encrypt(&nonce.into(), payload);
    let mut out = nonce.to_vec();
    out.extend(sealed.map_err(|_| Unopenable(*commitment))?);
    Ok(out)
}

/// Opens what [`seal`] sealed, and checks that it opens the commitment.
pub fn unseal(
    key: &[u8; 32],
    subject: &str,
    commitment: &Commitment,
    sealed: &[u8],
) -> Result<Opening, Unopenable> {
    let wrong = || Unopenable(*commitment);
    let (nonce, rest) = sealed.split_first_chunk::<24>().ok_or_else(wrong)?;
    let aad = bound(commitment, subject);
    let payload = Payload {
        msg: rest,
        aad: &aad,
    };
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    let plain = cipher
        .decrypt(&(*nonce).into(), payload)
        .map_err(|_| wrong())?;
    let (r, rest) = plain.split_first_chunk::<32>().ok_or_else(wrong)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (field, value) = rest.split_at_checked(length).ok_or_else(wrong)?;
    let field = String::from_utf8(field.to_vec()).map_err(|_| wrong())?;
    let opening = Opening::new(field, value, *r);
    match opening.opens(commitment) {
        true => Ok(opening),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_opening_opens_under_its_own_key_and_in_its_own_place_only() {
        let opening = Opening::new("path", "/srv/data/alice", [7; 32]);
        let other = Opening::new("path", "/srv/data/bob", [8; 32]).commitment();
        let at = opening.commitment();
        let sealed = seal(&[1; 32], [2; 24], "sub-1", &at, &opening).unwrap();
        assert_eq!(unseal(&[1; 32], "sub-1", &at, &sealed), Ok(opening));
        assert!(unseal(&[9; 32], "sub-1", &at, &sealed).is_err());
        assert!(unseal(&[1; 32], "sub-2", &at, &sealed).is_err());
        assert!(unseal(&[1; 32], "sub-1", &other, &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(unseal(&[1; 32], "sub-1", &at, &sealed[..cut]).is_err());
        }
        assert!(!sealed.windows(5).any(|window| window == b"alice"));
    }
}

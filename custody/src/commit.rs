//! Commitments: the only way in which anything personal enters a statement.
//!
//! A commitment is `HMAC-SHA-256(r, "holdfast/commit/v1" || 0 || field || 0 || value)` with 32
//! fresh random bytes `r`. Whoever holds the opening can show what it stands for; once the
//! opening is destroyed nobody can, and every proof over the statement still verifies.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::digest::{Digest, NotADigest};

/// The longest value that may be committed to, in bytes.
pub const LONGEST_VALUE: usize = 16 * 1024;
const DOMAIN: &[u8] = b"holdfast/commit/v1";

/// A commitment: 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment(Digest);

impl Commitment {
    /// Wraps 32 bytes that already are a commitment.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Commitment {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.parse().map(Self)
    }
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// What opens a commitment. It is personal data: it is kept apart and can be destroyed.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    /// What kind of value it is, such as `path`.
    pub field: String,
    /// 32 fresh random bytes.
    pub r: [u8; 32],
    /// The value.
    pub value: Vec<u8>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({}, not shown)", self.field)
    }
}

impl Opening {
    /// Makes an opening of a value with 32 fresh random bytes.
    pub fn new(field: impl Into<String>, value: impl Into<Vec<u8>>, r: [u8; 32]) -> Self {
        Self {
            field: field.into(),
            r,
            value: value.into(),
        }
    }

    /// The commitment it opens.
    pub fn commitment(&self) -> Commitment {
        // HMAC takes a key of any length, so this cannot fail for 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.r) else {
            return Commitment::from_bytes([0; 32]);
        };
        mac.update(DOMAIN);
        mac.update(&[0]);
        mac.update(self.field.as_bytes());
        mac.update(&[0]);
        mac.update(&self.value);
        Commitment::from_bytes(mac.finalize().into_bytes().into())
    }

    /// Whether it opens this commitment. Constant time. A field with a NUL opens nothing,
    /// since field and value could then be told apart in two ways.
    pub fn opens(&self, commitment: &Commitment) -> bool {
        !self.field.contains('\0')
            && self.value.len() <= LONGEST_VALUE
            && bool::from(self.commitment().as_bytes().ct_eq(commitment.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vector_of_the_format_page_holds() {
        let opening = Opening::new("path", "/srv/data/alice", [7; 32]);
        assert_eq!(
            opening.commitment().to_string(),
            include_str!("../tests/vectors/commitment.txt").trim()
        );
    }

    proptest! {
        #[test]
        fn any_other_opening_opens_nothing(value: Vec<u8>, r: [u8; 32], at in 0_usize..32) {
            let opening = Opening::new("path", value, r);
            let commitment = opening.commitment();
            prop_assert!(opening.opens(&commitment));
            let mut other = opening.clone();
            other.r[at] ^= 1;
            prop_assert!(!other.opens(&commitment));
            let mut other = opening.clone();
            other.value.push(0);
            prop_assert!(!other.opens(&commitment));
            let mut other = opening;
            other.field.push('s');
            prop_assert!(!other.opens(&commitment));
        }
    }
}

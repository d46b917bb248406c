//! The ids of everything the house speaks of: random, so that they say nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A text that is not an id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {noun} id: expected `{prefix}-` and 32 lower-case hex digits")]
pub struct NotAnId {
    /// What was read.
    pub text: String,
    /// What was expected, with its article.
    pub noun: &'static str,
    /// The prefix such an id has.
    pub prefix: &'static str,
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $noun:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 16 random bytes, written as a prefix, a hyphen and 32 lower-case hex digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id of 16 fresh random bytes.
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let wrong = || NotAnId { text: text.to_owned(), noun: $noun, prefix: $prefix };
                let digits = text.strip_prefix(concat!($prefix, "-")).ok_or_else(wrong)?;
                if digits.len() != 32 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong());
                }
                let mut bytes = [0; 16];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

id_types! {
    /// A command: one statement's own id, so that sending it twice does it once.
    CommandId = "cmd", "a command";
    /// A person of the house.
    PersonId = "per", "a person";
    /// An agent, which is one storage server.
    AgentId = "agt", "an agent";
    /// An order, as it was served.
    OrderId = "ord", "an order";
    /// One item of an order's or a claim's scope.
    ItemId = "itm", "a scope item";
    /// A hold: one reason, backed by one order.
    HoldId = "hld", "a hold";
    /// One place that a hold stands on.
    TargetId = "tgt", "a target";
    /// A snapshot of one target.
    SnapshotId = "snp", "a snapshot";
    /// A claim by an owner.
    ClaimId = "clm", "a claim";
    /// A request for something that needs several people.
    RequestId = "req", "a request";
    /// A release of files to their owner.
    ReleaseId = "rel", "a release";
    /// A clearance to wipe a server, disk or path.
    ClearanceId = "clr", "a clearance";
    /// A person outside the house whose data is kept apart, so that it can be erased.
    SubjectId = "sub", "a subject";
}

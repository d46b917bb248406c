//! Mechanisms: the ways to hold, what each prevents, and which is stronger.
//!
//! One table for the agent that chooses, for the rule that refuses what is too weak, and for
//! whoever reads a record years later. It speaks of the mechanism as such; what it does not
//! prevent on a certain host stands in the statement that says it was raised.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to hold, weakest first: `a < b` means that `b` is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// A verified copy that file modes alone protect: the file system knows no immutable flag.
    PlainCopy,
    /// A verified copy in a vault that carries the immutable flag.
    SealedCopy,
    /// The immutable flag on the files themselves.
    ImmutableFlag,
    /// Clones that share blocks with the originals, in a vault that carries the flag.
    ReflinkVault,
    /// A read-only btrfs snapshot, with the flag on it.
    BtrfsSnapshot,
    /// A ZFS snapshot with a user hold, `zfs hold`.
    ZfsSnapshot,
    /// A legal hold on every version of an S3 object, kept by the store and not by the host.
    ObjectLock,
}

/// How far a mechanism keeps a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// Yes.
    Yes,
    /// Not of itself; a break is found and recorded.
    Found,
    /// No.
    No,
}

impl Keeps {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Found => "found",
            Self::No => "no",
        }
    }
}

/// What a mechanism does and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Properties {
    /// Keeps what is held from being changed by whoever is not root.
    pub prevents_change: Keeps,
    /// Keeps it from being deleted by whoever is not root.
    pub prevents_deletion: Keeps,
    /// Stands after a restart of the machine.
    pub survives_reboot: Keeps,
    /// Stands against root on the host.
    pub survives_root: Keeps,
    /// Force that was used is noticed.
    pub detects_force: Keeps,
    /// All that is held is of one moment.
    pub one_moment: Keeps,
    /// The customer's files can go on changing beside it.
    pub lives_on: Keeps,
    /// What it takes of the disk.
    pub space: &'static str,
    /// What raising it takes.
    pub time: &'static str,
}

impl Mechanism {
    /// All of them, weakest first.
    pub const ALL: [Self; 7] = [
        Self::PlainCopy,
        Self::SealedCopy,
        Self::ImmutableFlag,
        Self::ReflinkVault,
        Self::BtrfsSnapshot,
        Self::ZfsSnapshot,
        Self::ObjectLock,
    ];

    /// Its name in statements.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PlainCopy => "plain-copy",
            Self::SealedCopy => "sealed-copy",
            Self::ImmutableFlag => "immutable-flag",
            Self::ReflinkVault => "reflink-vault",
            Self::BtrfsSnapshot => "btrfs-snapshot",
            Self::ZfsSnapshot => "zfs-snapshot",
            Self::ObjectLock => "object-lock",
        }
    }

    /// Reads a name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }

    /// What it does and does not do.
    pub const fn properties(self) -> Properties {
        use Keeps::{Found, No, Yes};
        let copy = Properties {
            prevents_change: Yes,
            prevents_deletion: Yes,
            survives_reboot: Yes,
            survives_root: Found,
            detects_force: Yes,
            one_moment: No,
            lives_on: Yes,
            space: "as much as is held",
            time: "reads and writes every byte",
        };
        match self {
            Self::PlainCopy => Properties {
                prevents_change: Found,
                prevents_deletion: Found,
                ..copy
            },
            Self::SealedCopy => copy,
            Self::ImmutableFlag => Properties {
                lives_on: No,
                space: "none",
                time: "two calls a file",
                ..copy
            },
            Self::ReflinkVault => Properties {
                space: "what changes later",
                time: "one clone a file",
                ..copy
            },
            Self::BtrfsSnapshot => Properties {
                one_moment: Yes,
                space: "what changes later",
                time: "one call a subvolume",
                ..copy
            },
            Self::ZfsSnapshot => Properties {
                one_moment: Yes,
                space: "what changes later",
                time: "two calls a dataset",
                ..copy
            },
            Self::ObjectLock => Properties {
                space: "none; every later version is kept too",
                time: "two requests a version",
                ..copy
            },
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mechanism_has_one_name_everywhere_and_stronger_ones_come_later() {
        for pair in Mechanism::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for known in Mechanism::ALL {
            let json = serde_json::to_string(&known).unwrap();
            assert_eq!(json, format!("\"{}\"", known.word()));
            assert_eq!(Mechanism::from_word(known.word()), Some(known));
            assert_eq!(known.to_string(), known.word());
        }
        assert_eq!(Mechanism::from_word("hope"), None);
    }
}

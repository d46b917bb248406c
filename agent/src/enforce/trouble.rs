//! Trouble: why a hold could not be raised, proved or lowered, with a word that stays the same.

use std::io;

use custody::house::mechanism::Mechanism;
use rustix::io::Errno;

use super::{choose::TooWeak, objects::StoreTrouble};

/// Why a hold could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum HoldTrouble {
    /// Nothing is there.
    #[error("there is nothing at this path. Check the order's path, then place the hold again")]
    NotFound,
    /// The path is not absolute and plain, or lies in no allowed root, or in a vault.
    #[error(
        "the path lies in none of this agent's roots. Add the root to agent.toml or correct the path"
    )]
    OutsideRoots,
    /// A part of the path is a symbolic link, or the target is one.
    #[error("the path leads through a symbolic link. Name the place it points to")]
    Symlink,
    /// A part of the path is a mount below the root.
    #[error(
        "the path lies on another file system than its root. Give that file system a root of its own in agent.toml"
    )]
    OtherFileSystem,
    /// There is no room for the copy.
    #[error(
        "the vault has {free} bytes free and {needed} are needed. Make room, or point the root's vault elsewhere"
    )]
    NoSpace {
        /// Bytes that the copy needs; 0 where only the write itself failed.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// The file system is mounted read-only.
    #[error(
        "the file system is read-only. Mount it for writing, or point the root's vault elsewhere"
    )]
    ReadOnly,
    /// This kind of thing, file system or privilege cannot do it.
    #[error("{0}")]
    NotSupported(&'static str),
    /// What this place has is weaker than what was asked for; nothing was touched, or all was undone.
    #[error(
        "the strongest mechanism here is {}, and {wanted} was asked for. Ask for less, or move the data to a file system that can do more",
        .best.map_or("none", |best| best.word())
    )]
    TooWeak {
        /// The strongest that there is.
        best: Option<Mechanism>,
        /// The weakest that would do.
        wanted: Mechanism,
    },
    /// The file system that the root lay on is not there.
    #[error(
        "the file system on which this root's holds were raised is not mounted. Mount it: they go on, and can be lifted"
    )]
    NotMounted,
    /// Something is mounted over the root or the target.
    #[error(
        "something is mounted over what is held, and hides it. Unmount that; what lies under it is as it was"
    )]
    MountedOver,
    /// The vault is another agent's.
    #[error(
        "this root's vault belongs to another agent of this host. Give each agent roots and vaults of its own, or move the vault away if that agent is gone"
    )]
    OtherAgent,
    /// This agent does not hold such a target.
    #[error("this agent holds no such target. Raise it first")]
    UnknownTarget,
    /// The copy does not equal what was read.
    #[error(
        "{0} copied files read back differently. Check the vault's disk, then raise the hold again"
    )]
    BytesDiffer(u64),
    /// It was stopped from outside; the next call goes on.
    #[error("it was stopped before its end. Start it again: it goes on")]
    Stopped,
    /// An object store refused, or could not be asked.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
    /// The world broke.
    #[error("{doing}: {source}. Look at the host's log, then try again")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl HoldTrouble {
    /// The word that stands in statements; it never changes.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::OutsideRoots => "outside-roots",
            Self::Symlink => "symlink",
            Self::OtherFileSystem => "other-file-system",
            Self::NoSpace { .. } => "no-space",
            Self::ReadOnly => "read-only",
            Self::NotSupported(_) => "not-supported",
            Self::TooWeak { .. } => "too-weak",
            Self::NotMounted => "not-mounted",
            Self::MountedOver => "mounted-over",
            Self::OtherAgent => "other-agent",
            Self::UnknownTarget => "unknown-target",
            Self::BytesDiffer(_) => "bytes-differ",
            Self::Stopped => "stopped",
            Self::Store(trouble) => trouble.word(),
            Self::Io { .. } => "io-error",
        }
    }
}

impl From<TooWeak> for HoldTrouble {
    fn from(TooWeak { best, wanted }: TooWeak) -> Self {
        Self::TooWeak { best, wanted }
    }
}

/// Says what was being done when the kernel answered so.
pub(crate) fn while_doing(doing: &'static str) -> impl Fn(Errno) -> HoldTrouble {
    move |errno| match errno {
        Errno::NOENT | Errno::NOTDIR => HoldTrouble::NotFound,
        Errno::LOOP => HoldTrouble::Symlink,
        Errno::XDEV => HoldTrouble::OtherFileSystem,
        Errno::NOSPC | Errno::DQUOT => HoldTrouble::NoSpace { needed: 0, free: 0 },
        Errno::ROFS => HoldTrouble::ReadOnly,
        other => HoldTrouble::Io {
            doing,
            source: other.into(),
        },
    }
}

/// The same for what the standard library answers about the agent's own files.
pub(crate) fn own(doing: &'static str) -> impl Fn(io::Error) -> HoldTrouble {
    move |source| match Errno::from_io_error(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => HoldTrouble::NoSpace { needed: 0, free: 0 },
        _ => HoldTrouble::Io { doing, source },
    }
}

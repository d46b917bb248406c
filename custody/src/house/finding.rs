//! Findings: what should not be, kept for everyone to see.

use serde::{Deserialize, Serialize};

/// The most places that a finding names as examples.
pub const MOST_PLACES: usize = 8;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// An agent said two different things at one place of its chain.
    Equivocation,
    /// A protection that stood was gone.
    ProtectionGone,
    /// A held file or folder had changed or vanished.
    HeldChanged,
    /// Something was there that the hold did not know.
    Appeared,
    /// Bytes read for a release were not the bytes of the manifest.
    BytesDiffer,
    /// A manifest's rows did not give the root that was signed.
    ManifestDiffers,
    /// What a held file system was mounted at is not there.
    Unmounted,
    /// Something was mounted over what is held.
    MountedOver,
    /// A snapshot that keeps what is held was removed.
    SnapshotGone,
    /// What is held cannot be read from its disk.
    Unreadable,
    /// What is held was read again and is not what the manifest says.
    FixityDiffers,
    /// A place was wiped without a clearance.
    Wiped,
    /// The server's wall clock jumped.
    ClockJumped,
    /// Another agent works in this agent's places.
    SecondAgent,
    /// A process has a held file open for writing, or mapped.
    WriterLeft,
}

impl FindingKind {
    /// Whether what is held may no longer stand as it was proved, so that it is raised again.
    /// What a disk has lost, no raising brings back: fixity and copies speak of that.
    pub const fn drifts(self) -> bool {
        !matches!(
            self,
            Self::Unreadable | Self::FixityDiffers | Self::ClockJumped | Self::SecondAgent
        )
    }
}

/// A finding as the house keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// What was said.
    #[serde(flatten)]
    pub finding: crate::statement::Finding,
    /// Who said it.
    pub by: crate::statement::Author,
    /// Index of its entry. Its JSON name is not `entry`, as elsewhere, for a finding may hold a
    /// refused entry under that name.
    #[serde(rename = "index")]
    pub entry: u64,
}

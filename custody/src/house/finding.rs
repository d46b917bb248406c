//! Findings: what should not be, kept for everyone to see.

use serde::{Deserialize, Serialize};

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

//! What an operator may set: how often all that is held is read again, and where second copies
//! go.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use custody::{house::scope::is_plain_path, time::Span};
use serde::{Deserialize, Serialize};

/// The longest period, in days: ten years.
const LONGEST: u64 = 3_650;

/// How often all that is held is read again: `[fixity]` in agent.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixityConfig {
    /// Every row with content is read again once in so many days; 0: never.
    #[serde(default = "monthly")]
    pub days: u64,
}

impl Default for FixityConfig {
    fn default() -> Self {
        Self { days: monthly() }
    }
}

const fn monthly() -> u64 {
    30
}

impl FixityConfig {
    /// The period; none when nothing is to be read again.
    pub fn period(&self) -> Option<Span> {
        let days = i64::try_from(self.days).ok().filter(|days| *days > 0)?;
        Some(Span::days(days))
    }

    /// Whether its values can be meant.
    pub const fn is_sound(&self) -> bool {
        self.days <= LONGEST
    }
}

/// Of what a second copy is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    /// Of everything that is held.
    #[default]
    All,
    /// Of what lies on a disk with read errors, and of what was found amiss before.
    AtRisk,
}

/// A place for second copies: `[[second_copy]]` in agent.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondCopy {
    /// The folder, absolute, on another disk.
    pub path: PathBuf,
    /// The roots of which copies go here; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<PathBuf>,
    /// Of what.
    #[serde(default)]
    pub only: Only,
    /// Whether it may lie on a disk that the originals lie on: such a copy is lost with that disk.
    #[serde(default)]
    pub same_disk: bool,
}

impl SecondCopy {
    /// Whether its values can be meant.
    pub fn is_sound(&self) -> bool {
        let plain = |path: &Path| is_plain_path(path.as_os_str().as_bytes());
        plain(&self.path) && self.roots.iter().all(|root| plain(root))
    }

    /// Whether copies of what lies in a root go here.
    pub fn takes(&self, root: &Path) -> bool {
        self.roots.is_empty() || self.roots.iter().any(|wanted| wanted == root)
    }
}

//! The watch: notices what is done to held things by force, at once where the kernel tells of it.
//!
//! Three things look, each where the others cannot. The kernel's own ear ([`ear`], [`kernel`])
//! hears what happens in the folders of what is held ([`marks`]), and by which process
//! ([`causer`]); what it hears is gathered ([`rounds`]) and looked at. A glance every few seconds
//! ([`glance`]) sees what the kernel tells nobody: a flag that came off, a snapshot made writable.
//! And the mounts are followed ([`mounts`], [`leads`]), so that what was unmounted or covered is
//! never taken for what is held. The regular full check stays what it was.
//!
//! It never opens what a customer has, changes nothing itself, and what the agent does is never
//! taken for force. Only what is held counts: the living files of a preserved target are its
//! owner's. No target keeps another waiting: each root has a hand of its own.

pub mod causer;
pub mod clocks;
pub mod ear;
pub mod glance;
pub mod held;
pub mod kernel;
pub mod leads;
mod looks;
pub mod marks;
mod mind;
pub mod mounts;
pub mod rounds;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use custody::{digest::Digest, house::finding::FindingKind, id::TargetId, time::Time};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::{
    held::All,
    leads::{Amiss, Leads, table},
};
pub use self::{looks::at_mounts, mind::run};
use crate::enforce::{Found, Keeper};

/// A glance that sees something of a target so often within [`LATELY`] says it only every
/// [`SELDOM`].
const OFTEN: u32 = 8;
const LATELY: Duration = Duration::from_secs(600);
const SELDOM: Duration = Duration::from_secs(60);

/// How the watch stands, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchState {
    /// Whether the kernel tells of changes.
    pub fanotify: bool,
    /// Why it does not, or not of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Targets that are watched.
    pub targets: u64,
    /// Folders in which the kernel tells of changes.
    pub folders: u64,
    /// Folders in which it does not, for want of room: there only the full check looks.
    #[serde(default)]
    pub folders_left: u64,
    /// The last glance at everything; written down once a minute at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Time>,
    /// Changes that the kernel told of, made by others than this agent.
    pub events: u64,
    /// Targets that cannot be reached because of what was mounted or unmounted.
    #[serde(default)]
    pub unreachable: u64,
}

impl WatchState {
    /// How it stands, in a line.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} targets, {} folders", self.targets, self.folders);
        match (&self.why, self.fanotify) {
            (None, true) => text.push_str(", told by the kernel"),
            (Some(why), true) => text.push_str(&format!(", told by the kernel, but {why}")),
            (why, false) => {
                let why = why.as_deref().unwrap_or("the kernel tells nothing");
                text.push_str(&format!(", looked at every few seconds: {why}"));
            }
        }
        if self.unreachable > 0 {
            text.push_str(&format!("; {} cannot be reached", self.unreachable));
        }
        text
    }
}

/// What the watch shares with those who hold.
#[derive(Debug)]
pub struct Watch {
    changed: Notify,
    leads: Leads,
    amiss: Mutex<Amiss>,
    /// When each target was last found amiss by a glance, and how often lately.
    glanced: Mutex<HashMap<TargetId, (Instant, u32)>>,
}

impl Watch {
    /// Begins with what is remembered in the holds' folder, in this run of the machine.
    pub fn open(folder: &Path, boot: Digest) -> Self {
        Self {
            changed: Notify::new(),
            leads: Leads::open(folder, boot),
            amiss: Mutex::default(),
            glanced: Mutex::default(),
        }
    }

    /// Says that a hold was raised, lowered or changed.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    fn amiss(&self) -> MutexGuard<'_, Amiss> {
        self.amiss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a glance sees of a target is to be said at once. What comes again and again
    /// is said less often, so that something that cannot be put right fills no record.
    fn patience(&self, target: TargetId, now: Instant) -> bool {
        let mut glanced = self.glanced.lock().unwrap_or_else(PoisonError::into_inner);
        glanced.retain(|_, (at, _)| now.duration_since(*at) < LATELY);
        let (at, times) = glanced.entry(target).or_insert((now, 0));
        if *times >= OFTEN && now.duration_since(*at) < SELDOM {
            return false;
        }
        *at = now;
        *times += 1;
        true
    }

    /// What keeps a target from being reached, and where: nothing may be raised, checked or
    /// proved on what now stands in its place.
    pub fn is_amiss(&self, target: TargetId) -> Option<(FindingKind, PathBuf)> {
        self.amiss().get(&target).cloned()
    }

    /// Looks where all that is held leads now. Gives what is amiss, and which targets can be
    /// reached again.
    pub fn look_at_mounts(&self, keeper: &Keeper) -> std::io::Result<(Amiss, Vec<TargetId>)> {
        let now = self.leads.compare(&All::of(keeper), &table()?);
        let before = std::mem::replace(&mut *self.amiss(), now.clone());
        let cured = before.into_keys();
        let cured = cured.filter(|target| !now.contains_key(target)).collect();
        Ok((now, cured))
    }
}

/// The finding about a target that is amiss.
pub fn found(amiss: &(FindingKind, PathBuf)) -> Found {
    Found::at(amiss.0, &amiss.1)
}

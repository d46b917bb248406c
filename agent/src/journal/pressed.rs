//! Pressed: what is held back while too much waits for the coordinator.
//!
//! Cut off for weeks, an agent that is tried every few seconds would fill its disk with the same
//! finding. From a bound on, a finding of a kind that was said of the same target before is added
//! to the one that is held back, and of how a target that drifted was raised and proved again the
//! newest is kept: one of each, on disk, said once there is room again. What was not said before is
//! always said, and so is everything that the coordinator asked for: a hold's beginning and end, a
//! snapshot or a release is never held back. So the journal is bounded by that bound, by what was
//! asked, and by one statement of each kind for each target, however long it is alone.

use std::{fs, io, path::Path};

use custody::{
    commit::Opening,
    house::finding::FindingKind,
    id::TargetId,
    statement::{Body, Finding},
    time::Time,
};
use serde::{Deserialize, Serialize};

use super::{known::Known, openings::Stored};
use crate::durable;

/// How many bytes of statements may wait for the coordinator before repetitions are held back.
pub const PRESSED: u64 = 32 << 20;

const FILE: &str = "held-back.json";

/// What two statements have in common when one can stand for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Finding(Option<TargetId>, FindingKind),
    Raised(TargetId),
    Proof(TargetId),
}

/// What a statement is about where it may be held back at all.
fn key(body: &Body) -> Option<Key> {
    match body {
        // With an entry or a file as its evidence it stands for itself.
        Body::Finding(b) if b.entry.is_none() && b.evidence.is_empty() => {
            Some(Key::Finding(b.target, b.what))
        }
        Body::HoldRaised(b) => Some(Key::Raised(b.target)),
        Body::HoldVerified(b) | Body::HoldUnproved(b) => Some(Key::Proof(b.target)),
        Body::HoldFailed(b) => Some(Key::Proof(b.id)),
        _ => None,
    }
}

/// The target that a statement about a hold is about.
fn target(body: &Body) -> Option<TargetId> {
    match body {
        Body::HoldAcknowledged(b) => Some(b.target),
        Body::HoldRaised(b) => Some(b.target),
        Body::HoldVerified(b) | Body::HoldUnproved(b) => Some(b.target),
        Body::HoldFailed(b) => Some(b.id),
        Body::HoldLowered(b) => Some(b.target),
        Body::Finding(b) => b.target,
        _ => None,
    }
}

/// Whether the coordinator was told, or will be by what waits for it, that this happens.
fn was_said(key: Key, known: &Known) -> bool {
    let target = |id| known.targets.get(id);
    match key {
        Key::Finding(None, kind) => known.own.contains_key(&kind),
        Key::Finding(Some(id), kind) => target(&id).is_some_and(|t| t.found.contains_key(&kind)),
        Key::Raised(id) => target(&id).is_some_and(|t| t.raised.is_some() && !t.found.is_empty()),
        Key::Proof(id) => target(&id)
            .is_some_and(|t| !t.found.is_empty() || t.unproved.is_some() || t.failed.is_some()),
    }
}

/// One statement that is held back: the newest of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    body: Body,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    openings: Vec<Stored>,
    /// How many statements it stands for.
    times: u64,
    /// How many things they counted, all together.
    count: u64,
    /// When the first of them was made.
    since: Time,
}

impl Held {
    /// The statement that stands for all of them. A finding counts all that was found, as it was
    /// at last, since it was noticed first; of all else the newest counts.
    fn body(&self) -> Body {
        match &self.body {
            Body::Finding(newest) => Body::Finding(Finding {
                count: self.count,
                noticed: Some(self.since),
                ..newest.clone()
            }),
            newest => newest.clone(),
        }
    }
}

/// All that is held back, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressed(Vec<Held>);

impl Pressed {
    /// Reads what is held back; a file that is not there holds nothing back.
    pub(super) fn load(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            read => Ok(Self(serde_json::from_slice(&read?)?)),
        }
    }

    fn store(&self, folder: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            return match fs::remove_file(folder.join(FILE)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => durable::sync_folder(&folder.join(FILE)),
            };
        }
        durable::write(&folder.join(FILE), 0o600, &serde_json::to_vec(&self.0)?)
    }

    /// Whether a statement is held back when so many bytes wait.
    pub(super) fn holds_back(&self, body: &Body, known: &Known, waiting: u64, bound: u64) -> bool {
        let is_pressed = waiting >= bound || !self.0.is_empty();
        is_pressed && key(body).is_some_and(|key| was_said(key, known))
    }

    /// Adds a statement, durably, to what is held back of its kind.
    pub(super) fn add(
        &mut self,
        folder: &Path,
        body: Body,
        openings: &[Opening],
        now: Time,
    ) -> io::Result<()> {
        let mut all = self.0.clone();
        let same = all.iter().position(|held| key(&held.body) == key(&body));
        let before = same.map(|at| all.remove(at));
        let (times, count, since) = before.map_or((0, 0, None), |before| {
            (before.times, before.count, Some(before.since))
        });
        let (new, noticed) = match &body {
            Body::Finding(finding) => (finding.count, finding.noticed.unwrap_or(now)),
            _ => (0, now),
        };
        all.push(Held {
            body,
            openings: openings.iter().map(Stored::new).collect(),
            times: times.saturating_add(1),
            count: count.saturating_add(new),
            since: since.unwrap_or(noticed),
        });
        let all = Self(all);
        all.store(folder)?;
        *self = all;
        Ok(())
    }

    /// What is to be said before this: order among what concerns one target stays as it was.
    pub(super) fn before(&self, body: &Body) -> Option<usize> {
        let target = target(body)?;
        let of_it = |held: &Held| self::target(&held.body) == Some(target);
        self.0.iter().position(of_it)
    }

    /// One that is held back, with what opens it.
    pub(super) fn get(&self, at: usize) -> io::Result<Option<(Body, Vec<Opening>)>> {
        let Some(held) = self.0.get(at) else {
            return Ok(None);
        };
        let openings = held.openings.iter().cloned().map(Stored::opening);
        Ok(Some((held.body(), openings.collect::<io::Result<_>>()?)))
    }

    /// Holds one back no longer, for it was said. A crash between saying it and this has it said
    /// twice, and never not at all.
    pub(super) fn forget(&mut self, folder: &Path, at: usize) -> io::Result<()> {
        self.0.remove(at);
        self.store(folder)
    }

    /// The newest of each kind that is held back, in order.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.0.iter().map(|held| &held.body)
    }

    /// How many statements those that are held back stand for.
    pub(super) fn times(&self) -> u64 {
        self.0.iter().map(|held| held.times).sum()
    }
}

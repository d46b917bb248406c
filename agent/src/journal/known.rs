//! What the agent knows of its own work: a fold of its journal, and nothing besides.
//!
//! Delete nothing, replay the journal, get the same. So a crash between saying a thing and
//! noting that it was said cannot happen: saying it is the note.

use std::collections::BTreeMap;

use custody::{
    digest::Digest,
    house::finding::FindingKind,
    id::{ReleaseId, SnapshotId, TargetId},
    ledger::chain::{self, ChainError, ChainHead},
    statement::{Body, HoldProof, HoldRaised, Link, ReleasePacked, Seen, SnapshotSealed},
};
use serde::{Deserialize, Serialize};

/// Something the agent notes for itself; it is signed by nobody and sent to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Note {
    /// A new enrolment began.
    Epoch {
        /// Its number.
        epoch: u64,
    },
    /// The coordinator has everything up to and with this statement.
    Recorded {
        /// Its epoch.
        epoch: u64,
        /// Its position.
        seq: u64,
        /// Its index in the ledger.
        index: u64,
    },
    /// A checkpoint was verified under the pinned key.
    Saw {
        /// Tree size.
        size: u64,
        /// Tree root.
        root: Digest,
    },
    /// A task was taken on; an older one for the same thing is stale from here on.
    Took {
        /// What it concerns.
        id: String,
        /// Position in the log that it follows from.
        position: u64,
    },
}

/// How far a target is, as this agent said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Taken on.
    #[default]
    Acknowledged,
    /// Raised and not yet proved.
    Raised,
    /// Proved by attempt.
    Verified,
    /// The proof failed: a writer is left, or an attempt went through.
    Unproved,
    /// It could not be raised.
    Failed,
    /// Something was not as it was left.
    Drifted,
    /// Lowered.
    Lowered,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetKnown {
    /// How far it is.
    pub stage: Stage,
    /// How it is held, as it was last said.
    pub raised: Option<HoldRaised>,
    /// The last proof that failed.
    pub unproved: Option<HoldProof>,
    /// Why it could not be raised, the last time that was so.
    pub failed: Option<String>,
    /// What was found wrong in all its time, and how much of it at last.
    pub found: BTreeMap<FindingKind, u64>,
    /// How many places have left it, as it was last said.
    pub places: u64,
    /// Of these, what was found since it was last proved: it stands until then.
    pub standing: BTreeMap<FindingKind, u64>,
}

/// How far a snapshot or release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Done, with what was said.
    Done(T),
    /// It failed, for a reason in a word.
    Failed(String),
}

/// Statements of an earlier enrolment that the ledger never got: they are said again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// The epoch they stand in.
    pub epoch: u64,
    /// The first of them.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// Everything that follows from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the next entry must say.
    pub head: ChainHead,
    /// The first statement of this epoch that the coordinator has not recorded.
    pub recorded: u64,
    /// Index in the ledger of the last one that it has.
    pub index: Option<u64>,
    /// The newest checkpoint that was verified.
    pub seen: Option<Seen>,
    /// What an earlier enrolment left unsaid to the ledger.
    pub left_over: Option<LeftOver>,
    /// Targets.
    pub targets: BTreeMap<TargetId, TargetKnown>,
    /// What was found that concerns no target, and how much of it at last.
    pub own: BTreeMap<FindingKind, u64>,
    /// Snapshots.
    pub snapshots: BTreeMap<SnapshotId, Outcome<SnapshotSealed>>,
    /// Releases.
    pub releases: BTreeMap<ReleaseId, Outcome<ReleasePacked>>,
    /// The newest task of each thing.
    pub took: BTreeMap<String, u64>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            head: ChainHead::start(0),
            recorded: 0,
            index: None,
            seen: None,
            left_over: None,
            targets: BTreeMap::new(),
            own: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            releases: BTreeMap::new(),
            took: BTreeMap::new(),
        }
    }
}

impl Known {
    /// How many statements the coordinator has not recorded.
    pub fn queued(&self) -> u64 {
        self.head.seq.saturating_sub(self.recorded)
    }

    /// How many statements of an earlier enrolment are still to be said again.
    pub fn to_repeat(&self) -> Option<(u64, u64)> {
        let left = self.left_over?;
        let next = left.first + self.head.seq;
        (next < left.end).then_some((left.epoch, next))
    }

    /// Folds a note.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Epoch { epoch } => {
                // What an even earlier enrolment left and was not yet said again is lost to
                // the ledger, and stays here to be read.
                self.left_over = (self.recorded < self.head.seq).then_some(LeftOver {
                    epoch: self.head.epoch,
                    first: self.recorded,
                    end: self.head.seq,
                });
                self.head = ChainHead::start(*epoch);
                self.recorded = 0;
            }
            Note::Recorded { epoch, seq, index } => {
                if *epoch == self.head.epoch && *seq < self.head.seq {
                    self.recorded = self.recorded.max(seq + 1);
                    self.index = Some(self.index.map_or(*index, |known| known.max(*index)));
                }
            }
            Note::Saw { size, root } => {
                if self.seen.is_none_or(|seen| seen.size < *size) {
                    self.seen = Some(Seen {
                        size: *size,
                        root: *root,
                    });
                }
            }
            Note::Took { id, position } => {
                let newest = self.took.entry(id.clone()).or_default();
                *newest = (*newest).max(*position);
            }
        }
    }

    /// Folds an entry, which must be the next of the chain.
    pub fn entry(&mut self, link: &Link, body: &Body, digest: Digest) -> Result<(), ChainError> {
        chain::follow(&self.head, link, &digest)?;
        self.head = chain::next(link, digest);
        self.said(body);
        Ok(())
    }

    fn stage(&mut self, target: TargetId, stage: Stage) -> &mut TargetKnown {
        let known = self.targets.entry(target).or_default();
        known.stage = stage;
        known
    }

    /// Folds what was said, or is held back.
    pub(super) fn said(&mut self, body: &Body) {
        match body {
            Body::HoldAcknowledged(b) => {
                // Taken on anew after it was lowered: nothing of before counts.
                *self.stage(b.target, Stage::Acknowledged) = TargetKnown::default();
            }
            Body::HoldRaised(b) => self.stage(b.target, Stage::Raised).raised = Some(b.clone()),
            Body::HoldVerified(b) => {
                let known = self.stage(b.target, Stage::Verified);
                known.unproved = None;
                known.standing.clear();
            }
            Body::HoldUnproved(b) => {
                self.stage(b.target, Stage::Unproved).unproved = Some(b.clone());
            }
            Body::HoldFailed(b) => self.stage(b.id, Stage::Failed).failed = Some(b.reason.clone()),
            Body::HoldNarrowed(b) => {
                self.targets.entry(b.target).or_default().places = b.places;
            }
            Body::HoldLowered(b) => {
                self.stage(b.target, Stage::Lowered);
            }
            Body::Finding(b) => {
                let known = match b.target {
                    Some(target) if b.what.drifts() => self.stage(target, Stage::Drifted),
                    Some(target) => self.targets.entry(target).or_default(),
                    None => {
                        self.own.insert(b.what, b.count);
                        return;
                    }
                };
                known.found.insert(b.what, b.count);
                known.standing.insert(b.what, b.count);
            }
            Body::SnapshotSealed(b) => {
                self.snapshots.insert(b.snapshot, Outcome::Done(b.clone()));
            }
            Body::SnapshotFailed(b) => {
                self.snapshots
                    .insert(b.id, Outcome::Failed(b.reason.clone()));
            }
            Body::ReleasePacked(b) => {
                self.releases.insert(b.release, Outcome::Done(b.clone()));
            }
            Body::ReleaseFailed(b) => {
                self.releases
                    .insert(b.id, Outcome::Failed(b.reason.clone()));
            }
            _ => {}
        }
    }
}

//! Narrowing through the door: what would leave, and letting it leave.

use std::{collections::BTreeSet, path::PathBuf};

use custody::{house::mechanism::Mechanism, id::TargetId};

use super::Keeper;
use crate::{
    capture::walk::Walk,
    enforce::{
        inodes::Inodes,
        job::{Job, path_of},
        mechanism,
        narrow::{self, Weighed},
        record::{Lowered, Phase, Record},
        sweep::Progress,
        trouble::{HoldTrouble, while_doing},
    },
};

impl Keeper {
    /// Says what would leave a raised hold, or all of it, without changing anything.
    pub fn weigh(
        &self,
        target: TargetId,
        leave: &[PathBuf],
        progress: &Progress,
    ) -> Result<Weighed, HoldTrouble> {
        let record = self.raised(target)?;
        if record.mechanism == Mechanism::ObjectLock {
            return self.weigh_objects(&record, leave, progress);
        }
        let path = path_of(&record);
        let leave = narrow::weighing(&path, leave)?;
        let job = self.job(target, &path, progress)?;
        self.weigh_in(&job, &record, &leave)
    }

    /// Lets parts of a raised hold leave it. A call after a crash, or a second one, ends in the
    /// same state and says the same.
    pub fn narrow(
        &self,
        target: TargetId,
        leave: &[PathBuf],
        progress: &Progress,
    ) -> Result<Lowered, HoldTrouble> {
        let mut record = self.standing(target).ok_or(HoldTrouble::UnknownTarget)?;
        if record.mechanism == Mechanism::ObjectLock {
            return self.narrow_objects(target, leave, progress);
        }
        let path = path_of(&record);
        let leave = narrow::below(&path, leave)?;
        let _turn = self.turn(record.mechanism);
        self.go_on_narrowing(&mut record, progress)?;
        let gone = |left: &Vec<u8>| record.left.contains(left);
        if leave.iter().all(gone) {
            return Ok(record.narrowed.unwrap_or_default().1);
        }
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        let job = self.job(target, &path, progress)?;
        let weighed = self.weigh_in(&job, &record, &leave)?;
        let clean = self.look(&record, progress)?.is_empty();
        let (freed, kept) = (weighed.leaving.files, weighed.kept.files);
        self.with(&mut record, |record| {
            record.left = narrow::together(&record.left, leave.clone());
            let leaving = leave.into_iter().collect();
            record.narrowed = Some((leaving, Lowered { freed, kept }));
            record.was_clean = clean;
            record.phase = Phase::Narrowing;
            progress.step()?;
            self.store.put(record)
        })?;
        drop(job);
        self.go_on_narrowing(&mut record, progress)?;
        Ok(record.narrowed.unwrap_or_default().1)
    }

    /// Ends a narrowing that was begun.
    pub(super) fn go_on_narrowing(
        &self,
        record: &mut Record,
        progress: &Progress,
    ) -> Result<(), HoldTrouble> {
        if record.phase != Phase::Narrowing {
            return Ok(());
        }
        let job = self.job(record.target, &path_of(record), progress)?;
        self.with(record, |record| {
            let lowered = mechanism::of(record.mechanism)?.narrow(&job, record)?;
            if let Some(narrowed) = &mut record.narrowed {
                narrowed.1 = lowered;
            }
            record.phase = Phase::Raised;
            progress.step()?;
            self.store.put(record)
        })
    }

    fn raised(&self, target: TargetId) -> Result<Record, HoldTrouble> {
        let record = self.record(target).ok();
        let raised = record.filter(|record| record.phase == Phase::Raised);
        raised.ok_or(HoldTrouble::UnknownTarget)
    }

    fn weigh_in(
        &self,
        job: &Job<'_>,
        record: &Record,
        leave: &BTreeSet<Vec<u8>>,
    ) -> Result<Weighed, HoldTrouble> {
        if record.mechanism == Mechanism::ImmutableFlag {
            let theirs = Inodes::read(&job.file("theirs"))?;
            let cover = job.cover(Record::flags_stand)?;
            return narrow::weigh(job, job.walk(None)?, leave, |path, inode| {
                theirs.0.contains(&inode) || cover.covers(path, inode)
            });
        }
        let source = self.source(record.target)?;
        let opening = while_doing("what is kept of the target cannot be opened");
        let walk = Walk::open_with(
            std::os::fd::AsFd::as_fd(&source.root),
            &source.relative,
            &source.exclude,
            None,
        );
        // No part of a snapshot can be taken away.
        let whole = matches!(
            record.mechanism,
            Mechanism::BtrfsSnapshot | Mechanism::ZfsSnapshot
        );
        narrow::weigh(job, walk.map_err(opening)?, leave, |_, _| whole)
    }
}

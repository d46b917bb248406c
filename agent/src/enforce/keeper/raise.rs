//! Raising: the strongest mechanism that there is, and never a weaker one than was asked for.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use custody::{
    house::{mechanism::Mechanism, regime::Holding},
    id::TargetId,
};

use super::Keeper;
use crate::enforce::{
    choose::{TooWeak, choose},
    facts,
    job::Job,
    mechanism,
    record::{Phase, Raised, Record},
    sweep::Progress,
    trouble::HoldTrouble,
};

impl Keeper {
    /// Makes a hold true by whatever is strongest here, and no weaker than was asked for before.
    pub fn raise(
        &self,
        target: TargetId,
        path: &Path,
        holding: Holding,
        progress: &Progress,
    ) -> Result<Raised, HoldTrouble> {
        let at_least = self.standing(target).and_then(|record| record.at_least);
        self.raise_at_least(target, path, holding, at_least, progress)
    }

    /// Makes a hold true. A call after a crash goes on; a call when all stands only looks. One
    /// call at a time for one target. Refused, before anything is touched, where this place has
    /// nothing as strong as `at_least`; and undone where it turns out so only at the end.
    pub fn raise_at_least(
        &self,
        target: TargetId,
        path: &Path,
        holding: Holding,
        at_least: Option<Mechanism>,
        progress: &Progress,
    ) -> Result<Raised, HoldTrouble> {
        if self.objects.find(path).is_some() {
            return self.raise_objects(target, path, holding, at_least, progress);
        }
        let standing = self.standing(target);
        let begun = standing.filter(|record| record.phase != Phase::Planned);
        let mechanisms = match begun {
            Some(record) => vec![strong_enough(record.mechanism, at_least)?],
            None => {
                let job = self.job(target, path, progress)?;
                job.site.target()?;
                choose(&facts::of(&job.site, job.zfs), holding, at_least)?
            }
        };
        let mut trouble = HoldTrouble::NotSupported(
            "nothing here can hold it. Move the data to a file system that this agent can write to",
        );
        for mechanism in mechanisms {
            match self.raise_by(mechanism, target, path, holding, at_least, progress) {
                // Nothing of it stands: the next one is tried.
                Err(not_supported @ HoldTrouble::NotSupported(_))
                    if self
                        .standing(target)
                        .is_some_and(|record| record.since_ns == 0) =>
                {
                    tracing::warn!(%target, %mechanism, "cannot be had here: {not_supported}");
                    trouble = not_supported;
                }
                raised => return raised,
            }
        }
        match at_least {
            Some(wanted) => Err(self.weaker(path, holding, wanted, progress)?.into()),
            None => Err(trouble),
        }
    }

    /// What there would be if less had been asked for, where all that was strong enough failed.
    fn weaker(
        &self,
        path: &Path,
        holding: Holding,
        wanted: Mechanism,
        progress: &Progress,
    ) -> Result<TooWeak, HoldTrouble> {
        let job = self.job(TargetId::from_random([0; 16]), path, progress)?;
        let all = choose(&facts::of(&job.site, job.zfs), holding, None).unwrap_or_default();
        let best = all.into_iter().filter(|weaker| *weaker < wanted).max();
        Ok(TooWeak { best, wanted })
    }

    fn raise_by(
        &self,
        mechanism: Mechanism,
        target: TargetId,
        path: &Path,
        holding: Holding,
        at_least: Option<Mechanism>,
        progress: &Progress,
    ) -> Result<Raised, HoldTrouble> {
        let _turn = self.turn(mechanism);
        let mut job = self.job(target, path, progress)?;
        let stat = job.site.target()?;
        job.claim()?;
        let nothing_held = !self.holds_in(&job.site.root_path);
        self.homes.note(&job.site.root_path, nothing_held)?;
        let mut record = self.standing(target).unwrap_or_else(|| {
            let path = job.path.as_os_str().as_bytes().to_vec();
            Record::planned(target, path, holding, mechanism)
        });
        record.single = stat.st_mode & 0o170_000 == 0o100_000;
        if record.mechanism != mechanism {
            // Another one could not be had, and left nothing.
            record.mechanism = mechanism;
            record.phase = Phase::Planned;
        }
        if record.phase == Phase::Planned || record.at_least != at_least {
            record.at_least = at_least;
            progress.step()?;
            self.with(&mut record, |record| self.store.put(record))?;
        }
        self.go_on_narrowing(&mut record, progress)?;
        let fresh = record.raised.is_none();
        job.over = self.over(&record);
        if !fresh && !job.over.is_empty() {
            return Err(HoldTrouble::MountedOver);
        }
        if record.phase == Phase::Raised
            && mechanism::of(mechanism)?.check(&job, &record)?.is_empty()
            && record.unprotected == 0
            && let Some(raised) = &record.raised
        {
            return Ok(raised.clone());
        }
        self.with(&mut record, |record| {
            let raised = mechanism::of(mechanism)?.raise(&job, record)?;
            if fresh {
                record.mounts = self.mounts_of(record);
                self.store.put(record)?;
            }
            match strong_enough(raised.mechanism, at_least) {
                Ok(_) => Ok(raised),
                Err(weak) => {
                    undo(&mut job, record)?;
                    Err(weak.into())
                }
            }
        })
    }

    /// The record of a target that is not lowered.
    pub(super) fn standing(&self, target: TargetId) -> Option<Record> {
        let known = self.record(target).ok();
        known.filter(|record| record.phase != Phase::Lowered)
    }
}

/// Refuses a mechanism below the minimum.
fn strong_enough(has: Mechanism, at_least: Option<Mechanism>) -> Result<Mechanism, TooWeak> {
    match at_least {
        Some(wanted) if has < wanted => Err(TooWeak {
            best: Some(has),
            wanted,
        }),
        _ => Ok(has),
    }
}

/// Takes down what landed too low: the record is as if nothing had been done.
fn undo(job: &mut Job<'_>, record: &mut Record) -> Result<(), HoldTrouble> {
    mechanism::of(record.mechanism)?.lower(job, record)?;
    let mut fresh = Record::planned(
        record.target,
        record.path.clone(),
        record.holding,
        record.mechanism,
    );
    fresh.at_least = record.at_least;
    job.store.put(&fresh)?;
    *record = fresh;
    Ok(())
}

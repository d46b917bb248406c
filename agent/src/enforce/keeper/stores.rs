//! Targets in object stores: the same steps as for a disk, with nothing of the host's below them.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use custody::{
    house::{mechanism::Mechanism, regime::Holding},
    id::TargetId,
};

use super::Keeper;
use crate::{
    capture::objects::StoreSource,
    enforce::{
        after::After,
        found::Found,
        job::path_of,
        narrow::{self, Weighed},
        objects::{
            Objects,
            job::{ObjectJob, list_of, overlaps},
        },
        plan::Plan,
        record::{Lowered, Phase, Proof, Raised, Record},
        sweep::Progress,
        trouble::HoldTrouble,
    },
};

impl Keeper {
    /// Names the stores in which it may hold.
    pub fn with_objects(&mut self, objects: Objects) {
        self.objects = objects;
    }

    /// The stores in which it may hold.
    pub const fn objects(&self) -> &Objects {
        &self.objects
    }

    fn object_job<'a>(
        &'a self,
        target: TargetId,
        path: &Path,
        progress: &'a Progress,
    ) -> Result<ObjectJob<'a>, HoldTrouble> {
        let (client, name) = self.objects.open(path)?;
        let records = self.records();
        let others = records.values().filter(|other| other.target != target);
        Ok(ObjectJob {
            store: &self.store,
            client,
            name,
            target,
            others: others.cloned().collect(),
            progress,
        })
    }

    /// Whether a store has something at this absolute path; asks the store.
    pub fn is_in_store(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.objects.find(path).is_some()
            && self.plan_objects(path, false, &Progress::default()).is_ok()
    }

    pub(super) fn plan_objects(
        &self,
        path: &Path,
        count: bool,
        progress: &Progress,
    ) -> Result<Plan, HoldTrouble> {
        let nobody = TargetId::from_random([0; 16]);
        let job = self.object_job(nobody, path, progress)?;
        self.objects.heard(path, job.plan(count))
    }

    /// Object Lock is the strongest that there is: whatever is asked for at least, it will do.
    pub(super) fn raise_objects(
        &self,
        target: TargetId,
        path: &Path,
        holding: Holding,
        at_least: Option<Mechanism>,
        progress: &Progress,
    ) -> Result<Raised, HoldTrouble> {
        let _turn = self.objects.turn();
        let job = self.object_job(target, path, progress)?;
        let mut record = self.standing(target).unwrap_or_else(|| {
            let path = job.name.path.as_os_str().as_bytes().to_vec();
            Record::planned(target, path, holding, Mechanism::ObjectLock)
        });
        if record.phase == Phase::Planned || record.at_least != at_least {
            record.at_least = at_least;
            progress.step()?;
            self.with(&mut record, |record| self.store.put(record))?;
        }
        self.go_on_narrowing_objects(&mut record, &job)?;
        let raised = self.with(&mut record, |record| match &record.raised {
            Some(raised) if record.phase == Phase::Raised && job.check(record)?.is_empty() => {
                Ok(raised.clone())
            }
            _ => job.raise(record),
        });
        self.objects.heard(path, raised)
    }

    pub(super) fn prove_objects(
        &self,
        record: &Record,
        progress: &Progress,
    ) -> Result<Proof, HoldTrouble> {
        let path = path_of(record);
        let job = self.object_job(record.target, &path, progress)?;
        self.objects.heard(&path, job.prove(record))
    }

    pub(super) fn check_objects(
        &self,
        record: &Record,
        progress: &Progress,
    ) -> Result<Vec<Found>, HoldTrouble> {
        let path = path_of(record);
        let job = self.object_job(record.target, &path, progress)?;
        self.objects.heard(&path, job.check(record))
    }

    pub(super) fn lower_objects(
        &self,
        target: TargetId,
        progress: &Progress,
    ) -> Result<Lowered, HoldTrouble> {
        let _turn = self.objects.turn();
        let mut record = self.record(target)?;
        if record.phase == Phase::Lowered {
            return Ok(record.lowered.unwrap_or_default());
        }
        self.survey_waiting_objects(&record, progress);
        let path = path_of(&record);
        let job = self.object_job(target, &path, progress)?;
        self.with(&mut record, |record| {
            let lowered = self.objects.heard(&path, job.lower(record))?;
            record.phase = Phase::Lowered;
            record.lowered = Some(lowered);
            self.store.put(record)?;
            let _ = std::fs::remove_file(job.list());
            Ok(lowered)
        })
    }

    pub(super) fn weigh_objects(
        &self,
        record: &Record,
        leave: &[PathBuf],
        progress: &Progress,
    ) -> Result<Weighed, HoldTrouble> {
        let path = path_of(record);
        let leave = narrow::weighing(&path, leave)?;
        self.object_job(record.target, &path, progress)?
            .weigh(record, &leave)
    }

    /// The same steps as on a disk: what leaves is on disk before the first of it is freed.
    pub(super) fn narrow_objects(
        &self,
        target: TargetId,
        leave: &[PathBuf],
        progress: &Progress,
    ) -> Result<Lowered, HoldTrouble> {
        let _turn = self.objects.turn();
        let mut record = self.standing(target).ok_or(HoldTrouble::UnknownTarget)?;
        let path = path_of(&record);
        let leave = narrow::below(&path, leave)?;
        let job = self.object_job(target, &path, progress)?;
        self.go_on_narrowing_objects(&mut record, &job)?;
        if !leave.iter().all(|path| record.left.contains(path)) {
            if record.phase != Phase::Raised {
                return Err(HoldTrouble::UnknownTarget);
            }
            let weighed = job.weigh(&record, &leave)?;
            let (freed, kept) = (weighed.leaving.files, weighed.kept.files);
            self.with(&mut record, |record| {
                record.left = narrow::together(&record.left, leave.clone());
                let leaving = leave.into_iter().collect();
                record.narrowed = Some((leaving, Lowered { freed, kept }));
                record.phase = Phase::Narrowing;
                progress.step()?;
                self.store.put(record)
            })?;
            self.go_on_narrowing_objects(&mut record, &job)?;
        }
        Ok(record.narrowed.unwrap_or_default().1)
    }

    fn go_on_narrowing_objects(
        &self,
        record: &mut Record,
        job: &ObjectJob<'_>,
    ) -> Result<(), HoldTrouble> {
        if record.phase != Phase::Narrowing {
            return Ok(());
        }
        self.with(record, |record| {
            let lowered = self.objects.heard(&job.name.path, job.narrow(record))?;
            if let Some(narrowed) = &mut record.narrowed {
                narrowed.1 = lowered;
            }
            record.phase = Phase::Raised;
            job.progress.step()?;
            self.store.put(record)
        })
    }

    pub(super) fn after_objects(
        &self,
        record: &Record,
        progress: &Progress,
    ) -> Result<After, HoldTrouble> {
        let path = path_of(record);
        let job = self.object_job(record.target, &path, progress)?;
        self.objects.heard(&path, job.after(record))
    }

    /// Surveys targets that wait to be raised and overlap this one, while it can still be said
    /// which holds are ours: so they keep what they need. One that cannot be surveyed holds
    /// nothing yet, and loses nothing.
    fn survey_waiting_objects(&self, record: &Record, progress: &Progress) {
        for mut other in self.all() {
            let waits = other.target != record.target
                && other.phase == Phase::Planned
                && other.mechanism == Mechanism::ObjectLock
                && overlaps(&other, record);
            if waits {
                let _ = self.with(&mut other, |other| {
                    let path = path_of(other);
                    let job = self.object_job(other.target, &path, progress)?;
                    job.survey(other).map(|_| ())
                });
            }
        }
    }

    /// Where a target in a store is read; none where it is on a disk.
    pub fn store_source(&self, target: TargetId) -> Result<Option<StoreSource>, HoldTrouble> {
        let record = self.record(target)?;
        if record.mechanism != Mechanism::ObjectLock {
            return Ok(None);
        }
        if record.phase != Phase::Raised {
            return Err(HoldTrouble::UnknownTarget);
        }
        let (client, name) = self.objects.open(&path_of(&record))?;
        Ok(Some(StoreSource {
            client: Arc::new(client),
            name,
            list: list_of(&self.store, target),
            digest: record.origins,
            single: record.single,
        }))
    }
}

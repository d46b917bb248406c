//! Looking: what raising would do, and what is held, without touching anything.

use std::{
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use custody::{
    house::{finding::FindingKind, mechanism::Mechanism, regime::Holding},
    id::TargetId,
};

use super::Keeper;
use crate::enforce::{
    after::{self, After},
    choose::{because, choose},
    facts,
    found::Found,
    job::{bytes_path, path_of},
    mechanism, mounts,
    plan::Plan,
    record::{Phase, Record},
    site::Site,
    survey,
    sweep::Progress,
    trouble::HoldTrouble,
};

/// What somebody who watches over a hold has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Which.
    pub target: TargetId,
    /// The target itself.
    pub path: PathBuf,
    /// What keeps it.
    pub mechanism: Mechanism,
    /// The root that it lies in.
    pub root: PathBuf,
    /// Where its copy or snapshot lies; none for a flag in place.
    pub vault_tree: Option<PathBuf>,
}

impl Keeper {
    /// Says what raising a hold would do: nothing is changed, and the target is not walked.
    pub fn plan(&self, path: &Path, holding: Holding) -> Result<Plan, HoldTrouble> {
        let progress = Progress::default();
        if self.objects.find(path).is_some() {
            return self.plan_objects(path, false, &progress);
        }
        let job = self.job(TargetId::from_random([0; 16]), path, &progress)?;
        job.site.target()?;
        let facts = facts::of(&job.site, job.zfs);
        let chosen = choose(&facts, holding, None)?;
        let first = *chosen.first().ok_or(HoldTrouble::NotFound)?;
        let mut plan = mechanism::of(first)?.plan(&job)?;
        plan.because = because(&facts, holding, first);
        Ok(plan)
    }

    /// The same with the target counted, which walks it.
    pub fn plan_counted(
        &self,
        path: &Path,
        holding: Holding,
        progress: &Progress,
    ) -> Result<Plan, HoldTrouble> {
        if self.objects.find(path).is_some() {
            return self.plan_objects(path, true, progress);
        }
        let plan = self.plan(path, holding)?;
        let job = self.job(TargetId::from_random([0; 16]), path, progress)?;
        let found = survey::survey(job.walk(None)?, job.threads, progress, |_, _| true)?;
        Ok(plan.counted(found.files, found.bytes))
    }

    /// Whether anything is held in a root.
    pub(super) fn holds_in(&self, root: &Path) -> bool {
        self.records().values().any(|record| {
            let lies_in = Site::root_of(&self.roots, &path_of(record));
            let stands = !matches!(record.phase, Phase::Planned | Phase::Lowered);
            stands && lies_in.is_some_and(|lies_in| lies_in.path == root)
        })
    }

    /// Where something is mounted below a target or in what is kept of it.
    pub(super) fn mounts_of(&self, record: &Record) -> Vec<Vec<u8>> {
        let path = path_of(record);
        let mut all = mounts::below(&path);
        if let Some(root) = Site::root_of(&self.roots, &path) {
            all.extend(mounts::below(&root.vault.join(record.target.to_string())));
        }
        let bytes = all
            .into_iter()
            .map(|point| point.into_os_string().into_vec());
        bytes.collect()
    }

    /// What was mounted over parts of a target, or of what is kept of it, since it was raised.
    pub(super) fn over(&self, record: &Record) -> Vec<PathBuf> {
        let now = self.mounts_of(record).into_iter();
        let new = now.filter(|point| !record.mounts.contains(point));
        new.map(|point| bytes_path(&point)).collect()
    }

    /// Looks for what is not as it was: first whether what is held can be seen at all.
    pub(super) fn look(
        &self,
        record: &Record,
        progress: &Progress,
    ) -> Result<Vec<Found>, HoldTrouble> {
        let path = path_of(record);
        let root = Site::root_of(&self.roots, &path).ok_or(HoldTrouble::OutsideRoots)?;
        if let Some(found) = self.homes.became(&root.path) {
            return Ok(vec![found]);
        }
        let in_place = record.mechanism == Mechanism::ImmutableFlag;
        let mut all = Vec::new();
        let table = mounts::table();
        let hides = |held: &Path| {
            let mount =
                mounts::of(&table, held).filter(|mount| mount.point.starts_with(&root.path));
            mount.map(|mount| mount.point.clone()).filter(|point| {
                *point != root.path
                    && !record
                        .mounts
                        .iter()
                        .any(|known| bytes_path(known) == *point)
            })
        };
        // What is mounted on the way to it, or on it, hides all of it.
        if let Some(point) = hides(&path) {
            all.push(Found::at(FindingKind::MountedOver, &point));
            if in_place {
                return Ok(all);
            }
        }
        let inside = !in_place && root.vault.starts_with(&root.path);
        if let Some(point) = hides(&root.vault).filter(|_| inside) {
            all.push(Found::at(FindingKind::MountedOver, &point));
            return Ok(all);
        }
        let mut job = self.job(record.target, &path, progress)?;
        job.over = self.over(record);
        for point in &job.over {
            let found = Found::at(FindingKind::MountedOver, point);
            if !all.contains(&found) {
                all.push(found);
            }
        }
        if let Ok(Some(vault)) = job.site.vault()
            && self.owner.is_another(&vault)
        {
            all.push(Found::at(FindingKind::SecondAgent, &root.vault));
        }
        match mechanism::of(record.mechanism)?.check(&job, record) {
            // It cannot be seen for what lies over it, which was said.
            Err(HoldTrouble::OtherFileSystem) if !all.is_empty() => {}
            found => all.extend(found?),
        }
        Ok(all)
    }

    /// What came after the moment that is held.
    pub fn after(&self, target: TargetId, progress: &Progress) -> Result<After, HoldTrouble> {
        let record = self.record(target)?;
        if record.mechanism == Mechanism::ObjectLock {
            return self.after_objects(&record, progress);
        }
        let job = self.job(target, &path_of(&record), progress)?;
        after::after(&job, &record)
    }

    /// All that is held now, for whoever watches over it. Cheap: it looks at records alone.
    pub fn watched(&self) -> Vec<Watched> {
        let held = self.all();
        let held = held.iter().filter(|record| record.phase == Phase::Raised);
        held.filter_map(|record| {
            let path = path_of(record);
            let root = Site::root_of(&self.roots, &path)?;
            let no_vault = matches!(
                record.mechanism,
                Mechanism::ImmutableFlag | Mechanism::ZfsSnapshot
            );
            Some(Watched {
                target: record.target,
                mechanism: record.mechanism,
                root: root.path.clone(),
                vault_tree: (!no_vault).then(|| root.vault.join(record.target.to_string())),
                path,
            })
        })
        .collect()
    }
}

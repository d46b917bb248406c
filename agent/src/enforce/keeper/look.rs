//! Looking: what raising would do, and what is held, without touching anything.

use std::path::{Path, PathBuf};

use custody::{
    house::{mechanism::Mechanism, regime::Holding},
    id::TargetId,
};

use super::Keeper;
use crate::enforce::{
    choose::{because, choose},
    facts,
    job::path_of,
    mechanism,
    plan::Plan,
    record::Phase,
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
        let facts = facts::of(&job.site)?;
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

    /// All that is held now, for whoever watches over it. Cheap: it looks at records alone.
    pub fn watched(&self) -> Vec<Watched> {
        let held = self.all();
        let held = held.iter().filter(|record| record.phase == Phase::Raised);
        held.filter_map(|record| {
            let path = path_of(record);
            let root = Site::root_of(&self.roots, &path)?;
            let in_place = record.mechanism == Mechanism::ImmutableFlag;
            Some(Watched {
                target: record.target,
                mechanism: record.mechanism,
                root: root.path.clone(),
                vault_tree: (!in_place).then(|| root.vault.join(record.target.to_string())),
                path,
            })
        })
        .collect()
    }
}

//! Narrowing in place: the flags of what leaves come off, save where another reason holds it or
//! the same file has a name that stays.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use custody::manifest::row::Kind;

use crate::enforce::{
    inodes::{Inode, Inodes},
    job::{Job, bytes_path},
    narrow::at,
    record::{Lowered, Record},
    survey,
    sweep::{As, sweep},
    trouble::HoldTrouble,
};

pub(super) fn narrow(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    let linked = Inodes::read(&job.file("linked"))?;
    let staying = Mutex::new(HashSet::new());
    if !linked.0.is_empty() {
        sweep(job.walk(None)?, job.threads, As::Ourselves, |step| {
            job.progress.step()?;
            if step.kind == Kind::File
                && let Ok(stat) = survey::look(step)
                && linked.0.contains(&Inode::of(&stat))
            {
                let mut staying = staying.lock().unwrap_or_else(PoisonError::into_inner);
                staying.insert(Inode::of(&stat));
            }
            Ok(())
        })?;
    }
    let staying = staying.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut all = Lowered::default();
    let leaving = record.narrowed.clone().unwrap_or_default().0;
    for left in &leaving {
        let leaving = at(job, job.site.relative.join(bytes_path(left)))?;
        match super::free(&leaving, &staying) {
            Ok(lowered) => {
                all.freed += lowered.freed;
                all.kept += lowered.kept;
            }
            // It went before it was held, or never was.
            Err(HoldTrouble::NotFound) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Inodes(staying).write(&job.file("linked"))?;
    let found = survey::survey(job.walk(None)?, job.threads, job.progress, |_, _| true)?;
    record.things = found.things;
    if let Some(raised) = &mut record.raised {
        (raised.files, raised.folders) = (found.files, found.folders);
        raised.bytes = found.size;
    }
    Ok(all)
}

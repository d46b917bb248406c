//! Raising in place: the survey on disk first, then every flag, then a flush, then the record.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::manifest::row::Kind;
use rustix::{
    fs::{FileType, fstat, syncfs},
    io::Errno,
};

use super::limits;
use crate::{
    capture::walk::{OnEnter, Step, Trouble, kind_of},
    enforce::{
        flag,
        inodes::{Inode, Inodes},
        keeper::{self, Job},
        moved,
        record::{Means, Phase, Raised, Record},
        survey::{self, Survey},
        sweep::{As, sweep},
        trouble::{HoldTrouble, while_doing},
    },
};

/// The word that says no flag can be set here.
const NO_FLAG: HoldTrouble = HoldTrouble::NotSupported(
    "the immutable flag cannot be set here. Run the agent with CAP_LINUX_IMMUTABLE on ext4, XFS or btrfs",
);

/// What one raising pass shares among its hands.
struct Pass {
    /// Whether nothing of ours could stand when it began, so that a flag found is another's.
    fresh: bool,
    theirs: Mutex<Inodes>,
    linked: Mutex<Inodes>,
    /// Folders that were flagged already when they were entered, by device and inode.
    flagged: Arc<Mutex<HashSet<(u64, u64)>>>,
    files: AtomicU64,
    folders: AtomicU64,
    bytes: AtomicU64,
    things: AtomicU64,
    unprotected: AtomicU64,
}

/// Makes the durable list of what others had flagged, before the first flag of ours.
pub fn plan(job: &Job<'_>, record: &mut Record) -> Result<Survey, HoldTrouble> {
    let cover = job.cover(Record::flags_may_be_found)?;
    let walk = job.walk(None)?;
    let found = survey::survey(walk, job.threads, job.progress, |step, inode| {
        cover.covers(&step.path, inode) && !cover.theirs.0.contains(&inode)
    })?;
    found.theirs.write(&job.file("theirs"))?;
    found.linked.write(&job.file("linked"))?;
    job.progress.step()?;
    record.inode = moved::inode(job)?.map(|Inode(subvolume, number)| (subvolume, number));
    record.phase = Phase::Raising;
    record.raised = Some(Raised {
        mechanism: Means::ImmutableFlag.word().to_owned(),
        file_system: job.site.file_system.clone(),
        does_not_prevent: limits(&found, &job.site.file_system),
        files: 0,
        folders: 0,
        bytes: 0,
    });
    job.store.put(record)?;
    Ok(found)
}

/// Sets every flag that is not set, and says what is held.
pub(super) fn raise(job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
    let fresh = record.phase == Phase::Planned;
    if fresh {
        plan(job, record)?;
    } else if record.phase != Phase::Raising {
        record.phase = Phase::Raising;
        job.store.put(record)?;
    }
    let pass = Pass {
        fresh,
        theirs: Mutex::new(Inodes::read(&job.file("theirs"))?),
        linked: Mutex::new(Inodes::read(&job.file("linked"))?),
        flagged: Arc::default(),
        files: AtomicU64::new(0),
        folders: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        things: AtomicU64::new(0),
        unprotected: AtomicU64::new(0),
    };
    let cover = job.cover(Record::flags_may_be_found)?;
    let walk = match job.walk(Some(flag_first(Arc::clone(&pass.flagged)))) {
        Err(HoldTrouble::Io { source, .. })
            if Errno::from_io_error(&source).is_some_and(flag::is_no_flag_here) =>
        {
            return Err(NO_FLAG);
        }
        walk => walk?,
    };
    sweep(walk, job.threads, As::Ourselves, |step| {
        if step.trouble == Some(Trouble::Excluded) {
            return Ok(());
        }
        pass.things.fetch_add(1, Ordering::Relaxed);
        if step.kind == Kind::Mount {
            return Ok(());
        }
        job.progress.step()?;
        let ours = |inode| cover.covers(&step.path, inode);
        match (step.kind, step.trouble) {
            (Kind::File, None) => match flag_file(job, &pass, step, &ours) {
                Err(HoldTrouble::NotSupported(_)) if !record.single => pass.unprotected(),
                flagged => return flagged,
            },
            (Kind::Folder, None) => return count_folder(job, &pass, step, &ours),
            (_, Some(_)) => pass.unprotected(),
            (_, None) => {}
        }
        Ok(())
    })?;
    syncfs(&job.site.root).map_err(while_doing("the flags cannot be flushed"))?;
    job.progress.step()?;
    let mut raised = record.raised.clone().ok_or(HoldTrouble::UnknownTarget)?;
    raised.files = pass.files.into_inner();
    raised.folders = pass.folders.into_inner();
    raised.bytes = pass.bytes.into_inner();
    record.things = pass.things.into_inner();
    record.unprotected = pass.unprotected.into_inner();
    record.since_ns = keeper::now_ns();
    record.phase = Phase::Raised;
    record.raised = Some(raised.clone());
    job.store.put(record)?;
    if record.unprotected > 0 {
        let line = format!("{} things could not be protected", record.unprotected);
        raised.does_not_prevent.push(line);
    }
    Ok(raised)
}

impl Pass {
    fn unprotected(&self) {
        self.unprotected.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a flag that was there before ours, should it have come after the survey.
    fn note_flag(
        &self,
        job: &Job<'_>,
        inode: Inode,
        ours: &impl Fn(Inode) -> bool,
    ) -> Result<(), HoldTrouble> {
        if !self.fresh || ours(inode) {
            return Ok(());
        }
        let linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        // Another of its names was flagged a moment ago, by us.
        if linked.0.contains(&inode) {
            return Ok(());
        }
        drop(linked);
        let mut theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        if theirs.0.insert(inode) {
            theirs.write(&job.file("theirs"))?;
        }
        Ok(())
    }
}

/// Flags a folder as soon as it is open, and remembers which ones were flagged.
fn flag_first(flagged: Arc<Mutex<HashSet<(u64, u64)>>>) -> OnEnter {
    Box::new(move |folder: &OwnedFd| {
        if !flag::set(folder, true)? {
            let stat = fstat(folder)?;
            let mut flagged = flagged.lock().unwrap_or_else(PoisonError::into_inner);
            flagged.insert((stat.st_dev, stat.st_ino));
        }
        Ok(())
    })
}

fn count_folder(
    job: &Job<'_>,
    pass: &Pass,
    step: &Step,
    ours: &impl Fn(Inode) -> bool,
) -> Result<(), HoldTrouble> {
    pass.folders.fetch_add(1, Ordering::Relaxed);
    let Some(before) = &step.stat else {
        return Ok(());
    };
    let flagged = pass.flagged.lock().unwrap_or_else(PoisonError::into_inner);
    let was_flagged = flagged.contains(&(before.st_dev, before.st_ino));
    drop(flagged);
    if was_flagged && pass.fresh {
        let stat = survey::look(step).map_err(while_doing("a folder cannot be looked at"))?;
        pass.note_flag(job, Inode::of(&stat), ours)?;
    }
    Ok(())
}

fn flag_file(
    job: &Job<'_>,
    pass: &Pass,
    step: &Step,
    ours: &impl Fn(Inode) -> bool,
) -> Result<(), HoldTrouble> {
    let unprotected = |errno: Errno| match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS => while_doing("a flag cannot be set")(errno),
        _ => NO_FLAG,
    };
    let fd = flag::open(&step.place).map_err(unprotected)?;
    let stat = flag::look_at(&fd).map_err(unprotected)?;
    if kind_of(FileType::from_raw_mode(stat.stx_mode.into())) != Kind::File {
        return Err(NO_FLAG);
    }
    let inode = Inode::of(&stat);
    if flag::is_flagged(&stat) {
        pass.note_flag(job, inode, ours)?;
    } else {
        if stat.stx_nlink > 1 {
            let mut linked = pass.linked.lock().unwrap_or_else(PoisonError::into_inner);
            if linked.0.insert(inode) {
                linked.write(&job.file("linked"))?;
            }
        }
        flag::set(&fd, true).map_err(unprotected)?;
    }
    pass.files.fetch_add(1, Ordering::Relaxed);
    pass.bytes.fetch_add(stat.stx_size, Ordering::Relaxed);
    Ok(())
}

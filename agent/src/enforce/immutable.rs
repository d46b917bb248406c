//! The immutable flag in place: a frozen target can be changed by nobody who does not first take
//! the flag off, root included.
//!
//! Order: survey and list what others had flagged (on disk), then flags, then flush, then the
//! record says raised. A folder is flagged before it is listed, so nothing can be added behind
//! the walk. A flag comes off only where no other target covers the thing and nobody else had
//! set it before. It never touches another flag, and never opens a device, pipe or socket.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::{house::finding::FindingKind, manifest::row::Kind};
use rustix::{
    fs::{fstat, syncfs},
    io::Errno,
};

use super::{
    attempt::Tally,
    flag,
    inodes::{Inode, Inodes},
    keeper::Job,
    lease::{self, Writers},
    record::{Found, Lowered, Means, Phase, Proof, Raised, Record},
    site,
    survey::{self, Survey},
    sweep::{As, sweep},
    trouble::{HoldTrouble, while_doing},
};
use crate::capture::walk::{OnEnter, Step, Trouble};

/// On how many files, spread evenly, the attempts are made; the flag and the writers are looked
/// at on every one, and every folder is tried.
pub const TRIED: u64 = 2_000;
/// How long a proof waits for writers to go.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// Files with writers that are waited for at most; the others are counted at once.
const WAITED_FOR: usize = 64;

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
    record.inode = super::moved::inode(job)?.map(|Inode(subvolume, number)| (subvolume, number));
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
pub fn raise(job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
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
    record.since_ns = super::keeper::now_ns();
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
    if crate::capture::walk::kind_of(rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()))
        != Kind::File
    {
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

/// Tries to change what is held and looks for writers on every file.
pub fn prove(job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
    let files = record.raised.as_ref().map_or(0, |raised| raised.files);
    let apart = files.div_ceil(TRIED).max(1);
    let (tally, next, uncounted) = (Tally::default(), AtomicU64::new(0), AtomicU64::new(0));
    let busy: Mutex<Vec<OwnedFd>> = Mutex::default();
    if let Some(place) = job.own_name()? {
        let kind = if record.single {
            Kind::File
        } else {
            Kind::Folder
        };
        super::attempt::to_rename(&place, &tally);
        super::attempt::to_unlink(&place, kind, &tally);
    }
    sweep(job.walk(None)?, job.threads, As::Ourselves, |step| {
        match (step.trouble, step.kind) {
            (Some(Trouble::Excluded), _) | (None, Kind::Mount) => return Ok(()),
            (Some(_), _) => {
                tally.count(false);
                return Ok(());
            }
            _ => {}
        }
        job.progress.step()?;
        if let Some(folder) = &step.folder {
            tally.count(flag::is_set(folder).unwrap_or(false));
            super::attempt::on(step, &tally);
            return Ok(());
        }
        if next.fetch_add(1, Ordering::Relaxed).is_multiple_of(apart) {
            super::attempt::on(step, &tally);
        }
        if step.kind == Kind::File {
            let Ok(file) = flag::open(&step.place) else {
                tally.count(false);
                return Ok(());
            };
            tally.count(flag::is_set(&file).unwrap_or(false));
            if lease::writers(&file) != Writers::None {
                let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                if busy.len() < WAITED_FOR {
                    busy.push(file);
                } else {
                    uncounted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    })?;
    let mut busy = busy.into_inner().unwrap_or_else(PoisonError::into_inner);
    let patient_until = std::time::Instant::now() + PATIENCE;
    loop {
        busy.retain(|file| lease::writers(file) != Writers::None);
        if busy.is_empty() || std::time::Instant::now() >= patient_until {
            break;
        }
        job.progress.step()?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (attempts, refused) = tally.totals();
    Ok(Proof {
        attempts,
        refused,
        writers: busy.len() as u64 + uncounted.into_inner(),
    })
}

/// Looks for what is not as it was when the hold was raised.
pub fn check(job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
    let [things, gone, changed] = [const { AtomicU64::new(0) }; 3];
    let walk = match job.walk(None) {
        Err(HoldTrouble::NotFound) => return Ok(vanished(record.things)),
        walk => walk?,
    };
    sweep(walk, job.threads, As::Ourselves, |step| {
        if step.trouble == Some(Trouble::Excluded) {
            return Ok(());
        }
        job.progress.step()?;
        things.fetch_add(1, Ordering::Relaxed);
        if matches!(step.kind, Kind::File | Kind::Folder)
            && step.trouble.is_none()
            && let Ok(stat) = survey::look(step)
        {
            if !flag::is_flagged(&stat) {
                gone.fetch_add(1, Ordering::Relaxed);
            } else if flag::changed_ns(&stat) > record.since_ns {
                // It was open for change in between, or changed through an old descriptor.
                changed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    let things = things.into_inner();
    Ok(findings(
        gone.into_inner(),
        changed.into_inner() + record.things.saturating_sub(things),
        things.saturating_sub(record.things),
    ))
}

/// What a target of so many things gives when it is not there at all.
pub fn vanished(things: u64) -> Vec<Found> {
    findings(0, things.max(1), 0)
}

/// The findings of these counts.
pub fn findings(gone: u64, changed: u64, appeared: u64) -> Vec<Found> {
    let all = [
        (FindingKind::ProtectionGone, gone),
        (FindingKind::HeldChanged, changed),
        (FindingKind::Appeared, appeared),
    ];
    let found = all.into_iter().filter(|(_, count)| *count > 0);
    found.map(|(what, count)| Found { what, count }).collect()
}

/// Takes off every flag that has no reason left.
pub fn lower(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    record.phase = Phase::Lowering;
    job.store.put(record)?;
    let theirs = Inodes::read(&job.file("theirs"))?;
    let cover = job.cover(Record::flags_stand)?;
    let [freed, kept] = [const { AtomicU64::new(0) }; 2];
    sweep(job.walk(None)?, job.threads, As::Ourselves, |step| {
        let fd = match (&step.folder, step.kind) {
            (Some(folder), _) => Arc::clone(folder),
            (None, Kind::File) if step.trouble.is_none() => match flag::open(&step.place) {
                Err(Errno::NOENT) => return Ok(()),
                opened => Arc::new(opened.map_err(while_doing("a held file cannot be opened"))?),
            },
            _ => return Ok(()),
        };
        job.progress.step()?;
        let doing = while_doing("a flag cannot be taken off");
        let stat = flag::look_at(&fd).map_err(&doing)?;
        let inode = Inode::of(&stat);
        let keep = flag::is_flagged(&stat)
            && (theirs.0.contains(&inode) || cover.covers(&step.path, inode));
        if !keep {
            flag::set(fd.as_fd(), false).map_err(&doing)?;
        }
        if step.kind == Kind::File {
            let count = if keep { &kept } else { &freed };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    syncfs(&job.site.root).map_err(while_doing("the flags cannot be flushed"))?;
    job.progress.step()?;
    Ok(Lowered {
        freed: freed.into_inner(),
        kept: kept.into_inner(),
    })
}

/// What the flag does not prevent on this target.
fn limits(found: &Survey, file_system: &str) -> Vec<String> {
    let mut limits = vec![
        "root can take the flag off; that is found and recorded".to_owned(),
        "a folder above the target can be renamed".to_owned(),
    ];
    let counted = [
        (
            found.symlinks,
            "symbolic links: their owner and times can be changed, their target cannot",
        ),
        (
            found.special,
            "devices, pipes and sockets: their mode, owner and times can be changed",
        ),
        (
            found.mounts,
            "mounted file systems below it: they are not held",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    if found.named_outside > 0 {
        limits.push(format!(
            "{} files have names outside the target: such a name's folder is not held",
            found.named_outside
        ));
    }
    if site::is_memory(file_system) {
        limits.push("a restart of the machine empties this file system".to_owned());
    }
    limits
}

//! Raising in place: the survey on disk first, then every flag, then a flush, then the record.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use custody::{house::mechanism::Mechanism, manifest::row::Kind};
use rustix::{
    fs::{FileType, Statx, fstat, syncfs},
    io::Errno,
};

use super::limits;
use crate::{
    capture::{
        place::Place,
        trouble::Trouble,
        walk::{OnEnter, Step, kind_of},
    },
    enforce::{
        flag,
        inodes::{Inode, Inodes},
        job::{Cover, Job},
        keeper, moved,
        record::{Phase, Raised, Record},
        survey::{self, Survey},
        sweep::{As, sweep},
        trouble::{HoldTrouble, own, while_doing},
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
    no_space: AtomicBool,
    /// Files with leases on them.
    leased: Mutex<Vec<Step>>,
}

/// Files with leases that are waited for in one pass, all at the same time; the others come next
/// time.
const WAITED_FOR: usize = 64;

/// Why a file is not flagged.
enum Unflagged {
    /// There is a lease on it.
    Leased,
    /// Another file system is mounted on it.
    Mounted,
    /// The file system has no room for it.
    NoSpace,
    /// It cannot be opened, or carries no flag.
    Impossible,
    /// The agent's own files cannot be written.
    Own(HoldTrouble),
}

impl From<HoldTrouble> for Unflagged {
    fn from(trouble: HoldTrouble) -> Self {
        Self::Own(trouble)
    }
}

impl From<Errno> for Unflagged {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Leased,
            Errno::XDEV => Self::Mounted,
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            // Also `EROFS`: a part of a tree can be read-only, such as a subvolume of btrfs.
            _ => Self::Impossible,
        }
    }
}

/// Makes the durable list of what others had flagged, before the first flag of ours.
pub fn plan(job: &Job<'_>, record: &mut Record) -> Result<Survey, HoldTrouble> {
    let cover = job.cover(Record::flags_may_be_found)?;
    let walk = job.walk(None)?;
    if let Some(inode) = walk.first().and_then(moved::inode_of) {
        record.is_now(inode);
    }
    let found = survey::survey(walk, job.threads, job.progress, |step, inode| {
        cover.covers(&step.path, inode) && !cover.theirs.0.contains(&inode)
    })?;
    found.theirs.write(&job.file("theirs"))?;
    found.linked.write(&job.file("linked"))?;
    job.progress.step()?;
    record.phase = Phase::Raising;
    record.raised = Some(Raised {
        mechanism: Mechanism::ImmutableFlag,
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
        no_space: AtomicBool::new(false),
        leased: Mutex::default(),
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
    // Something else may stand at the path than when it was raised before. What was held then is
    // not forgotten.
    if walk
        .first()
        .and_then(moved::inode_of)
        .is_some_and(|inode| record.is_now(inode))
    {
        job.store.put(record)?;
    }
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
            (Kind::File, None) => match flag_file(job, &pass, step, Place::open_file, &ours) {
                Err(Unflagged::Leased) if pass.waits_for(step) => Ok(()),
                Err(Unflagged::Impossible) if record.single => Err(NO_FLAG),
                flagged => pass.count(flagged),
            },
            (Kind::Folder, None) => count_folder(job, &pass, step, &ours),
            (_, Some(Trouble::Errno(errno))) => pass.count(Err(errno.into())),
            (_, Some(_)) => pass.count(Err(Unflagged::Impossible)),
            (_, None) => Ok(()),
        }
    })?;
    pass.flag_leased(job, &cover)?;
    syncfs(&job.site.root).map_err(while_doing("the flags cannot be flushed"))?;
    job.progress.step()?;
    if pass.no_space.into_inner() {
        // What could be flagged is, and stays so until there is room for the rest.
        return Err(HoldTrouble::NoSpace { needed: 0, free: 0 });
    }
    let mut raised = record.raised.clone().ok_or(HoldTrouble::UnknownTarget)?;
    raised.files = pass.files.into_inner();
    raised.folders = pass.folders.into_inner();
    raised.bytes = pass.bytes.into_inner();
    record.things = pass.things.into_inner();
    record.unprotected = pass.unprotected.into_inner();
    record.since_ns = keeper::now_ns();
    if record.as_of_ns == 0 {
        record.as_of_ns = record.since_ns;
    }
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
    fn count_file(&self, stat: &Statx) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(stat.stx_size, Ordering::Relaxed);
    }

    /// Counts a file that could not be flagged: one must not keep the others from being held.
    fn count(&self, flagged: Result<(), Unflagged>) -> Result<(), HoldTrouble> {
        match flagged {
            Ok(()) | Err(Unflagged::Mounted) => return Ok(()),
            Err(Unflagged::Own(trouble)) => return Err(trouble),
            Err(Unflagged::NoSpace) => self.no_space.store(true, Ordering::Relaxed),
            Err(Unflagged::Leased | Unflagged::Impossible) => {}
        }
        self.unprotected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts a file with a lease on it by until the end of the pass, if there is room.
    fn waits_for(&self, step: &Step) -> bool {
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = leased.len() < WAITED_FOR;
        if has_room {
            leased.push(step.clone());
        }
        has_room
    }

    /// Flags the files with leases on them, each in a thread that waits until its lease is gone:
    /// whoever holds many could else keep us waiting that many times.
    fn flag_leased(&self, job: &Job<'_>, cover: &Cover) -> Result<(), HoldTrouble> {
        let leased = {
            let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *leased)
        };
        let wait = |step: &Step| {
            let ours = |inode| cover.covers(&step.path, inode);
            job.progress.step()?;
            self.count(flag_file(job, self, step, Place::open_file_waiting, &ours))
        };
        std::thread::scope(|scope| {
            let mut hands = Vec::new();
            for step in &leased {
                let named = std::thread::Builder::new().name("waiter".to_owned());
                let hand = named.spawn_scoped(scope, || wait(step));
                hands.push(hand.map_err(own("a thread cannot be started"))?);
            }
            hands.into_iter().try_for_each(|hand| {
                let ended = hand.join();
                ended.unwrap_or(Err(HoldTrouble::Stopped))
            })
        })
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
        theirs.add(inode, &job.file("theirs"))?;
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
    open: impl Fn(&Place) -> Result<OwnedFd, Errno>,
    ours: &impl Fn(Inode) -> bool,
) -> Result<(), Unflagged> {
    // At first hardly any is flagged, and to look before opening is a third of the work.
    let before = match pass.fresh {
        true => None,
        false => Some(flag::look(&step.place)?),
    };
    let stat = match before {
        Some(stat) if flag::is_flagged(&stat) => stat,
        _ => {
            let fd = open(&step.place)?;
            let stat = flag::look_at(&fd)?;
            if kind_of(FileType::from_raw_mode(stat.stx_mode.into())) != Kind::File {
                return Err(Unflagged::Impossible);
            }
            if stat.stx_nlink > 1 {
                let mut linked = pass.linked.lock().unwrap_or_else(PoisonError::into_inner);
                linked.add(Inode::of(&stat), &job.file("linked"))?;
            }
            if flag::set(&fd, true)? {
                pass.count_file(&stat);
                return Ok(());
            }
            stat
        }
    };
    pass.note_flag(job, Inode::of(&stat), ours)?;
    pass.count_file(&stat);
    Ok(())
}

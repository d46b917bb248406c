//! Vaults: a sealed clone or copy of what exists now, while the living files go on.
//!
//! Layout: `VAULT/<target id>/tree/…` with the originals' names. What the originals looked like
//! stands in the origins beside the record. Files carry the flag as soon
//! as they are whole, folders once all is. Order: fill, flush, read copies again and compare,
//! origins on disk, then the seal, then the record says raised. Of the originals nothing changes,
//! not even an access time, save that of a symbolic link, which the kernel moves when it is read.

mod check;
mod limits;
mod narrow;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use custody::{house::mechanism::Mechanism, manifest::row::Kind};
use rustix::{
    fs::{Mode, fchmod, mkdirat, syncfs},
    io::Errno,
};

use super::{
    copy, facts, fill, flag,
    found::Found,
    job::{self, Job},
    mechanism,
    plan::Plan,
    record::{Lowered, Phase, Proof, Raised, Record},
    site, survey,
    sweep::{As, sweep},
    trouble::{self, HoldTrouble, while_doing},
};
use crate::{
    capture::{
        place::Place,
        seal::digest_of,
        trouble::Trouble,
        walk::{OnEnter, Step, Walk},
    },
    durable,
};

/// A sealed vault.
#[derive(Clone, Copy, Debug)]
pub struct Vault;

impl mechanism::Mechanism for Vault {
    fn plan(&self, job: &Job<'_>) -> Result<Plan, HoldTrouble> {
        let facts = facts::of(&job.site, job.zfs);
        let mechanism = match (facts.seal, facts.reflink) {
            (true, true) => Mechanism::ReflinkVault,
            (true, false) => Mechanism::SealedCopy,
            (false, _) => Mechanism::PlainCopy,
        };
        let mut limits = vec!["what is kept is a copy; the living files go on".to_owned()];
        limits.append(&mut limits::seal_limits(facts.seal, &facts.file_system));
        Ok(Plan {
            mechanism,
            file_system: facts.file_system,
            does_not_prevent: limits,
            files: None,
            bytes: None,
            needs: 0,
            free: facts.free,
            because: String::new(),
        })
    }

    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
        raise(job, record)
    }

    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
        check::prove(job, record)
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        check::check(job, record)
    }

    fn narrow(&self, job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        narrow::narrow(job, record)
    }

    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        lower(job, record)
    }
}

/// Where a target's tree, or its one file, lies below the vault.
pub fn relative(record: &Record) -> PathBuf {
    let tree = PathBuf::from(record.target.to_string()).join("tree");
    let path = job::path_of(record);
    match path.file_name() {
        Some(name) if record.single => tree.join(name),
        _ => tree,
    }
}

fn walk(vault: &OwnedFd, record: &Record, on_enter: Option<OnEnter>) -> Result<Walk, HoldTrouble> {
    let folder = PathBuf::from(record.target.to_string());
    Walk::open_with(vault.as_fd(), &folder, &[], on_enter)
        .map_err(while_doing("the vault's tree cannot be opened"))
}

/// Fills and seals, or goes on with it.
fn raise(job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble> {
    let vault = job.vault()?;
    let filled = !matches!(record.phase, Phase::Sealing | Phase::Raised);
    if filled {
        match fill(job, record, &vault) {
            Err(HoldTrouble::NoSpace { needed, .. }) => {
                // Nothing half-done stays; once there is room it begins again.
                remove(job, record, &vault)?;
                let free = copy::free(&vault).ok().flatten().unwrap_or(0);
                record.phase = Phase::Planned;
                let _ = job.store.put(record);
                return Err(HoldTrouble::NoSpace { needed, free });
            }
            filled => filled?,
        }
    }
    seal(job, record, &vault, filled)?;
    record.raised.clone().ok_or(HoldTrouble::UnknownTarget)
}

fn fill(job: &Job<'_>, record: &mut Record, vault: &OwnedFd) -> Result<(), HoldTrouble> {
    record.phase = Phase::Filling;
    record.raised = None;
    job.store.put(record)?;
    remove(job, record, vault)?;
    let clones = facts::clones(vault) && facts::same_file_system(&job.site, vault);
    if !clones {
        let found = survey::survey(job.walk(None)?, job.threads, job.progress, |_, _| true)?;
        fill::room(vault, found.bytes)?;
    }
    let making = while_doing("the vault's folder cannot be made");
    let name = record.target.to_string();
    job.door.make(vault, &name).map_err(&making)?;
    let folder = open(vault, &name).map_err(&making)?;
    mkdirat(&folder, "tree", Mode::from(0o700)).map_err(&making)?;
    let tree = open(&folder, "tree").map_err(&making)?;
    let (filled, copies) = fill::fill(job, tree, clones)?;
    syncfs(vault).map_err(while_doing("the copies cannot be flushed"))?;
    let tree = open(&folder, "tree").map_err(&making)?;
    fill::compare(job, tree, copies)?;
    let origins = digest_of(&job.file("origins"))
        .map_err(trouble::own("the hold's origins cannot be read"))?;
    record.as_of_ns = super::keeper::now_ns();
    record.origins = Some(origins.0);
    record.mechanism = if filled.cloned > 0 || (filled.copied == 0 && clones) {
        Mechanism::ReflinkVault
    } else {
        Mechanism::SealedCopy
    };
    record.raised = Some(Raised {
        mechanism: record.mechanism,
        file_system: site::file_system(vault),
        does_not_prevent: limits::limits(record, &filled),
        files: filled.cloned + filled.copied,
        folders: filled.folders,
        bytes: filled.bytes,
    });
    job.progress.step()?;
    record.phase = Phase::Sealing;
    job.store.put(record)
}

fn open(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let place = Place {
        parent: Arc::new(parent.try_clone().map_err(|_| Errno::MFILE)?),
        name: name.as_bytes().to_vec(),
    };
    place.open(rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)
}

/// Removes what there is of a target, with its seal.
fn remove(job: &Job<'_>, record: &Record, vault: &OwnedFd) -> Result<(), HoldTrouble> {
    let removed = job.door.remove(vault, &record.target.to_string());
    removed.map_err(while_doing("the vault's tree cannot be removed"))
}

/// Seals the vault. Files that were filled just now carry the flag already, where there is one: the
/// folders show whether there is.
fn seal(
    job: &Job<'_>,
    record: &mut Record,
    vault: &OwnedFd,
    filled: bool,
) -> Result<(), HoldTrouble> {
    let open_here = Arc::new(AtomicBool::new(false));
    let noting = Arc::clone(&open_here);
    let on_enter: OnEnter = Box::new(move |folder: &OwnedFd| {
        if !flag::is_set(folder).unwrap_or(false) {
            fchmod(folder, Mode::from(0o500))?;
        }
        match flag::set(folder, true) {
            Err(errno) if flag::is_no_flag_here(errno) => noting.store(true, Ordering::Relaxed),
            set => _ = set?,
        }
        Ok(())
    });
    let things = AtomicU64::new(0);
    sweep(
        walk(vault, record, Some(on_enter))?,
        job.threads,
        As::Ourselves,
        |step| {
            things.fetch_add(1, Ordering::Relaxed);
            job.progress.step()?;
            let doing = while_doing("the vault cannot be sealed");
            if let Some(trouble) = step.trouble {
                return Err(doing(match trouble {
                    Trouble::Errno(errno) => errno,
                    _ => Errno::STALE,
                }));
            }
            let sealed = |step: &Step| flag::look(&step.place).map(|stat| flag::is_flagged(&stat));
            if step.kind == Kind::File && !filled && sealed(step) != Ok(true) {
                let file = step.place.open_file().map_err(&doing)?;
                match flag::set(&file, true) {
                    Err(errno) if flag::is_no_flag_here(errno) => {
                        open_here.store(true, Ordering::Relaxed);
                    }
                    set => _ = set.map_err(&doing)?,
                }
            }
            Ok(())
        },
    )?;
    let closed = job.door.close(vault);
    let closed = closed.map_err(while_doing("the vault cannot be sealed"))?;
    record.sealed = closed && !open_here.load(Ordering::Relaxed);
    match (record.sealed, record.mechanism) {
        (false, _) => record.mechanism = Mechanism::PlainCopy,
        // It could not be sealed before, and can now.
        (true, Mechanism::PlainCopy) => record.mechanism = Mechanism::SealedCopy,
        _ => {}
    }
    if let Some(raised) = &mut record.raised {
        raised.mechanism = record.mechanism;
        let mut limits = limits::seal_limits(record.sealed, &raised.file_system);
        raised
            .does_not_prevent
            .retain(|line| !limits.contains(line));
        raised.does_not_prevent.append(&mut limits);
    }
    syncfs(vault).map_err(while_doing("the vault cannot be flushed"))?;
    durable::sync_folder(&job.file("origins"))
        .map_err(trouble::own("the hold's origins cannot be flushed"))?;
    job.progress.step()?;
    record.things = things.into_inner();
    record.since_ns = super::keeper::now_ns();
    record.phase = Phase::Raised;
    job.store.put(record)
}

/// Removes the copy: the reason for keeping it is gone.
fn lower(job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble> {
    record.phase = Phase::Lowering;
    job.store.put(record)?;
    let Some(vault) = job.site.vault()? else {
        return Ok(Lowered::default());
    };
    job.progress.step()?;
    remove(job, record, &vault)?;
    syncfs(&vault).map_err(while_doing("the vault cannot be flushed"))?;
    job.progress.step()?;
    Ok(Lowered {
        freed: record.raised.as_ref().map_or(0, |raised| raised.files),
        kept: 0,
    })
}

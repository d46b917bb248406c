//! Vaults: a sealed clone or copy of what exists now, while the living files go on.
//!
//! Layout: `VAULT/<target id>/tree/…` with the originals' names. What the originals looked like
//! stands in the origins beside the record. Order: fill, flush, read copies again and compare,
//! origins on disk, then the seal, then the record says raised. Of the originals nothing changes,
//! not even an access time, save that of a symbolic link, which the kernel moves when it is read.

mod narrow;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use custody::{
    house::{mechanism::Mechanism, regime::Holding},
    manifest::row::Kind,
};
use rustix::{
    fs::{Mode, fchmod, mkdirat, syncfs},
    io::Errno,
};

use super::{
    attempt::{self, Tally},
    copy, facts,
    fill::{self, Filled},
    flag,
    found::{self, Found, Sightings},
    job::{self, Job},
    lease::{self, Writers},
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
        walk::{OnEnter, Walk},
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
        limits.append(&mut seal_limits(facts.seal, &facts.file_system));
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
        prove(job, record)
    }

    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        check(job, record)
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
    if !matches!(record.phase, Phase::Sealing | Phase::Raised) {
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
    seal(job, record, &vault)?;
    record.raised.clone().ok_or(HoldTrouble::UnknownTarget)
}

fn fill(job: &Job<'_>, record: &mut Record, vault: &OwnedFd) -> Result<(), HoldTrouble> {
    record.phase = Phase::Filling;
    record.raised = None;
    job.store.put(record)?;
    remove(job, record, vault)?;
    let found = survey::survey(job.walk(None)?, job.threads, job.progress, |_, _| true)?;
    let clones = facts::clones(vault);
    if !(clones && facts::same_file_system(&job.site, vault)) {
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
        does_not_prevent: limits(record, &filled),
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

fn seal(job: &Job<'_>, record: &mut Record, vault: &OwnedFd) -> Result<(), HoldTrouble> {
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
            if step.kind == Kind::File {
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
        let mut limits = seal_limits(record.sealed, &raised.file_system);
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

/// Tries to change the copy: with all our rights where the flag seals it, else as somebody who
/// has none, which is all that modes can keep out.
fn prove(job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
    let vault = job.site.vault()?.ok_or(HoldTrouble::NotFound)?;
    let whom = if record.sealed {
        As::Ourselves
    } else {
        As::Nobody
    };
    let files = record.raised.as_ref().map_or(0, |raised| raised.files);
    let apart = files.div_ceil(attempt::TRIED).max(1);
    let (tally, next, busy) = (Tally::default(), AtomicU64::new(0), AtomicU64::new(0));
    sweep(walk(&vault, record, None)?, job.threads, whom, |step| {
        job.progress.step()?;
        if step.trouble.is_some() {
            tally.count(false);
        } else if step.folder.is_some()
            || next.fetch_add(1, Ordering::Relaxed).is_multiple_of(apart)
        {
            attempt::on(step, &tally);
        }
        Ok(())
    })?;
    sweep(
        walk(&vault, record, None)?,
        job.threads,
        As::Ourselves,
        |step| {
            let held = match (&step.folder, step.kind) {
                (Some(folder), _) => flag::is_set(folder),
                (None, Kind::File) => step.place.open_file().and_then(|file| {
                    busy.fetch_add(
                        u64::from(lease::writers(&file) == Writers::Left),
                        Ordering::Relaxed,
                    );
                    flag::is_set(&file)
                }),
                _ => return Ok(()),
            };
            if record.sealed {
                tally.count(held.unwrap_or(false));
            }
            Ok(())
        },
    )?;
    if record.sealed {
        let place = Place {
            parent: Arc::new(vault),
            name: record.target.to_string().into_bytes(),
        };
        attempt::to_rename(&place, &tally);
        attempt::to_unlink(&place, Kind::Folder, &tally);
    }
    let (attempts, refused) = tally.totals();
    Ok(Proof {
        attempts,
        refused,
        writers: busy.into_inner(),
    })
}

/// Looks for what is not as it was when the vault was sealed.
fn check(job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
    let base = job.site.vault_path.join(record.target.to_string());
    let Some(vault) = job.site.vault()? else {
        return Ok(found::vanished(&job.site.vault_path, record.things));
    };
    let walk = match walk(&vault, record, None) {
        Err(HoldTrouble::NotFound) => return Ok(found::vanished(&base, record.things)),
        walk => walk?,
    };
    let (things, gone, changed) = (
        AtomicU64::new(0),
        Sightings::default(),
        Sightings::default(),
    );
    sweep(walk, job.threads, As::Ourselves, |step| {
        job.progress.step()?;
        things.fetch_add(1, Ordering::Relaxed);
        if let Ok(stat) = survey::look(step) {
            let carries = matches!(step.kind, Kind::File | Kind::Folder);
            if record.sealed && carries && !flag::is_flagged(&stat) {
                gone.note(&base, &step.path);
                if flag::was_written(&stat, record.since_ns) {
                    changed.note(&base, &step.path);
                }
            } else if flag::changed_ns(&stat) > record.since_ns {
                changed.note(&base, &step.path);
            }
        }
        Ok(())
    })?;
    // Whoever owns the folder around an open vault can rename it.
    if record.sealed && !flag::is_set(&vault).unwrap_or(false) {
        gone.note(&job.site.vault_path, b".");
    }
    let origins = digest_of(&job.file("origins"))
        .map(|(digest, _)| digest)
        .ok();
    let things = things.into_inner();
    // What a mount hides is not gone.
    if job.over.is_empty() {
        changed.add(record.things.saturating_sub(things));
    }
    if origins != record.origins {
        changed.note(&job.file("origins"), b".");
    }
    let appeared = things.saturating_sub(record.things);
    Ok(found::findings(gone, changed, appeared))
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

fn limits(record: &Record, filled: &Filled) -> Vec<String> {
    let mut limits = vec![
        match record.holding {
            Holding::Freeze => "the original can be changed or deleted in place",
            Holding::Preserve => {
                "the living files can be changed or deleted; the copy is what is kept"
            }
        }
        .to_owned(),
    ];
    if filled.copied > 0 {
        limits.push(
            "files were copied one after the other; a change through a mapping made before, while              one was copied, leaves no trace"
                .to_owned(),
        );
    } else {
        limits.push("files were cloned one after the other, not all in one moment".to_owned());
    }
    let counted = [
        (
            filled.unreadable,
            "things could not be read and are not in the copy",
        ),
        (
            filled.changed,
            "files changed while they were copied; what was read is kept",
        ),
        (
            filled.symlinks,
            "symbolic links: reading one may have moved its access time",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            limits.push(format!("{count} {what}"));
        }
    }
    limits
}

fn seal_limits(sealed: bool, file_system: &str) -> Vec<String> {
    let mut limits = Vec::new();
    if sealed {
        limits.push("root can take the flag off; that is found and recorded".to_owned());
    } else {
        limits.push("root can change the copy".to_owned());
        limits.push("whoever owns the folder around the vault can rename it".to_owned());
        if !rustix::process::geteuid().is_root() {
            limits
                .push("the agent's own user can change the copy's mode, then the copy".to_owned());
        }
    }
    if site::is_memory(file_system) {
        limits.push("a restart of the machine empties this file system".to_owned());
    }
    limits
}

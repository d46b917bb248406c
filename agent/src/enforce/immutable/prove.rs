//! Proving in place: attempts on a spread of what is held, and on every file the flag read back
//! and the question whether a writer is left. Checking: what is not as it was.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use custody::manifest::row::Kind;
use rustix::io::Errno;

use crate::{
    capture::{place::Place, trouble::Trouble, walk::Step},
    enforce::{
        attempt::{self, TRIED, Tally},
        flag,
        found::{self, Found, Sightings},
        job::Job,
        lease::{self, Writers},
        record::{Proof, Record},
        survey,
        sweep::{As, sweep},
        trouble::HoldTrouble,
    },
};

/// How long a proof waits for writers to go.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// Files with writers that are waited for at most; the others are counted at once.
const WAITED_FOR: usize = 64;

/// Tries to change what is held and looks for writers on every file.
pub(super) fn prove(job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
    let files = record.raised.as_ref().map_or(0, |raised| raised.files);
    let apart = files.div_ceil(TRIED).max(1);
    let (tally, next, uncounted) = (Tally::default(), AtomicU64::new(0), AtomicU64::new(0));
    let busy: Mutex<Vec<Place>> = Mutex::default();
    // An attempt is made only where the flag is seen. Where it is missing there is nothing to
    // prove, and what a customer may have put there since would be changed by us.
    if let Some(place) = job.own_name()? {
        let held = flag::look(&place).is_ok_and(|stat| flag::is_flagged(&stat));
        if held {
            let kind = if record.single {
                Kind::File
            } else {
                Kind::Folder
            };
            attempt::to_rename(&place, &tally);
            attempt::to_unlink(&place, kind, &tally);
        } else {
            tally.count(false);
        }
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
        let held = match &step.folder {
            Some(folder) => flag::is_set(folder),
            None if step.kind == Kind::File => match flag::look(&step.place) {
                Err(Errno::XDEV) => return Ok(()),
                looked => looked.map(|stat| flag::is_flagged(&stat)),
            },
            // It carries no flag: its folder's keeps it.
            None => flag::is_set(&step.place.parent),
        };
        let held = held.unwrap_or(false);
        if step.kind == Kind::File || step.folder.is_some() {
            tally.count(held);
        }
        if !held {
            return Ok(());
        }
        if step.folder.is_some() || next.fetch_add(1, Ordering::Relaxed).is_multiple_of(apart) {
            attempt::on(step, &tally);
        }
        if step.kind == Kind::File && is_busy(&step.place) {
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.len() < WAITED_FOR {
                busy.push(step.place.clone());
            } else {
                uncounted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    let mut busy = busy.into_inner().unwrap_or_else(PoisonError::into_inner);
    let patient_until = std::time::Instant::now() + PATIENCE;
    loop {
        busy.retain(is_busy);
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

/// Whether somebody can write to a file, or may be able to: whoever has a write lease on it, too.
fn is_busy(place: &Place) -> bool {
    let asked = place.open_file().map(lease::writers);
    asked != Ok(Writers::None)
}

/// Looks for what is not as it was when the hold was raised.
pub(super) fn check(job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
    let (things, gone, changed) = (
        AtomicU64::new(0),
        Sightings::default(),
        Sightings::default(),
    );
    let walk = match job.walk(None) {
        Err(HoldTrouble::NotFound) => return Ok(found::vanished(&job.path, record.things)),
        walk => walk?,
    };
    // One file is a walk of its own name alone.
    let below = |step: &Step| match record.single {
        true => b".".to_vec(),
        false => step.path.clone(),
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
                gone.note(&job.path, &below(step));
                // Taking the flag off moves the one time, writing both.
                if flag::was_written(&stat, record.since_ns) {
                    changed.note(&job.path, &below(step));
                }
            } else if flag::changed_ns(&stat) > record.since_ns {
                // It was open for change in between, or changed through an old descriptor.
                changed.note(&job.path, &below(step));
            }
        }
        Ok(())
    })?;
    let things = things.into_inner();
    // What a mount hides is not gone.
    if job.over.is_empty() {
        changed.add(record.things.saturating_sub(things));
    }
    Ok(found::findings(
        gone,
        changed,
        things.saturating_sub(record.things),
    ))
}

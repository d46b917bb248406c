//! Proving a vault by attempts on it, and checking it against what was sealed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use custody::manifest::row::Kind;

use super::walk;
use crate::{
    capture::{place::Place, seal::digest_of},
    enforce::{
        attempt::{self, Tally},
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

/// Tries to change the copy: with all our rights where the flag seals it, else as somebody who
/// has none, which is all that modes can keep out.
pub(super) fn prove(job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
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
pub(super) fn check(job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
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

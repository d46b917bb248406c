//! Verifying a demo's folder: the log, every manifest, and every release with its parcel.
//!
//! Whatever lies in the folder may have been changed together with the log, the people's own
//! copies of its key too: without a key or checkpoint that is brought, nothing is anchored.

use std::path::{Path, PathBuf};

use custody::{
    id::SnapshotId,
    verify::report::{Findings, Level},
};
use serde::Deserialize;

use super::{Brought, Report, Trouble, files, key_beside, log, release};
use crate::parcel;

#[derive(Deserialize)]
struct Summary {
    log: PathBuf,
    vkey: PathBuf,
    #[serde(default)]
    snapshots: Vec<Shot>,
    #[serde(default)]
    releases: Vec<Release>,
}

#[derive(Deserialize)]
struct Shot {
    id: String,
    manifest: PathBuf,
    root: String,
    rows: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Release {
    id: String,
    parcel: PathBuf,
    #[serde(default)]
    identity: Option<PathBuf>,
    #[serde(default)]
    opened: Option<PathBuf>,
    receipt: PathBuf,
}

/// Verifies everything that a demo's summary lists.
pub(super) fn verify(dir: &Path, brought: &Brought) -> Result<Report, Trouble> {
    let mut report = Report::of("demo");
    let bytes = files::small(
        &dir.join("summary.json"),
        "summary.json",
        &mut report.findings,
    );
    let Some(bytes) = bytes else {
        return Ok(report);
    };
    let summary: Summary = match serde_json::from_slice(&bytes) {
        Ok(summary) => summary,
        Err(error) => {
            let what = format!("It cannot be read: {error}");
            report.findings.broken("summary", "summary.json", what);
            return Ok(report);
        }
    };
    let beside = key_beside(&dir.join(&summary.vkey), &mut report.findings);
    if let (Some(brought), Some(beside)) = (&brought.key, &beside)
        && brought != beside
    {
        let place = summary.vkey.display().to_string();
        let what = "It is not the key that was brought";
        report.findings.broken("vkey.other", place, what);
    }
    let key = brought.key.as_ref().or(beside.as_ref());
    let audited = log::run(&dir.join(&summary.log), key, brought.key.is_some(), brought);
    log::conclude(&audited, &mut report);
    report.anchor = log::anchor(&audited);
    for shot in &summary.snapshots {
        let mut findings = Findings::default();
        check_manifest(dir, shot, &audited, brought.quiet, &mut findings);
        report
            .findings
            .take(&format!("snapshot {}", shot.id), findings);
    }
    unlisted(&audited, &summary, &mut report.findings);
    let log_findings = audited.findings;
    report.findings.take("log", log_findings);
    for one in &summary.releases {
        let mut part = Report::of("release");
        let (receipt, parcel) = (dir.join(&one.receipt), dir.join(&one.parcel));
        release::pair(&receipt, &parcel, key, brought.quiet, &mut part);
        if part.facts.get("release").and_then(|id| id.as_str()) != Some(one.id.as_str()) {
            let what = "The receipt is of another release than the summary says";
            part.findings.broken("summary", "receipt", what);
        }
        check_opened(dir, one, &parcel, &mut part.findings);
        report
            .findings
            .take(&format!("release {}", one.id), part.findings);
    }
    report.fact("manifests_verified", summary.snapshots.len());
    report.fact("parcels_verified", summary.releases.len());
    Ok(report)
}

fn check_manifest(
    dir: &Path,
    shot: &Shot,
    audited: &custody::verify::log::Audited,
    quiet: bool,
    findings: &mut Findings,
) {
    let place = shot.manifest.display().to_string();
    let snapshots = &audited.entries.house().snapshots;
    let sealed = shot
        .id
        .parse::<SnapshotId>()
        .ok()
        .and_then(|id| snapshots.get(&id)?.sealed.as_ref());
    let Some(sealed) = sealed else {
        let what = "The log holds no statement that sealed it";
        return findings.broken("manifest.not-sealed", place, what);
    };
    let said = (shot.root.as_str(), shot.rows, shot.bytes);
    if said != (sealed.root.to_string().as_str(), sealed.rows, sealed.bytes) {
        let what = "Its root, rows or bytes are others than the log's statement sealed";
        findings.broken("summary", "summary.json", what);
    }
    files::manifest(
        &dir.join(&shot.manifest),
        &place,
        sealed,
        None,
        quiet,
        findings,
    );
}

/// Sealed snapshots and releases of the log that the summary does not list were not verified.
fn unlisted(audited: &custody::verify::log::Audited, summary: &Summary, findings: &mut Findings) {
    let house = audited.entries.house();
    for (id, shot) in &house.snapshots {
        let id = id.to_string();
        if shot.sealed.is_some() && !summary.snapshots.iter().any(|s| s.id == id) {
            let what = "The log has it and the summary does not list it: its manifest was not \
                        verified";
            findings.add(
                Level::Note,
                "snapshot.unlisted",
                format!("snapshot {id}"),
                what,
            );
        }
    }
    for (id, release) in &house.releases {
        let id = id.to_string();
        if release.packed.is_some() && !summary.releases.iter().any(|r| r.id == id) {
            let what = "The log has it and the summary does not list it: its parcel was not \
                        verified";
            findings.add(
                Level::Note,
                "release.unlisted",
                format!("release {id}"),
                what,
            );
        }
    }
}

/// With the owner's key, which only a demo has at hand: the opened files against the rows.
fn check_opened(dir: &Path, one: &Release, parcel: &Path, findings: &mut Findings) {
    let (Some(identity), Some(opened)) = (&one.identity, &one.opened) else {
        return;
    };
    let (identity, opened) = (dir.join(identity), dir.join(opened));
    if !identity.exists() || !opened.exists() {
        let what = "The owner's key or the opened folder is not here; the files were not compared";
        return findings.add(Level::Note, "opened.absent", "opened", what);
    }
    match parcel::compare(parcel, &identity, &opened) {
        Ok(found) => {
            for wrong in found.wrong {
                findings.broken("opened.differs", "opened", wrong);
            }
        }
        Err(parcel::OpenError::World(why) | parcel::OpenError::Usage(why)) => {
            findings.broken("opened.missing", "opened", why);
        }
        Err(parcel::OpenError::DoesNotVerify(why)) => {
            findings.broken("parcel.damaged", "parcel", why);
        }
    }
}

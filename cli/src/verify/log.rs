//! Verifying a log folder.

use std::path::Path;

use custody::{
    ledger::note::VerifierKey,
    verify::log::{Anchor, Asked, Audited, audit},
};

use super::{Brought, Report, Trouble, files, folder::Folder, key_beside};

/// Verifies a log folder. The key beside it is used where none was brought, and anchors nothing.
pub(super) fn verify(path: &Path, brought: &Brought) -> Result<Report, Trouble> {
    let mut report = Report::of("log");
    let beside = match brought.key {
        Some(_) => None,
        None => [path.join("log.vkey"), path.join("../log.vkey")]
            .iter()
            .find_map(|place| key_beside(place, &mut report.findings)),
    };
    let key = brought.key.as_ref().or(beside.as_ref());
    let audited = run(path, key, brought.key.is_some(), brought);
    conclude(&audited, &mut report);
    report.anchor = anchor(&audited);
    report.findings.take("", audited.findings);
    Ok(report)
}

/// Audits a log folder on all cores, with progress.
pub(super) fn run(
    path: &Path,
    key: Option<&VerifierKey>,
    key_is_from_outside: bool,
    brought: &Brought,
) -> Audited {
    let asked = Asked {
        key,
        key_is_from_outside,
        older: brought.older.as_deref(),
        policy: brought.policy.as_ref(),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let bar = files::bar(brought.quiet, "verifying entries", 0);
    let audited = audit(&Folder(path.to_owned()), asked, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    audited
}

/// What the verdict on a log rests on.
pub(super) fn anchor(audited: &Audited) -> Option<String> {
    match audited.anchor.as_ref()? {
        Anchor::Key => Some("the log's key, brought from outside".to_owned()),
        Anchor::Checkpoint(size) => Some(format!(
            "an older checkpoint of {size} entries, brought from outside and signed by the key \
             that lies with the log"
        )),
    }
}

/// The facts about a log.
pub(super) fn conclude(audited: &Audited, report: &mut Report) {
    if let Some(checkpoint) = &audited.checkpoint {
        report.fact("origin", checkpoint.origin.clone());
        report.fact("size", checkpoint.size);
        report.fact("root", checkpoint.root.to_string());
    }
    let house = audited.entries.house();
    report.fact("entries", audited.entries.entries());
    report.fact("people", house.persons.len());
    report.fact("agents", house.agents.len());
    report.fact("orders", house.orders.len());
    report.fact("holds", house.holds.len());
    report.fact("snapshots", house.snapshots.len());
    report.fact("releases", house.releases.len());
    report.fact("recorded_findings", house.findings.len());
}

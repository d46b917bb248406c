//! Verifying a snapshot export.

use std::path::Path;

use custody::{
    manifest::leaf::SnapshotKey,
    verify::{
        report::{Findings, Level},
        snapshot::{self, Card},
    },
};

use super::{Brought, Report, Trouble, files, key_beside};

/// Verifies a snapshot export: the sealed statement, its place in the log, and the manifest.
pub(super) fn verify(path: &Path, brought: &Brought) -> Result<Report, Trouble> {
    let mut report = Report::of("snapshot");
    let findings = &mut report.findings;
    let beside = key_beside(&path.join("log.vkey"), findings);
    let key = brought.key.as_ref().or(beside.as_ref());
    let read = |name: &str, findings: &mut Findings| files::small(&path.join(name), name, findings);
    let card = read("snapshot.json", findings).and_then(|bytes| {
        serde_json::from_slice::<Card>(&bytes)
            .map_err(|error| {
                let what = format!("It cannot be read: {error}");
                findings.broken("card", "snapshot.json", what);
            })
            .ok()
    });
    let entry = read("sealed.entry", findings);
    let proof = read("sealed.tlog-proof", findings).and_then(|b| String::from_utf8(b).ok());
    let (Some(card), Some(entry)) = (card, entry) else {
        return Ok(report);
    };
    let Some((sealed, checkpoint)) =
        snapshot::sealed(&card, &entry, proof.as_deref(), key, findings)
    else {
        return Ok(report);
    };
    let salt = salt_key(path, findings);
    let manifest = path.join("manifest.parquet");
    let recomputed = files::manifest(
        &manifest,
        "manifest.parquet",
        &sealed,
        salt.as_ref(),
        brought.quiet,
        findings,
    );
    if salt.is_none() {
        let what = "Without the salt key the leaves were checked against the root, not each \
                    row's fields against its leaf; the file's SHA-256 covers them";
        findings.add(Level::Note, "manifest.no-key", "manifest.parquet", what);
    }
    report.fact("snapshot", card.snapshot.to_string());
    report.fact("agent", card.agent.to_string());
    report.fact("root", sealed.root.to_string());
    report.fact("rows", sealed.rows);
    report.fact("bytes", sealed.bytes);
    report.fact("unreadable", sealed.unreadable);
    report.fact("rows_recomputed", recomputed);
    if let Some(checkpoint) = checkpoint {
        report.fact("log", checkpoint.origin);
        report.fact("log_size", checkpoint.size);
    }
    report.anchor = brought
        .key
        .as_ref()
        .map(|_| "the log's key, brought from outside".to_owned());
    Ok(report)
}

fn salt_key(path: &Path, findings: &mut Findings) -> Option<SnapshotKey> {
    let file = path.join("salt-key");
    if !file.exists() {
        return None;
    }
    let text = files::small(&file, "salt-key", findings)?;
    let bytes = hex::decode(String::from_utf8_lossy(&text).trim()).ok();
    match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(bytes) => Some(SnapshotKey::from_random(bytes)),
        None => {
            findings.broken("salt-key", "salt-key", "It is not 32 bytes in hex");
            None
        }
    }
}

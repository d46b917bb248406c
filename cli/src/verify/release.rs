//! Verifying a release: a receipt alone, or with its parcel; and single entries with proofs.

use std::path::{Path, PathBuf};

use custody::{
    ledger::note::VerifierKey,
    verify::{
        receipt::{Receipt, Shown, prove},
        report::{Findings, Level},
    },
};

use super::{Brought, Report, Trouble, files, key_beside};

/// Verifies a receipt's file.
pub(super) fn receipt_file(path: &Path, brought: &Brought) -> Result<Report, Trouble> {
    let mut report = Report::of("receipt");
    let Some(bytes) = files::small(path, "receipt", &mut report.findings) else {
        return Ok(report);
    };
    let looks = String::from_utf8_lossy(&bytes).contains("holdfast-receipt/");
    if !looks && path.extension().is_none_or(|end| end != "json") {
        return Err(Trouble::Usage(format!(
            "{} is no receipt. Name a receipt's file, or a folder that can be verified.",
            path.display()
        )));
    }
    if let Some(shown) = receipt(&bytes, brought.key.as_ref(), &mut report) {
        report.findings.take("", shown.findings);
        let what = "The parcel was not looked at; name the folder that holds both";
        report
            .findings
            .add(Level::Note, "parcel.not-given", "receipt", what);
    }
    report.anchor = anchor(brought);
    Ok(report)
}

fn anchor(brought: &Brought) -> Option<String> {
    let key = brought.key.as_ref()?;
    Some(format!(
        "the log's key ({}), brought from outside",
        key.name()
    ))
}

/// Verifies a receipt and notes its facts; its findings stay with what is shown.
fn receipt(bytes: &[u8], key: Option<&VerifierKey>, report: &mut Report) -> Option<Shown> {
    let receipt = match Receipt::parse(bytes) {
        Ok(receipt) => receipt,
        Err(why) => {
            let what = format!("It is no receipt that can be read: {why}");
            report.findings.broken("receipt.malformed", "receipt", what);
            return None;
        }
    };
    let shown = receipt.verify(key);
    report.fact("release", receipt.release.to_string());
    report.fact("log", receipt.origin);
    report.fact(
        "approvals",
        format!("{} of {} demanded", shown.approvals, shown.demanded),
    );
    report.fact("deliveries", shown.deliveries);
    if let Some(parcel) = &shown.parcel {
        report.fact("parcel", parcel.digest.to_string());
        report.fact("parcel_bytes", parcel.bytes);
        report.fact("files", parcel.files);
    }
    if let Some(recipient) = &shown.recipient {
        report.fact("encrypted_to", recipient.clone());
    }
    Some(shown)
}

/// Verifies a receipt and the parcel beside it.
pub(super) fn pair(
    receipt_path: &Path,
    parcel: &Path,
    key: Option<&VerifierKey>,
    quiet: bool,
    report: &mut Report,
) {
    let Some(bytes) = files::small(receipt_path, "receipt", &mut report.findings) else {
        return;
    };
    let Some(mut shown) = receipt(&bytes, key, report) else {
        return;
    };
    let place = name(parcel);
    if let Some((_, digest, bytes)) = files::hashed(parcel, &place, quiet, &mut shown.findings)
        && shown
            .parcel
            .is_none_or(|said| (said.digest, said.bytes) != (digest, bytes))
    {
        let what = format!(
            "It is not the parcel that was packed: SHA-256 {digest}, {bytes} bytes. Fetch it again"
        );
        shown.findings.broken("parcel.digest", &place, what);
    }
    report.findings.take("", shown.findings);
}

/// A path's last name.
pub(super) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Files of a folder with one of these endings, in order.
fn with_ending(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Trouble> {
    let world = |error| Trouble::World(format!("Cannot list {}: {error}.", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(world)? {
        let path = entry.map_err(world)?.path();
        if path.is_file() && endings.iter().any(|end| name(&path).ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Verifies a folder with receipts and parcels; `None` when it holds none. A parcel belongs to
/// the receipt whose SHA-256 it has; with one of each there is no question.
pub(super) fn folder(path: &Path, brought: &Brought) -> Result<Option<Report>, Trouble> {
    let parcels = with_ending(path, &[".age"])?;
    let mut receipts = with_ending(path, &[".json"])?;
    receipts.retain(|file| {
        let mut findings = Findings::default();
        let named = name(file).contains("receipt");
        named
            || files::small(file, "", &mut findings)
                .is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains("holdfast-receipt/"))
    });
    if receipts.is_empty() && parcels.is_empty() {
        return Ok(None);
    }
    super::for_logs_only(brought)?;
    let mut report = Report::of("release");
    report.anchor = anchor(brought);
    let key = brought.key.as_ref();
    if receipts.is_empty() {
        let what = "There is a parcel and no receipt, so nothing says what it should be";
        report.findings.broken("receipt.missing", "receipt", what);
    }
    let mut left = parcels;
    for file in &receipts {
        let stem = name(file).split('.').next().unwrap_or_default().to_owned();
        let at = match (receipts.len(), left.len()) {
            (1, 1) => Some(0),
            _ => left
                .iter()
                .position(|p| name(p).split('.').next() == Some(stem.as_str())),
        };
        let mut one = Report::of("release");
        match at {
            Some(at) => pair(file, &left.remove(at), key, brought.quiet, &mut one),
            None => {
                let what = format!("There is no parcel for {}", name(file));
                one.findings.broken("parcel.missing", "parcel", what);
                if let Some(bytes) = files::small(file, "receipt", &mut one.findings)
                    && let Some(shown) = receipt(&bytes, key, &mut one)
                {
                    one.findings.take("", shown.findings);
                }
            }
        }
        let prefix = if receipts.len() == 1 {
            String::new()
        } else {
            name(file)
        };
        report.findings.take(&prefix, one.findings);
        if receipts.len() == 1 {
            report.facts = one.facts;
        } else {
            report.fact(&name(file), one.facts);
        }
    }
    for parcel in left {
        let what = "No receipt belongs to it";
        report
            .findings
            .broken("receipt.missing", name(&parcel), what);
    }
    Ok(Some(report))
}

/// Verifies entries with their proofs, as an order's receipt has them; `None` when there is none.
pub(super) fn proved_entries(path: &Path, brought: &Brought) -> Result<Option<Report>, Trouble> {
    let files = with_ending(path, &[".entry", ".tlog-proof"])?;
    let mut stems: Vec<_> = files.iter().map(|file| file.with_extension("")).collect();
    stems.dedup();
    if stems.is_empty() {
        return Ok(None);
    }
    super::for_logs_only(brought)?;
    let mut report = Report::of("order-receipt");
    let beside = key_beside(&path.join("log.vkey"), &mut report.findings);
    let key = brought.key.as_ref().or(beside.as_ref());
    for stem in stems {
        prove_pair(&stem, key, &mut report);
    }
    report.anchor = anchor(brought);
    Ok(Some(report))
}

fn prove_pair(stem: &Path, key: Option<&VerifierKey>, report: &mut Report) {
    let (entry, proof) = (
        stem.with_extension("entry"),
        stem.with_extension("tlog-proof"),
    );
    let findings = &mut report.findings;
    let bytes = files::small(&entry, &name(&entry), findings);
    let text = files::small(&proof, &name(&proof), findings);
    let (Some(bytes), Some(text)) = (bytes, text) else {
        return;
    };
    let Some(key) = key else {
        let what = "There is no log key, so no proof can be verified";
        return findings.broken("key.missing", "log.vkey", what);
    };
    match prove(&bytes, &String::from_utf8_lossy(&text), key) {
        Err(why) => findings.broken("proof", name(&proof), why),
        Ok((index, checkpoint)) => {
            report.fact("index", index);
            report.fact("log", checkpoint.origin);
            report.fact("log_size", checkpoint.size);
        }
    }
    let findings = &mut report.findings;
    let read = custody::ledger::entry::Entry::parse(&bytes)
        .and_then(|entry| entry.statement().map(|said| (entry, said)));
    match read {
        Err(error) => {
            findings.broken(
                "entry.malformed",
                name(&entry),
                format!("It is no entry: {error}"),
            );
        }
        Ok((read, said)) => {
            let signer = read.signature().public_key().clone();
            if let Err(error) = read.verify(said.namespace(), &signer) {
                let what = format!("Its signature fails: {error}");
                findings.broken("entry.signature", name(&entry), what);
            }
            report.fact("kind", said.body.kind());
            report.fact("signed_by", signer.fingerprint());
        }
    }
}

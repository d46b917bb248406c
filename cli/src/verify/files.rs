//! Files that are verified whole: hashed in a stream, and manifests checked in one pass.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use custody::{
    digest::Digest,
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
    },
    statement::SnapshotSealed,
    verify::{
        report::{Findings, Level},
        snapshot,
    },
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest as _, Sha256};

/// The longest small file (a receipt, an entry, a proof) that is read.
const MOST: u64 = 256 << 20;

/// Progress on a terminal, silence elsewhere.
pub(super) fn bar(quiet: bool, what: &str, total: u64) -> ProgressBar {
    use std::io::IsTerminal as _;
    let target = match !quiet && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template("{msg} {human_pos}/{human_len} {per_sec}, {eta} left");
    match style {
        Ok(style) => bar.with_style(style).with_message(what.to_owned()),
        Err(_) => bar,
    }
}

/// Reads a small file whole; what keeps it from being read is a finding.
pub(super) fn small(path: &Path, place: &str, findings: &mut Findings) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)) {
        Ok(_) => Some(bytes),
        Err(error) => {
            missing(place, &error, findings);
            None
        }
    }
}

/// A file that cannot be read: damage when it is gone, else trouble with the world.
fn missing(place: &str, error: &std::io::Error, findings: &mut Findings) {
    match error.kind() {
        std::io::ErrorKind::NotFound => findings.broken("file.missing", place, "It is missing"),
        _ => {
            let what = format!("It cannot be read: {error}");
            findings.add(Level::Unreadable, "file.unreadable", place, what);
        }
    }
}

/// SHA-256 and length of a file, in a stream.
pub(super) fn hash(file: &mut File, quiet: bool, what: &str) -> std::io::Result<(Digest, u64)> {
    let progress = bar(quiet, what, file.metadata()?.len());
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => {
                hasher.update(&buffer[..length]);
                bytes += length as u64;
                progress.set_position(bytes);
            }
        }
    }
    progress.finish_and_clear();
    Ok((Digest::from_bytes(hasher.finalize().into()), bytes))
}

/// Opens and hashes a file; trouble is a finding.
pub(super) fn hashed(
    path: &Path,
    place: &str,
    quiet: bool,
    findings: &mut Findings,
) -> Option<(File, Digest, u64)> {
    let opened = File::open(path).and_then(|mut file| {
        let (digest, bytes) = hash(&mut file, quiet, place)?;
        file.rewind()?;
        Ok((file, digest, bytes))
    });
    match opened {
        Ok(opened) => Some(opened),
        Err(error) => {
            missing(place, &error, findings);
            None
        }
    }
}

/// Verifies a manifest's file against what was sealed. Says whether every row was recomputed.
pub(super) fn manifest(
    path: &Path,
    place: &str,
    sealed: &SnapshotSealed,
    key: Option<&SnapshotKey>,
    quiet: bool,
    findings: &mut Findings,
) -> bool {
    let Some((file, digest, bytes)) = hashed(path, place, quiet, findings) else {
        return false;
    };
    snapshot::file(sealed, place, &digest, bytes, findings);
    // A Parquet reader may give up by a panic on a file that is damaged.
    let found = quietly(|| {
        let reader = Reader::open(file)?;
        check(reader, key, &sealed.root)
    });
    match found {
        Some(Ok(found)) => {
            snapshot::contents(sealed, place, &found, findings);
            found.recomputed
        }
        Some(Err(error)) => {
            findings.broken("manifest.rows", place, format!("Its rows fail: {error}"));
            false
        }
        None => {
            findings.broken("manifest.rows", place, "It is damaged beyond reading");
            false
        }
    }
}

/// Runs something that may panic on damaged input, without the panic's own message.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    std::panic::set_hook(before);
    result
}

//! `holdfast verify`: what an auditor or a court runs, offline, on what it was given.
//!
//! The checking itself is [`custody::verify`]; here are folders, files, progress and the
//! report. It recognises what it is given, reports all damage and not only the first, always
//! ends, and writes nothing. A key that lies beside what is verified proves nothing: without
//! `--vkey` or `--checkpoint` from outside the verdict is "consistent, unanchored", exit 5.
//!
//! # JSON
//! With `--json` one object (`format` is `holdfast-verify/1`): `path`; `subject` (`log`,
//! `snapshot`, `release`, `receipt`, `order-receipt`, `demo`); `verdict` (`valid`, `unanchored`,
//! `unreadable`, `does-not-verify`); `exit`; `anchor` (a sentence, or null); `facts` (numbers and
//! ids by name, such as `size`, `root`, `entries`, `rows`, `approvals`); `findings`, each with
//! `level` (`note`, `unreadable`, `not-understood`, `broken`), `code`, `place`, `what`.

mod demo;
mod files;
mod folder;
mod log;
mod print;
mod release;
mod snapshot;

use std::path::{Path, PathBuf};

use custody::{
    ledger::{note::VerifierKey, policy::Policy},
    verify::report::{Findings, Level, Verdict},
};
use serde_json::{Map, Value};

/// What to verify and against what.
#[derive(Clone, Debug)]
pub struct VerifyArgs {
    /// A log, a snapshot export, a release, a receipt, a demo's folder.
    pub path: PathBuf,
    /// The log's key, held outside what is verified: a file's name or the text itself.
    pub vkey: Option<String>,
    /// An older checkpoint of the log, or a `.tlog-proof`, held outside what is verified.
    pub checkpoint: Option<PathBuf>,
    /// A C2SP tlog-policy file: which witnesses must have cosigned.
    pub policy: Option<PathBuf>,
}

/// What the asker brought from outside.
struct Brought {
    key: Option<VerifierKey>,
    older: Option<Vec<u8>>,
    policy: Option<Policy>,
    quiet: bool,
}

/// What verifying came to.
#[derive(Default)]
struct Report {
    subject: &'static str,
    findings: Findings,
    /// What the verdict rests on, as a sentence.
    anchor: Option<String>,
    facts: Map<String, Value>,
}

impl Report {
    fn of(subject: &'static str) -> Self {
        Self {
            subject,
            ..Self::default()
        }
    }

    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    fn verdict(&self) -> Verdict {
        self.findings.verdict(self.anchor.is_some())
    }
}

/// Why nothing could be verified at all.
enum Trouble {
    /// The request makes no sense: exit 2.
    Usage(String),
    /// The world broke: exit 1.
    World(String),
}

/// Verifies, prints the report (as JSON with `json`) and gives the exit code.
pub fn run(args: VerifyArgs, json: bool) -> u8 {
    match verify(&args, json) {
        Ok(report) => {
            print::report(&args.path, &report, json);
            report.verdict().exit()
        }
        Err(trouble) => {
            let (what, exit) = match trouble {
                Trouble::Usage(what) => (what, 2),
                Trouble::World(what) => (what, 1),
            };
            print::trouble(&what, exit, json);
            exit
        }
    }
}

fn verify(args: &VerifyArgs, json: bool) -> Result<Report, Trouble> {
    let brought = brought(args, json)?;
    let path = &args.path;
    let about = std::fs::metadata(path)
        .map_err(|error| Trouble::World(format!("Cannot read {}: {error}.", path.display())))?;
    if about.is_file() {
        for_logs_only(&brought)?;
        return release::receipt_file(path, &brought);
    }
    let has = |name: &str| path.join(name).exists();
    if has("summary.json") {
        demo::verify(path, &brought)
    } else if has("tile") {
        log::verify(path, &brought)
    } else if has("snapshot.json") || has("manifest.parquet") {
        for_logs_only(&brought)?;
        snapshot::verify(path, &brought)
    } else if let Some(report) = release::folder(path, &brought)? {
        Ok(report)
    } else if let Some(report) = release::proved_entries(path, &brought)? {
        Ok(report)
    } else if has("checkpoint") {
        log::verify(path, &brought)
    } else {
        Err(Trouble::Usage(format!(
            "{} is nothing that can be verified: no log (checkpoint, tile/), snapshot \
             (snapshot.json), release (a receipt and its parcel), order receipt or demo \
             (summary.json). Name the folder that holds one.",
            path.display()
        )))
    }
}

/// A demand that would not be looked at must not be passed over in silence.
fn for_logs_only(brought: &Brought) -> Result<(), Trouble> {
    match brought.older.is_some() || brought.policy.is_some() {
        true => Err(Trouble::Usage(
            "--checkpoint and --policy are for a log or a demo's folder. Leave them out here, and \
             verify the log with them."
                .to_owned(),
        )),
        false => Ok(()),
    }
}

fn brought(args: &VerifyArgs, json: bool) -> Result<Brought, Trouble> {
    let key = args.vkey.as_deref().map(key).transpose()?;
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|error| Trouble::World(format!("Cannot read {}: {error}.", path.display())))
    };
    let policy = match args.policy.as_ref().map(read).transpose()? {
        None => None,
        Some(bytes) => Some(
            Policy::parse(&String::from_utf8_lossy(&bytes))
                .map_err(|error| Trouble::Usage(format!("The policy cannot be read: {error}.")))?,
        ),
    };
    Ok(Brought {
        key,
        older: args.checkpoint.as_ref().map(read).transpose()?,
        policy,
        quiet: json,
    })
}

/// A verifier key, as text or in a file.
fn key(given: &str) -> Result<VerifierKey, Trouble> {
    if let Ok(key) = VerifierKey::parse(given.trim()) {
        return Ok(key);
    }
    let text = std::fs::read_to_string(given).map_err(|error| {
        Trouble::World(format!(
            "`{given}` is no key, and cannot be read as a file: {error}."
        ))
    })?;
    VerifierKey::parse(text.trim()).map_err(|error| Trouble::Usage(format!("{given}: {error}.")))
}

/// The key that lies beside what is verified, which proves nothing by itself.
fn key_beside(path: &Path, findings: &mut Findings) -> Option<VerifierKey> {
    let place = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            let what = format!("It cannot be read: {error}");
            findings.add(Level::Unreadable, "vkey", place, what);
            return None;
        }
    };
    match VerifierKey::parse(String::from_utf8_lossy(&bytes).trim_end_matches('\n')) {
        Ok(key) => Some(key),
        Err(error) => {
            findings.broken("vkey", place, format!("It is {error}"));
            None
        }
    }
}

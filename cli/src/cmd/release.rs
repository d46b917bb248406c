//! `release`: fetch the ciphertext, open it as its owner, print its receipt.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use custody::{
    house::release::{Release, State},
    statement::{Body, ReleasePacked},
};
use proto::v1::EvidenceKind;

use super::{fleet, wait};
use crate::{
    args::{Global, words::Lasting},
    exit::{Exit, Outcome, Trouble},
    fetch,
    parcel::{self, OpenError},
    records::Record,
    session::Session,
    show::{Screen, release::ReleaseView, text},
};

/// What can be done with releases.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List releases.
    List,
    /// Show one release.
    Show {
        /// The id, or a beginning of it.
        release: String,
        /// Wait until it is packed and here; also for one that is only asked for yet.
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "600s", require_equals = true)]
        wait: Option<Lasting>,
    },
    /// Fetch the encrypted parcel; goes on where an earlier try stopped.
    Fetch {
        /// The id, or a beginning of it.
        release: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Wait until it is packed and here.
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "600s", require_equals = true)]
        wait: Option<Lasting>,
    },
    /// Open a parcel as its owner. Needs no account and no network.
    Open(Open),
    /// Fetch the receipt: statements, proofs and hashes, checkable offline for ever.
    Receipt {
        /// The id, or a beginning of it.
        release: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What `release open` takes.
#[derive(Debug, Args)]
pub struct Open {
    /// The parcel, as it was fetched.
    #[arg(value_name = "PARCEL")]
    parcel: PathBuf,
    /// The owner's age identity (secret key) file.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The folder to write to, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::List => {
            let mut session = Session::open(global).await?;
            let fleet = fleet(&mut session).await?;
            let records = session.list("releases").await?;
            let views = records
                .iter()
                .map(|record| ReleaseView::read(record, &fleet));
            screen.list(&views.collect::<Outcome<Vec<_>>>()?);
            Ok(())
        }
        Verb::Show { release, wait } => {
            let mut session = Session::open(global).await?;
            let record = ready(&mut session, &release, wait).await?;
            let fleet = fleet(&mut session).await?;
            let view = ReleaseView::read(&record, &fleet)?;
            screen.one(&view);
            match (wait, view.state) {
                (Some(_), State::Failed) => Err(failed(&view.id, view.trouble.as_deref())),
                (Some(_), State::Ordered | State::Packed) => Err(Trouble::failed(
                    "release.not-spooled",
                    format!("{} is not here yet. Look again later.", view.id),
                )),
                _ => Ok(()),
            }
        }
        Verb::Fetch { release, out, wait } => fetch_parcel(global, &release, out, wait).await,
        Verb::Open(args) => open(global, &args),
        Verb::Receipt { release, out } => receipt(global, &release, out).await,
    }
}

async fn fetch_parcel(
    global: &Global,
    typed: &str,
    out: PathBuf,
    patience: Option<Lasting>,
) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let release: Release = ready(&mut session, typed, patience).await?.parse()?;
    let packed = match (release.state, release.packed_entry) {
        (State::Spooled | State::Delivered, Some(index)) => {
            proved(&mut session, &release, index).await?
        }
        (State::Failed, _) => {
            return Err(failed(&release.id.to_string(), release.trouble.as_deref()));
        }
        _ => {
            return Err(Trouble::refused(
                "release.not-spooled",
                format!(
                    "{} is not here yet. Fetch it later, or with --wait.",
                    release.id
                ),
            ));
        }
    };
    let id = release.id.to_string();
    let bytes = fetch::file(
        &mut session,
        EvidenceKind::Parcel,
        &id,
        &out,
        &packed.parcel,
    )
    .await?;
    if screen.is_json() {
        screen.value(&serde_json::json!({
            "id": id, "file": out.display().to_string(), "bytes": bytes,
            "sha256": packed.parcel, "files": packed.files,
        }));
    } else {
        screen.pairs(&[
            ("release", id),
            ("file", out.display().to_string()),
            ("size", text::size(bytes)),
            ("sha256", packed.parcel.to_string()),
        ]);
        screen.note("Its owner opens it with `holdfast release open`, or with age and tar.");
    }
    Ok(())
}

fn failed(id: &str, trouble: Option<&str>) -> Trouble {
    let why = trouble.map_or_else(String::new, |word| format!(" ({word})"));
    Trouble::refused(
        "release.failed",
        format!("{id} could not be packed{why}. See what its server says, and ask for it again."),
    )
}

/// A release's record, once it is here or patience ends. One that is asked for is not known
/// before it is approved, so while there is patience, not being known is no refusal.
async fn ready(session: &mut Session, typed: &str, patience: Option<Lasting>) -> Outcome<Record> {
    let global = session.global.clone();
    let look = async || match session.find("releases", typed).await {
        Ok(record) => {
            let release: Release = record.parse()?;
            let done = matches!(
                release.state,
                State::Spooled | State::Delivered | State::Failed
            );
            Ok((Ok(record), done))
        }
        Err(trouble) if trouble.exit == Exit::Refused && patience.is_some() => {
            Ok((Err(trouble), false))
        }
        Err(trouble) => Err(trouble),
    };
    let what = "waiting for approvals, packing and encryption";
    let length = patience.map(Lasting::duration).unwrap_or_default();
    wait(&global, what, length, look).await?.0
}

/// What the log says was packed; its word counts, not the record's.
async fn proved(session: &mut Session, release: &Release, index: u64) -> Outcome<ReleasePacked> {
    let (entry, _) = session.proved(index).await?;
    match entry.statement().map(|statement| statement.body) {
        Ok(Body::ReleasePacked(packed)) if packed.release == release.id => Ok(packed),
        _ => Err(Trouble::breach(
            "release.other-entry",
            format!(
                "Entry {index} does not pack {}. Stop, and tell your auditor.",
                release.id
            ),
        )),
    }
}

async fn receipt(global: &Global, typed: &str, out: PathBuf) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let id = session.find("releases", typed).await?.id;
    let content = fetch::small(&mut session, EvidenceKind::Receipt, &id).await?;
    let value: serde_json::Value = serde_json::from_slice(&content).unwrap_or_default();
    if value["format"] != "holdfast-receipt/1" || value["release"] != id.as_str() {
        return Err(Trouble::breach(
            "receipt.strange",
            format!(
                "What came is not the receipt of {id}. Fetch it again, with a tool of the coordinator's version."
            ),
        ));
    }
    crate::profile::write_private(&out, &content)?;
    let entries = value["entries"].as_array().map_or(0, Vec::len);
    if screen.is_json() {
        screen.value(&serde_json::json!({
            "id": id, "file": out.display().to_string(), "entries": entries,
        }));
    } else {
        screen.note(&format!(
            "Written to {} with {}. Anyone checks it with `holdfast verify`.",
            out.display(),
            text::count(entries as u64, "proved entry")
        ));
    }
    Ok(())
}

/// Opens a parcel; needs no profile.
pub fn open(global: &Global, args: &Open) -> Outcome {
    let screen = Screen::new(global);
    let opened =
        parcel::open(&args.parcel, &args.identity, &args.out).map_err(|error| match error {
            OpenError::World(why) => Trouble::failed("parcel", why),
            OpenError::DoesNotVerify(why) => Trouble::breach("parcel.does-not-verify", why),
            OpenError::Usage(why) => Trouble::usage(why),
        })?;
    if screen.is_json() {
        screen.value(&opened);
    } else {
        screen.pairs(&[
            ("release", opened.release.clone()),
            ("files", opened.files.to_string()),
            ("folders", opened.folders.to_string()),
            ("symlinks", opened.symlinks.to_string()),
            ("listed only", opened.listed.to_string()),
            ("size", text::size(opened.bytes)),
            ("written to", args.out.display().to_string()),
        ]);
    }
    match opened.wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(Trouble::breach(
            "parcel.does-not-verify",
            format!(
                "{} in the parcel not as the snapshot has it: {}. Keep the parcel and ask for it again.",
                text::count(wrong.len() as u64, "thing"),
                wrong.join("; ")
            ),
        )),
    }
}

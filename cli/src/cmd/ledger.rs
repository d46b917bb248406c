//! `ledger`: the log itself. Everything that is shown is verified against the pinned key.

use std::path::PathBuf;

use clap::Subcommand;
use custody::ledger::{entry::Entry, proof::LogProof};
use proto::v1;
use serde::Serialize;

use super::mirror;
use crate::{
    args::Global,
    connect::patient,
    exit::{Outcome, Trouble},
    session::Session,
    show::{Screen, ledger::EntryView},
};

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List entries, the newest last.
    Show {
        /// The first entry; else the last ones.
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// How many.
        #[arg(long, default_value = "50", value_name = "N")]
        count: u64,
    },
    /// Show one entry, whole, with its place proved.
    Entry {
        /// Its index.
        index: u64,
        /// Print its bytes and nothing else.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Write the proof of an entry as a C2SP .tlog-proof file.
    Prove {
        /// Its index.
        index: u64,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Write the entry too, to the byte, which the proof is about.
        #[arg(long, value_name = "FILE")]
        entry_out: Option<PathBuf>,
    },
    /// Print the newest checkpoint, verified, as it was published.
    Checkpoint,
    /// Copy the log to a folder and recompute it: an auditor's own copy. Goes on where it stopped.
    Mirror {
        /// The folder.
        dir: PathBuf,
    },
    /// Check a log folder offline; the same as `verify` on it.
    Fsck {
        /// The folder.
        dir: PathBuf,
        /// The log's verifier key: a file or the text itself.
        #[arg(long, value_name = "KEY")]
        vkey: Option<String>,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Show { from, count } => {
            let mut session = Session::open(global).await?;
            let from = from.unwrap_or_else(|| session.seen().size.saturating_sub(count));
            screen.list(&entries(&mut session, from, count).await?);
            Ok(())
        }
        Verb::Entry { index, raw } => {
            let mut session = Session::open(global).await?;
            let (entry, _) = session.proved(index).await?;
            if raw {
                screen.raw(&String::from_utf8_lossy(entry.bytes()));
                return Ok(());
            }
            let asked = patient(v1::GetEntryRequest { index });
            let received = session.services.ledger.get_entry(asked).await?.into_inner();
            screen.one(&EntryView::read(
                index,
                received.received_unix_ms,
                &entry,
                true,
            ));
            Ok(())
        }
        Verb::Prove {
            index,
            out,
            entry_out,
        } => prove(global, index, out, entry_out).await,
        Verb::Checkpoint => {
            let mut session = Session::open(global).await?;
            let note = session.refresh().await?;
            if screen.is_json() {
                let seen = session.seen();
                screen.value(&serde_json::json!({
                    "origin": seen.origin, "size": seen.size, "root": seen.root, "note": note,
                }));
            } else {
                screen.raw(&note);
            }
            Ok(())
        }
        Verb::Mirror { dir } => mirror::run(global, &dir).await,
        Verb::Fsck { .. } => Ok(()),
    }
}

async fn entries(session: &mut Session, first: u64, count: u64) -> Outcome<Vec<EntryView>> {
    let mut views = Vec::new();
    let (mut first, mut left) = (first, count);
    // The coordinator may give fewer at a time than were asked for.
    while left > 0 {
        let asked = v1::ListEntriesRequest { first, count: left };
        let mut stream = session
            .services
            .ledger
            .list_entries(asked)
            .await?
            .into_inner();
        let before = views.len();
        while let Some(answer) = stream.message().await? {
            let entry = Entry::parse(&answer.entry).map_err(|error| {
                Trouble::breach(
                    "entry.unreadable",
                    format!("Entry {}: {error}.", answer.index),
                )
            })?;
            views.push(EntryView::read(
                answer.index,
                answer.received_unix_ms,
                &entry,
                false,
            ));
        }
        let came = (views.len() - before) as u64;
        if came == 0 {
            break;
        }
        first += came;
        left = left.saturating_sub(came);
    }
    Ok(views)
}

/// What `ledger prove` answers.
#[derive(Serialize)]
struct Proved {
    index: u64,
    leaf: String,
    size: u64,
    file: String,
    entry_file: Option<String>,
}

async fn prove(global: &Global, index: u64, out: PathBuf, entry_out: Option<PathBuf>) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let (entry, proof) = session.proved(index).await?;
    let size = LogProof::parse(&proof)
        .map_err(|error| error.to_string())
        .and_then(|p| {
            p.verify(entry.bytes(), session.verifier())
                .map_err(|e| e.to_string())
        })
        .map_err(|error| Trouble::breach("entry.not-proved", error))?
        .size;
    crate::profile::write_private(&out, proof.as_bytes())?;
    if let Some(path) = &entry_out {
        crate::profile::write_private(path, entry.bytes())?;
    }
    let proved = Proved {
        index,
        leaf: entry.leaf_hash().to_string(),
        size,
        file: out.display().to_string(),
        entry_file: entry_out.map(|path| path.display().to_string()),
    };
    if screen.is_json() {
        screen.value(&proved);
    } else {
        screen.pairs(&[
            ("entry", proved.index.to_string()),
            ("leaf", proved.leaf),
            ("in a log of", format!("{} entries", proved.size)),
            ("proof", proved.file),
        ]);
    }
    Ok(())
}

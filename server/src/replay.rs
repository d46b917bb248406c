//! Replays: folds the journal anew and compares everything that rests on it.
//!
//! The entries are the truth. Their columns, the records, the openings, the recorded checkpoint
//! and the log's files all follow from them, so each can be checked and none is believed.
//! Memory grows with the state, as the coordinator's own does, never with the entries.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use custody::{
    house::{House, apply::apply},
    ledger::{checkpoint::Checkpoint, entry::Entry, note::VerifierKey, tile::WIDTH},
    statement::Statement,
};
use futures::TryStreamExt as _;

use crate::{
    config::{self, Data},
    desk::{StoredEntry, command_column, place_column},
    journal::{Checkpointed, Journal, seal},
    ledger::Comparing,
};

/// Entries in memory at once.
const AT_ONCE: u64 = WIDTH;
/// The most differences that are listed; more are counted.
const LISTED: usize = 1000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were folded.
    pub entries: u64,
    /// Records that they give.
    pub records: u64,
    /// Size of the newest recorded checkpoint.
    pub checkpoint: u64,
    /// What differs, a sentence each, at most 1000.
    pub differences: Vec<String>,
    /// How many differ.
    pub count: u64,
}

impl Report {
    /// Whether all is as the entries say.
    pub const fn is_whole(&self) -> bool {
        self.count == 0
    }

    fn note(&mut self, difference: impl Into<String>) {
        self.count += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference.into());
        }
    }
}

/// Folds the first `size` entries. `each` sees every entry before it is folded.
pub(crate) async fn fold(
    journal: &Journal,
    size: u64,
    each: &mut (dyn FnMut(&StoredEntry) + Send),
) -> anyhow::Result<House> {
    let mut house = House::default();
    let mut first = 0;
    while first < size {
        let last = (first + AT_ONCE).min(size);
        for stored in journal.entries(first, last).await? {
            each(&stored);
            let (entry, statement) = read(&stored)?;
            take_up(&mut house, &stored, &entry, statement);
        }
        first = last;
    }
    Ok(house)
}

fn read(stored: &StoredEntry) -> anyhow::Result<(Entry, Statement)> {
    let entry = Entry::parse(&stored.bytes).with_context(|| format!("entry {}", stored.index))?;
    let statement = entry
        .statement()
        .with_context(|| format!("entry {}", stored.index))?;
    Ok((entry, statement))
}

fn take_up(house: &mut House, stored: &StoredEntry, entry: &Entry, statement: Statement) {
    let accepted = house.recorded(entry, statement, stored.received);
    apply(house, accepted, stored.index);
}

/// Checks a data folder that no coordinator is running on. It changes nothing.
pub async fn check(data: &Data) -> anyhow::Result<Report> {
    let _lock = config::lock(data)?;
    if !data.journal().exists() {
        bail!("there is no journal in {}", data.0.display());
    }
    let journal = Journal::open(&data.journal()).await?;
    let report = compare(&journal, data).await;
    journal.close().await;
    report
}

async fn compare(journal: &Journal, data: &Data) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let recorded = journal.checkpoint().await?;
    report.checkpoint = recorded.as_ref().map_or(0, |recorded| recorded.size);
    let mut house = House::default();
    let mut files = Comparing::new(&data.log());
    let size = journal.size().await?;
    let mut first = 0;
    while first < size {
        // Cut where the recorded checkpoint ends, for the tiles of its size.
        let mut last = (first / AT_ONCE * AT_ONCE + AT_ONCE).min(size);
        if first < report.checkpoint {
            last = last.min(report.checkpoint);
        }
        let entries = match journal.entries(first, last).await {
            Ok(entries) => entries,
            Err(error) => {
                report.note(format!("entries {first} to {last} cannot be read: {error}"));
                return Ok(report);
            }
        };
        check_entries(&mut report, &mut house, journal, &entries).await?;
        if first < report.checkpoint {
            files.push(&entries)?;
        }
        if last == report.checkpoint {
            check_checkpoint(&mut report, &mut files, recorded.as_ref(), data)?;
        }
        for difference in files.take_differences() {
            report.note(difference);
        }
        first = last;
    }
    report.entries = size;
    if report.checkpoint > size {
        report.note(format!(
            "a checkpoint of size {} was recorded, but there are {size} entries",
            report.checkpoint
        ));
    }
    check_records(&mut report, &house, journal).await?;
    check_openings(&mut report, journal).await?;
    Ok(report)
}

/// Checks each entry's form, signature and columns, and folds it.
async fn check_entries(
    report: &mut Report,
    house: &mut House,
    journal: &Journal,
    entries: &[StoredEntry],
) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Ok(());
    };
    let columns = journal.columns(first.index, last.index + 1).await?;
    for (stored, columns) in entries.iter().zip(columns) {
        let index = stored.index;
        let (entry, statement) = match read(stored) {
            Ok(read) => read,
            Err(error) => {
                report.note(format!("{error:#}"));
                continue;
            }
        };
        let key = house.key_of(&statement);
        if !key.is_ok_and(|key| entry.verify(statement.namespace(), &key).is_ok()) {
            report.note(format!("entry {index} is not signed by its author"));
        }
        let given = (
            index,
            entry.leaf_hash().as_bytes().to_vec(),
            command_column(&statement),
            place_column(&statement),
        );
        if columns != given {
            report.note(format!(
                "the columns of entry {index} are not those of its bytes"
            ));
        }
        take_up(house, stored, &entry, statement);
    }
    Ok(())
}

/// Compares the root of the entries with the newest checkpoint that was recorded.
fn check_checkpoint(
    report: &mut Report,
    files: &mut Comparing,
    recorded: Option<&Checkpointed>,
    data: &Data,
) -> anyhow::Result<()> {
    let root = files.finish()?;
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let vkey = std::fs::read_to_string(data.vkey()).context("cannot read log.vkey")?;
    let vkey = VerifierKey::parse(&vkey).context("in log.vkey")?;
    match Checkpoint::open(recorded.note.as_bytes(), &vkey) {
        Ok(signed) if (signed.size, signed.root) == (recorded.size, root) => {}
        Ok(_) => report.note(format!(
            "the entries do not give the root that was signed at size {}",
            recorded.size
        )),
        Err(error) => report.note(format!("the recorded checkpoint: {error}")),
    }
    Ok(())
}

/// Compares every record of the fold with the one that is kept, in both directions.
async fn check_records(
    report: &mut Report,
    house: &House,
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut expected: BTreeMap<_, _> = house
        .all()
        .into_iter()
        .map(|(key, record)| ((key.kind.to_owned(), key.id), record))
        // What only entries of its kind bring in is not kept before the first of them.
        .filter(|((kind, _), record)| kind != "lists_revision" || *record != 0)
        .collect();
    report.records = expected.len() as u64;
    let mut kept = std::pin::pin!(journal.records());
    while let Some((kind, id, json)) = kept.try_next().await? {
        let found = serde_json::from_str::<serde_json::Value>(&json).ok();
        let name = format!("{kind} {id}");
        match expected.remove(&(kind.clone(), id)) {
            Some(record) if found.as_ref() == Some(&record) => {}
            Some(_) => report.note(format!("the record {name} is not what the entries give")),
            None if kind == "lists_revision" && found == Some(0.into()) => {}
            None => report.note(format!("the record {name} follows from no entry")),
        }
    }
    for (kind, id) in expected.into_keys() {
        report.note(format!("the record {kind} {id} is missing"));
    }
    Ok(())
}

/// Checks that every opening that is kept can be opened.
async fn check_openings(report: &mut Report, journal: &Journal) -> anyhow::Result<()> {
    let keys: BTreeMap<_, _> = journal.keys().await?.into_iter().collect();
    let mut kept = std::pin::pin!(journal.openings());
    while let Some(kept) = kept.try_next().await? {
        match keys.get(&kept.subject) {
            None => report.note(format!("the opening of {} has no key", kept.commitment)),
            Some(key) => {
                if let Err(error) = seal::unseal(key, &kept.subject, &kept.commitment, &kept.sealed)
                {
                    report.note(error.to_string());
                }
            }
        }
    }
    Ok(())
}

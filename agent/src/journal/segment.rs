//! Segments: the journal's files, in order, each beginning with where the chain stood.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::ledger::chain::ChainHead;
use serde::{Deserialize, Serialize};

use super::{
    error::JournalError,
    frame::{self, Frames, Kind, Next},
};
use crate::durable;

/// The version of this format.
const FORMAT: &str = "holdfast-agent-journal/1";
const SUFFIX: &str = ".seg";

/// The first record of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    format: String,
    /// Which segment, from 0.
    pub(super) segment: u64,
    /// Whose journal: agent and log.
    pub(super) of: String,
    /// Where the chain stood when the segment was begun.
    pub(super) head: ChainHead,
}

pub(super) fn path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:012}{SUFFIX}"))
}

pub(super) fn name(segment: u64) -> String {
    format!("{segment:012}{SUFFIX}")
}

/// Begins a segment: there whole, or not at all.
pub(super) fn begin(
    folder: &Path,
    segment: u64,
    of: &str,
    head: ChainHead,
) -> Result<(), JournalError> {
    let start = Start {
        format: FORMAT.to_owned(),
        segment,
        of: of.to_owned(),
        head,
    };
    let payload = serde_json::to_vec(&start).map_err(io::Error::from)?;
    let bytes = frame::encode(Kind::Start, &payload);
    Ok(durable::write(&path(folder, segment), 0o600, &bytes)?)
}

/// The numbers of the segments there are, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == 12)
            .and_then(|digits| digits.parse::<u64>().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens a segment and reads its first record.
pub(super) fn open(folder: &Path, segment: u64) -> Result<(Frames, Start), JournalError> {
    let mut frames = Frames::open(&path(folder, segment))?;
    let start = match frames.read()? {
        Next::Frame(Kind::Start, payload) => serde_json::from_slice::<Start>(&payload).ok(),
        _ => None,
    };
    let start = start.filter(|start| start.format == FORMAT && start.segment == segment);
    let start = start.ok_or_else(|| damaged(segment, 0, "its first record cannot be read"))?;
    Ok((frames, start))
}

pub(super) fn damaged(segment: u64, at: u64, what: impl Into<String>) -> JournalError {
    JournalError::Damaged {
        segment: name(segment),
        at,
        what: what.into(),
    }
}

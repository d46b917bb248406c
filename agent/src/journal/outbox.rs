//! The outbox: statements in order, read from the journal, one in memory at a time.

use std::path::{Path, PathBuf};

use custody::{commit::Opening, ledger::entry::Entry};

use super::{
    error::JournalError,
    frame::{Frames, Kind, Next},
    openings, segment,
};

/// One statement as it is sent: its exact bytes, and what opens its commitments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its epoch.
    pub epoch: u64,
    /// Its position.
    pub seq: u64,
    /// The entry, to the byte.
    pub entry: Vec<u8>,
    /// What opens its commitments, as long as it is not recorded.
    pub openings: Vec<Opening>,
}

/// Reads statements from one on. It follows a journal that is being written.
pub struct Outbox {
    folder: PathBuf,
    segment: u64,
    frames: Option<Frames>,
    epoch: u64,
    seq: u64,
}

impl Outbox {
    pub(super) fn new(folder: &Path, segment: u64, epoch: u64, seq: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            segment,
            frames: None,
            epoch,
            seq,
        }
    }

    /// The next statement, if its position is below `end`, one past the last that is durable.
    pub fn next(&mut self, end: u64) -> Result<Option<Said>, JournalError> {
        if self.seq >= end {
            return Ok(None);
        }
        loop {
            let frames = match &mut self.frames {
                Some(frames) => frames,
                none => none.insert(segment::open(&self.folder, self.segment)?.0),
            };
            let at = frames.at();
            match frames.read()? {
                Next::Frame(Kind::Entry, payload) => {
                    let entry = Entry::parse(&payload)?;
                    let Some(link) = entry.statement()?.link else {
                        continue;
                    };
                    if (link.epoch, link.seq) != (self.epoch, self.seq) {
                        continue;
                    }
                    self.seq += 1;
                    return Ok(Some(Said {
                        epoch: link.epoch,
                        seq: link.seq,
                        entry: payload,
                        openings: openings::load(&self.folder, link.epoch, link.seq)?,
                    }));
                }
                Next::Frame(..) => {}
                Next::End => {
                    if !segment::path(&self.folder, self.segment + 1).exists() {
                        let what = format!("statement {} is not there", self.seq);
                        return Err(segment::damaged(self.segment, at, what));
                    }
                    self.segment += 1;
                    self.frames = None;
                }
                Next::Torn | Next::Damaged => {
                    let what = "a record does not have the hash that it had";
                    return Err(segment::damaged(self.segment, at, what));
                }
            }
        }
    }
}

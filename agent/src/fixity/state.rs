//! The state of reading one snapshot again: which round, how far, what it came to. One small file
//! a snapshot in `DIR/fixity`, written in portions, so that after a restart reading goes on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    house::ranges::Ranges,
    id::{SnapshotId, TargetId},
    time::Time,
};
use serde::{Deserialize, Serialize};

use super::plan::{ROW, Window};
use crate::durable;

/// One round of reading a snapshot again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// The next row of the manifest.
    pub next: u64,
    /// Rows with content that were read.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// Bytes of all rows before the next one, also of those that have left the hold.
    #[serde(default)]
    pub passed: u64,
    /// Rows whose bytes are not those of the manifest.
    pub differ: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// When its first row was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// When its last row was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

/// A long file that is read: how far, with what was hashed so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// Its row.
    pub row: u64,
    /// Bytes that are hashed.
    pub at: u64,
    /// The state of SHA-256 after them, hex.
    pub hash: String,
    /// What must be the same for them to be the same: device, inode, size, change time.
    pub stamp: [i64; 4],
}

/// What was said of one kind: a set of rows is told by how many they are and by their leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Rows.
    pub count: u64,
    /// SHA-256 over their numbers.
    pub rows: Digest,
}

/// What was said to the ledger, so that it is said once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Rows that are not what they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differ: Option<Told>,
    /// Rows that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Told>,
    /// Rows for which the second copy stands in.
    #[serde(default)]
    pub stood_in: Ranges,
    /// The manifest is not the one that was sealed.
    #[serde(default)]
    pub manifest: bool,
}

/// The second copy of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// The place it is in.
    pub path: PathBuf,
    /// The next row to copy; all rows were once it is whole.
    pub next: u64,
    /// Rows whose content is there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows whose content could not be had from the original.
    pub missing: u64,
    /// In which round it was begun.
    #[serde(default)]
    pub round: u64,
    /// Whether every row with content is there and that was said.
    pub whole: bool,
    /// Whether its files carry the immutable flag.
    pub sealed: bool,
    /// Rows whose copy was lost in all this time, and made anew from the original.
    #[serde(default)]
    pub remade: u64,
    /// Times that a row was found lost in both places.
    #[serde(default)]
    pub lost: u64,
    /// How many parts have left the hold whose content was taken out of the copy.
    #[serde(default)]
    pub left: usize,
}

/// All that is known of reading one snapshot again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What is held.
    pub target: TargetId,
    /// By which snapshot's manifest.
    pub snapshot: SnapshotId,
    /// Rows of that manifest.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// From when on the round may be read.
    pub opens: Time,
    /// Until when.
    pub due: Time,
    /// The round under way.
    pub round: Round,
    /// The last one that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Round>,
    /// In the midst of a long file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// What was said.
    #[serde(default)]
    pub said: Said,
    /// The second copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copied>,
    /// Why it cannot be read at all just now, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Why no second copy can be made just now, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_trouble: Option<String>,
}

impl State {
    /// One that was not read again yet.
    pub fn new(
        target: TargetId,
        snapshot: SnapshotId,
        (rows, bytes): (u64, u64),
        window: Window,
    ) -> Self {
        Self {
            target,
            snapshot,
            rows,
            bytes,
            opens: window.opens,
            due: window.due,
            round: Round {
                number: 1,
                ..Round::default()
            },
            last: None,
            inside: None,
            said: Said::default(),
            copy: None,
            trouble: None,
            copy_trouble: None,
        }
    }

    /// Its window.
    pub const fn window(&self) -> Window {
        Window {
            opens: self.opens,
            due: self.due,
        }
    }

    /// Work that is left of this round.
    pub fn left(&self) -> u64 {
        let rows = self.rows.saturating_sub(self.round.next);
        let bytes = self.bytes.saturating_sub(self.round.passed);
        let inside = self.inside.as_ref().map_or(0, |inside| inside.at);
        let left = rows.saturating_mul(ROW).saturating_add(bytes);
        // A round that has not ended has work to do: to say that it did.
        left.saturating_sub(inside).max(1)
    }

    /// Ends the round and opens the next.
    pub fn turn(&mut self, window: Window) {
        let number = self.round.number + 1;
        let next = Round {
            number,
            ..Round::default()
        };
        self.last = Some(std::mem::replace(&mut self.round, next));
        self.inside = None;
        (self.opens, self.due) = (window.opens, window.due);
    }
}

/// Where these files lie.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// Opens the folder, or makes it.
    pub fn open(data: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = data.join("fixity");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        durable::sync_folder(&folder)?;
        Ok(Self(folder))
    }

    /// The folder of an agent, whether it is there or not, to look at.
    pub fn look(data: &Path) -> Self {
        Self(data.join("fixity"))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn state(&self, snapshot: &SnapshotId) -> PathBuf {
        self.file(&format!("{snapshot}.json"))
    }

    /// Puts a state on disk.
    pub fn put(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec(state)?;
        durable::write(&self.state(&state.snapshot), 0o600, &text)
    }

    /// The state of a snapshot.
    pub fn get(&self, snapshot: &SnapshotId) -> io::Result<Option<State>> {
        match fs::read(self.state(snapshot)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All snapshots that have a state.
    pub fn all(&self) -> io::Result<Vec<SnapshotId>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            found.extend(id.and_then(|id| id.parse::<SnapshotId>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Forgets a snapshot that is held no more.
    pub fn forget(&self, snapshot: &SnapshotId) -> io::Result<()> {
        let register = self.file(&format!("{snapshot}.register.jsonl"));
        for path in [register, self.state(snapshot)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

//! The register of unreadable items: which rows cannot be read or are not what they were, and
//! which parts of their files fail.
//!
//! One JSON object a line, in the agent's data folder and nowhere else: it has paths, so none of
//! it goes into the ledger. Later lines about a row replace earlier ones. Bounded: a disk that is
//! lost whole has a count, and its first rows here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use custody::{digest::Digest, id::SnapshotId, time::Time};
use serde::{Deserialize, Serialize};

use super::state::{Shelf, Told};
use crate::durable;

/// Rows of one snapshot that are named.
const MOST: usize = 100_000;
/// The longest line that is read.
const LONGEST: u64 = 1 << 20;

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// Its bytes are not those of the manifest.
    Differs,
    /// It cannot be read.
    Unreadable,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The manifest's row.
    pub row: u64,
    /// What is wrong; nothing any more where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
    /// Its path below the target; what is no UTF-8 is shown as well as can be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The same, raw, hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_hex: String,
    /// Its leaf in the manifest's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Digest>,
    /// Its size.
    #[serde(default)]
    pub size: u64,
    /// Why it cannot be read, such as `EIO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The parts that cannot be read: first byte, and one past the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u64, u64)>,
    /// Whether the last of these parts was not tried to its end, since too much failed before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gave_up: bool,
    /// Whether the second copy has the right bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// In which round it was read last.
    pub round: u64,
    /// When.
    pub noticed: Time,
}

impl Item {
    /// A row that is well again.
    pub fn well(row: u64, round: u64, noticed: Time) -> Self {
        Self {
            row,
            wrong: None,
            path: String::new(),
            path_hex: String::new(),
            leaf: None,
            size: 0,
            reason: None,
            ranges: Vec::new(),
            gave_up: false,
            copy: false,
            round,
            noticed,
        }
    }
}

/// The register of one snapshot.
#[derive(Debug)]
pub struct Register {
    path: PathBuf,
    rows: BTreeMap<u64, (Wrong, u64)>,
    fresh: Vec<Item>,
}

impl Register {
    /// Reads what there is. A line that a crash cut off is passed over: its row is read again.
    pub fn open(shelf: &Shelf, snapshot: &SnapshotId) -> io::Result<Self> {
        let path = shelf.file(&format!("{snapshot}.register.jsonl"));
        let mut rows = BTreeMap::new();
        each(&path, |item| match item.wrong {
            Some(wrong) => drop(rows.insert(item.row, (wrong, item.round))),
            None => drop(rows.remove(&item.row)),
        })?;
        Ok(Self {
            path,
            rows,
            fresh: Vec::new(),
        })
    }

    /// All items of a snapshot as they are now, in the order of rows.
    pub fn items(shelf: &Shelf, snapshot: &SnapshotId) -> io::Result<Vec<Item>> {
        let mut items = BTreeMap::new();
        each(
            &shelf.file(&format!("{snapshot}.register.jsonl")),
            |item| match item.wrong {
                Some(_) => drop(items.insert(item.row, item)),
                None => drop(items.remove(&item.row)),
            },
        )?;
        Ok(items.into_values().collect())
    }

    /// Notes what was found; it is on disk after the next [`Register::flush`].
    pub fn note(&mut self, item: Item) {
        match item.wrong {
            None => {
                if self.rows.remove(&item.row).is_none() {
                    return;
                }
            }
            Some(wrong) => {
                if self.rows.len() >= MOST && !self.rows.contains_key(&item.row) {
                    return;
                }
                self.rows.insert(item.row, (wrong, item.round));
            }
        }
        self.fresh.push(item);
    }

    /// What is wrong with a row, as far as is known.
    pub fn wrong(&self, row: u64) -> Option<Wrong> {
        self.rows.get(&row).map(|(wrong, _)| *wrong)
    }

    /// Rows of one kind.
    pub fn count(&self, kind: Wrong) -> u64 {
        self.rows
            .values()
            .filter(|(wrong, _)| *wrong == kind)
            .count() as u64
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Which rows of one kind there are, in short.
    pub fn told(&self, kind: Wrong) -> Told {
        use sha2::{Digest as _, Sha256};
        let (mut hasher, mut count) = (Sha256::new(), 0);
        for (row, _) in self.rows.iter().filter(|(_, (wrong, _))| *wrong == kind) {
            hasher.update(row.to_be_bytes());
            count += 1;
        }
        Told {
            count,
            rows: Digest::from_bytes(hasher.finalize().into()),
        }
    }

    /// Rows of one kind, the first ones.
    pub fn rows(&self, kind: Wrong, most: usize) -> Vec<u64> {
        let of_kind = self.rows.iter().filter(|(_, (wrong, _))| *wrong == kind);
        of_kind.take(most).map(|(row, _)| *row).collect()
    }

    /// Puts what is new on disk.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        let mut text = Vec::new();
        // A line that a crash cut off ends here.
        text.push(b'\n');
        for item in &self.fresh {
            serde_json::to_writer(&mut text, item)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()?;
        durable::sync_folder(&self.path)?;
        self.fresh.clear();
        Ok(())
    }

    /// Leaves one line a row, once a round ended. Rows that no round finds any more are gone.
    pub fn compact(&mut self, round: u64) -> io::Result<()> {
        self.flush()?;
        self.rows.retain(|_, (_, read)| *read >= round);
        if self.rows.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let mut newest: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let rows = &self.rows;
        let mut broken = None;
        each(&self.path, |item| {
            if rows.contains_key(&item.row) {
                match serde_json::to_vec(&item) {
                    Ok(line) => drop(newest.insert(item.row, line)),
                    Err(error) => broken = Some(error),
                }
            }
        })?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        let file = durable::create_aside(&self.path, 0o600)?;
        let mut out = io::BufWriter::new(file);
        for line in newest.values() {
            out.write_all(line)?;
            out.write_all(b"\n")?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        durable::publish(&file, &self.path)
    }
}

/// Gives every line that can be read.
fn each(path: &Path, mut take: impl FnMut(Item)) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let (mut lines, mut line) = (BufReader::new(file), Vec::new());
    loop {
        line.clear();
        if io::Read::take(&mut lines, LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(item) = serde_json::from_slice(&line) {
            take(item);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn item(row: u64, wrong: Wrong, round: u64) -> Item {
        Item {
            wrong: Some(wrong),
            path: format!("file {row}"),
            ranges: vec![(4096, 8192)],
            ..Item::well(row, round, Time::from_millis(7))
        }
    }

    #[test]
    fn a_register_reads_back_after_a_crash_and_forgets_what_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        let snapshot = SnapshotId::from_random([1; 16]);
        let mut register = Register::open(&shelf, &snapshot).unwrap();
        register.note(item(3, Wrong::Unreadable, 1));
        register.note(item(9, Wrong::Differs, 1));
        register.flush().unwrap();
        let path = shelf.file(&format!("{snapshot}.register.jsonl"));
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"row\": 11, \"wro").unwrap();
        drop(file);

        let mut register = Register::open(&shelf, &snapshot).unwrap();
        assert_eq!(register.wrong(3), Some(Wrong::Unreadable));
        assert_eq!(register.count(Wrong::Differs), 1);
        let before = register.told(Wrong::Differs);
        register.note(item(12, Wrong::Differs, 2));
        register.note(Item::well(9, 2, Time::from_millis(8)));
        register.note(item(3, Wrong::Unreadable, 2));
        register.flush().unwrap();
        assert_ne!(register.told(Wrong::Differs), before, "as many, others");
        register.compact(2).unwrap();
        let items = Register::items(&shelf, &snapshot).unwrap();
        let rows: Vec<_> = items.iter().map(|item| (item.row, item.wrong)).collect();
        let expected = [(3, Some(Wrong::Unreadable)), (12, Some(Wrong::Differs))];
        assert_eq!(rows, expected);
        assert_eq!(items[0].ranges, [(4096, 8192)]);
        register.compact(3).unwrap();
        assert!(register.is_empty() && !path.exists());
    }
}

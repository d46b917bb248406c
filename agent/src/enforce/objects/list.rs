//! The list of a target: every version that it holds, one line each, in the order of keys and
//! newest first, in a file beside the record (`TARGET.versions`).
//!
//! It is on disk, whole, before the first legal hold is set: which versions are ours to free, and
//! which were held by others before us, can be told for ever after. It is written and read in a
//! stream; its SHA-256 stands in the record.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use custody::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{
    calls::Listed,
    trouble::{StoreTrouble, own},
};
use crate::{capture::seal::digest_of, durable};

const READ: &str = "the list of held versions cannot be read";
const WRITE: &str = "the list of held versions cannot be written";

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of this format.
    format: u8,
    /// The moment of the hold by the store's clock, nanoseconds since 1970.
    pub as_of_ns: i64,
}

/// A version that a target holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The key.
    pub key: String,
    /// The version's id.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// The store's mark of its content.
    pub etag: String,
    /// When it was written, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Storage class.
    pub class: String,
    /// A delete marker: recorded, and not to be held.
    #[serde(default, skip_serializing_if = "is_not")]
    pub marker: bool,
    /// The newest of its key at the moment of the hold.
    #[serde(default, skip_serializing_if = "is_not")]
    pub current: bool,
    /// Under a legal hold that was not ours: it stays when we go.
    #[serde(default, skip_serializing_if = "is_not")]
    pub theirs: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

impl Held {
    /// As a listing gave it.
    pub fn of(listed: Listed, current: bool, theirs: bool) -> Self {
        Self {
            key: listed.key,
            id: listed.id,
            size: listed.size,
            etag: listed.etag,
            modified_ns: listed.modified_ns,
            class: listed.class,
            marker: listed.marker,
            current,
            theirs,
        }
    }
}

/// What a list came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Versions with content.
    pub versions: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Delete markers.
    pub markers: u64,
    /// Versions that others held before.
    pub theirs: u64,
}

/// Writes a list.
pub struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    counts: Counts,
}

impl Writer {
    /// Begins a list aside of where it will stand.
    pub fn create(path: &Path, as_of_ns: i64) -> Result<Self, StoreTrouble> {
        let file = durable::create_aside(path, 0o600).map_err(own(WRITE))?;
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
            counts: Counts {
                digest: Digest::of(b""),
                versions: 0,
                bytes: 0,
                markers: 0,
                theirs: 0,
            },
        };
        let head = Head {
            format: 1,
            as_of_ns,
        };
        writer.line(&head).map_err(own(WRITE))?;
        Ok(writer)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Adds a version.
    pub fn push(&mut self, held: &Held) -> Result<(), StoreTrouble> {
        if held.marker {
            self.counts.markers += 1;
        } else {
            self.counts.versions += 1;
            self.counts.bytes = self.counts.bytes.saturating_add(held.size);
        }
        self.counts.theirs += u64::from(held.theirs);
        self.line(held).map_err(own(WRITE))
    }

    /// Puts the list in its place, durably.
    pub fn finish(mut self) -> Result<Counts, StoreTrouble> {
        let publish = || -> io::Result<Counts> {
            self.out.flush()?;
            durable::publish(self.out.get_ref(), &self.path)?;
            self.counts.digest = digest_of(&self.path)?.0;
            Ok(self.counts)
        };
        let mut publish = publish;
        publish().map_err(own(WRITE))
    }
}

/// Reads a list, version by version.
#[derive(Debug)]
pub struct Reader {
    lines: BufReader<File>,
    /// Its first line.
    pub head: Head,
    ahead: Option<Held>,
}

impl Reader {
    /// Opens a list that has the digest which the record says.
    pub fn open(path: &Path, digest: Option<Digest>) -> Result<Self, StoreTrouble> {
        let (found, _) = digest_of(path).map_err(own(READ))?;
        if digest.is_some_and(|digest| digest != found) {
            return Err(StoreTrouble::ListChanged);
        }
        let mut lines = BufReader::new(File::open(path).map_err(own(READ))?);
        let mut first = Vec::new();
        lines.read_until(b'\n', &mut first).map_err(own(READ))?;
        let head: Head = serde_json::from_slice(&first).map_err(|_| StoreTrouble::ListChanged)?;
        if head.format != 1 {
            return Err(StoreTrouble::ListChanged);
        }
        Ok(Self {
            lines,
            head,
            ahead: None,
        })
    }

    /// The next version.
    pub fn held(&mut self) -> Result<Option<Held>, StoreTrouble> {
        if let Some(held) = self.ahead.take() {
            return Ok(Some(held));
        }
        let mut line = Vec::new();
        if self.lines.read_until(b'\n', &mut line).map_err(own(READ))? == 0 {
            return Ok(None);
        }
        let held = serde_json::from_slice(&line).map_err(|_| StoreTrouble::ListChanged)?;
        Ok(Some(held))
    }

    /// At most so many of the next versions.
    pub fn some(&mut self, most: usize) -> Result<Vec<Held>, StoreTrouble> {
        let mut some = Vec::new();
        while some.len() < most
            && let Some(held) = self.held()?
        {
            some.push(held);
        }
        Ok(some)
    }

    /// All versions of the next key.
    pub fn group(&mut self) -> Result<Vec<Held>, StoreTrouble> {
        let mut group: Vec<Held> = Vec::new();
        while let Some(held) = self.held()? {
            if group.first().is_some_and(|first| first.key != held.key) {
                self.ahead = Some(held);
                break;
            }
            group.push(held);
        }
        Ok(group)
    }

    /// All versions of a key, which must not come before one that was asked for already.
    pub fn of_key(&mut self, key: &str) -> Result<Vec<Held>, StoreTrouble> {
        while let Some(held) = self.held()? {
            if held.key.as_str() >= key {
                let found = held.key == key;
                self.ahead = Some(held);
                return if found { self.group() } else { Ok(Vec::new()) };
            }
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn held(key: &str, id: &str) -> Held {
        Held {
            key: key.to_owned(),
            id: id.to_owned(),
            size: 3,
            etag: "\"e\"".to_owned(),
            modified_ns: 7,
            class: "STANDARD".to_owned(),
            marker: id == "m",
            current: false,
            theirs: id == "t",
        }
    }

    #[test]
    fn a_list_reads_back_by_version_and_by_key_and_a_changed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versions");
        let all = [
            held("a", "1"),
            held("a\u{1}\n", "t"),
            held("b", "m"),
            held("b", "2"),
        ];
        let mut writer = Writer::create(&path, 9).unwrap();
        all.iter().for_each(|one| writer.push(one).unwrap());
        assert!(!path.exists(), "it is not there before it is whole");
        let counts = writer.finish().unwrap();
        assert_eq!((counts.versions, counts.markers), (3, 1));
        assert_eq!((counts.bytes, counts.theirs), (9, 1));

        let open = || Reader::open(&path, Some(counts.digest)).unwrap();
        assert_eq!(open().head.as_of_ns, 9);
        assert_eq!(open().some(10).unwrap(), all);
        let mut reader = open();
        assert_eq!(reader.of_key("0").unwrap(), []);
        assert_eq!(reader.of_key("a").unwrap(), all[..1]);
        assert_eq!(reader.of_key("aa").unwrap(), []);
        assert_eq!(reader.of_key("b").unwrap(), all[2..]);
        assert_eq!(reader.of_key("c").unwrap(), []);

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"2\"", "\"3\"")).unwrap();
        let refused = Reader::open(&path, Some(counts.digest)).unwrap_err();
        assert!(matches!(refused, StoreTrouble::ListChanged));
    }
}

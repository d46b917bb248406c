//! Parts as they stand in a file: rows of files that were hashed, many to a frame.
//!
//! A row is, big-endian: u16 bytes that its path shares with the row before it in the frame, u16
//! and the rest of the path, then inode, size, mtime, ctime and holes of 8 bytes each, and the
//! 32 bytes of SHA-256.

use std::path::Path;

use custody::{digest::Digest, id::SnapshotId};

use super::marks::{Known, Mark};
use crate::journal::frame::{Frames, Kind, Next};

/// The longest path that is kept.
const LONGEST: usize = 16 << 10;

/// Adds a row behind the one with the path `last`; `false` where its path is too long.
pub(super) fn encode(out: &mut Vec<u8>, last: &[u8], path: &[u8], known: &Known) -> bool {
    let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
    let short = |length: usize| u16::try_from(length).ok();
    let (Some(same), Some(rest)) = (short(shared), short(path.len() - shared)) else {
        return false;
    };
    if path.len() > LONGEST {
        return false;
    }
    out.extend_from_slice(&same.to_be_bytes());
    out.extend_from_slice(&rest.to_be_bytes());
    out.extend_from_slice(&path[shared..]);
    out.extend_from_slice(&known.mark.inode.to_be_bytes());
    out.extend_from_slice(&known.mark.size.to_be_bytes());
    out.extend_from_slice(&known.mark.mtime_ns.to_be_bytes());
    out.extend_from_slice(&known.mark.ctime_ns.to_be_bytes());
    out.extend_from_slice(&known.holes.to_be_bytes());
    out.extend_from_slice(known.digest.as_bytes());
    true
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: Vec<u8>,
    pub(super) known: Known,
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// Reads the row behind the one with the path `last`.
fn decode(bytes: &mut &[u8], last: &[u8]) -> Option<Part> {
    let same = usize::from(u16::from_be_bytes(array(bytes)?));
    let rest = usize::from(u16::from_be_bytes(array(bytes)?));
    let (own, behind) = bytes.split_at_checked(rest)?;
    let path = [last.get(..same)?, own].concat();
    *bytes = behind;
    let mark = Mark {
        inode: u64::from_be_bytes(array(bytes)?),
        size: u64::from_be_bytes(array(bytes)?),
        mtime_ns: i64::from_be_bytes(array(bytes)?),
        ctime_ns: i64::from_be_bytes(array(bytes)?),
    };
    let known = Known {
        mark,
        holes: u64::from_be_bytes(array(bytes)?),
        digest: Digest::from_bytes(array(bytes)?),
    };
    Some(Part { path, known })
}

/// Reads a log, a frame in memory at a time.
pub(super) struct Parts {
    frames: Frames,
    frame: Vec<u8>,
    at: usize,
    last: Vec<u8>,
}

impl Parts {
    /// Opens the log of a snapshot; `None` where it is none, or another's.
    pub(super) fn open(path: &Path, snapshot: &SnapshotId) -> Option<Self> {
        let mut frames = Frames::open(path).ok()?;
        match frames.read() {
            Ok(Next::Frame(Kind::Start, head)) if head == snapshot.to_string().as_bytes() => {
                Some(Self {
                    frames,
                    frame: Vec::new(),
                    at: 0,
                    last: Vec::new(),
                })
            }
            _ => None,
        }
    }

    /// The next row; none at the end of what is whole.
    pub(super) fn next(&mut self) -> Option<Part> {
        while self.at == self.frame.len() {
            match self.frames.read() {
                Ok(Next::Frame(Kind::Note, frame)) => {
                    (self.frame, self.at) = (frame, 0);
                    self.last.clear();
                }
                _ => return None,
            }
        }
        let mut rest = &self.frame[self.at..];
        let part = decode(&mut rest, &self.last);
        self.at = self.frame.len() - rest.len();
        match part {
            Some(part) => {
                self.last.clone_from(&part.path);
                Some(part)
            }
            None => {
                // A frame that is whole and makes no sense: nothing of it is believed.
                self.at = self.frame.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known(n: u64) -> Known {
        Known {
            mark: Mark {
                inode: n,
                size: n << 40,
                mtime_ns: -1,
                ctime_ns: i64::MAX,
            },
            digest: Digest::of(&n.to_be_bytes()),
            holes: n,
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_share_what_their_paths_share() {
        let paths = [
            &b"a"[..],
            b"a/long name/one",
            b"a/long name/two",
            b"\xff",
            b"",
        ];
        let (mut bytes, mut last) = (Vec::new(), Vec::new());
        for (n, path) in paths.iter().enumerate() {
            assert!(encode(&mut bytes, &last, path, &known(n as u64)));
            last = path.to_vec();
        }
        assert!(bytes.len() < paths.len() * 76 + 25, "{}", bytes.len());
        let (mut rest, mut last) = (&bytes[..], Vec::new());
        for (n, path) in paths.iter().enumerate() {
            let part = decode(&mut rest, &last).unwrap();
            assert_eq!((part.path.as_slice(), part.known), (*path, known(n as u64)));
            last = part.path;
        }
        assert!(rest.is_empty());
        for cut in 0..76 {
            assert!(decode(&mut &bytes[..cut], b"").is_none(), "{cut}");
        }
        assert!(!encode(
            &mut Vec::new(),
            b"",
            &vec![b'x'; LONGEST + 1],
            &known(1)
        ));
    }
}

//! Frames: what one record of the journal looks like on disk.
//!
//! `u32 big-endian length of what follows the hash || SHA-256(length || kind || payload) ||
//! kind || payload`. The hash covers the length too, so a flipped bit anywhere in a frame
//! is seen.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use custody::digest::Digest;

/// Bytes before the kind: length and hash.
const HEAD: usize = 4 + 32;
/// The most bytes that kind and payload may have together.
pub const LONGEST: usize = 128 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first of a segment: which segment it is and where the chain stood.
    Start,
    /// An entry's bytes, exactly.
    Entry,
    /// Something the agent notes for itself, as JSON.
    Note,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Entry => 2,
            Self::Note => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Start),
            2 => Some(Self::Entry),
            3 => Some(Self::Note),
            _ => None,
        }
    }
}

/// Writes one frame.
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX);
    let length = length.to_be_bytes();
    let hash = Digest::of_parts(&[&length, &[kind.code()], payload]);
    let mut out = Vec::with_capacity(HEAD + 1 + payload.len());
    out.extend_from_slice(&length);
    out.extend_from_slice(hash.as_bytes());
    out.push(kind.code());
    out.extend_from_slice(payload);
    out
}

/// Reads the frame at the beginning of `bytes`; gives it and how long it is.
fn decode(bytes: &[u8]) -> Option<(Kind, &[u8], usize)> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if length == 0 || length > LONGEST {
        return None;
    }
    let body = bytes.get(HEAD..HEAD.checked_add(length)?)?;
    let hash = Digest::of_parts(&[&bytes[..4], body]);
    if hash.as_bytes() != &bytes[4..HEAD] {
        return None;
    }
    Some((Kind::from_code(body[0])?, &body[1..], HEAD + length))
}

/// What comes next in a file of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole frame.
    Frame(Kind, Vec<u8>),
    /// The end, right behind a whole frame.
    End,
    /// The last write before a crash did not get through: nothing whole follows.
    Torn,
    /// A frame is damaged, and it is not the last thing in the file.
    Damaged,
}

/// Reads frames in order, one in memory at a time.
pub struct Frames {
    file: BufReader<File>,
    at: u64,
}

impl Frames {
    /// Opens a file of frames at its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            at: 0,
        })
    }

    /// Where the next frame begins.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The next frame. Anything but a frame leaves the reader where it is.
    pub fn read(&mut self) -> io::Result<Next> {
        let mut bytes = vec![0; HEAD];
        let got = self.fill(&mut bytes)?;
        if got == 0 {
            return Ok(Next::End);
        }
        if got == HEAD {
            let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            if (1..=LONGEST).contains(&length) {
                bytes.resize(HEAD + length, 0);
                if self.fill(&mut bytes[HEAD..])? == length
                    && let Some((kind, payload, whole)) = decode(&bytes)
                {
                    let payload = payload.to_vec();
                    self.at += whole as u64;
                    return Ok(Next::Frame(kind, payload));
                }
            }
        }
        self.what_follows()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.file.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    /// Tells a write that did not get through from damage. Each frame is flushed before the
    /// next is written, so at most one can be torn, and no whole one can stand behind it.
    fn what_follows(&mut self) -> io::Result<Next> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let most = HEAD + LONGEST;
        let mut tail = Vec::new();
        (&mut self.file)
            .take(most as u64 + 1)
            .read_to_end(&mut tail)?;
        self.file.seek(SeekFrom::Start(self.at))?;
        let later = (1..tail.len()).any(|from| decode(&tail[from..]).is_some());
        Ok(if later || tail.len() > most {
            Next::Damaged
        } else {
            Next::Torn
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_all(bytes: &[u8]) -> (usize, Next) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut frames = Frames::open(file.path()).unwrap();
        let mut count = 0;
        loop {
            match frames.read().unwrap() {
                Next::Frame(..) => count += 1,
                end => return (count, end),
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen_and_only_the_last_frame_can_be_torn() {
        let mut bytes = Vec::new();
        for payload in [&b"one"[..], b"two", b"three"] {
            bytes.extend(encode(Kind::Note, payload));
        }
        assert_eq!(read_all(&bytes), (3, Next::End));
        let last = bytes.len() - encode(Kind::Note, b"three").len();
        for at in 0..bytes.len() {
            for bit in [0, 7] {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                let (count, end) = read_all(&other);
                let torn = at >= last;
                assert_eq!(end, if torn { Next::Torn } else { Next::Damaged }, "{at}");
                assert!(count < 3);
            }
        }
        for cut in last + 1..bytes.len() {
            assert_eq!(read_all(&bytes[..cut]), (2, Next::Torn));
        }
    }
}

//! Reads one file again, from its disk and not from memory, and says which parts of it fail.
//!
//! Content goes past the page cache where the file system can (O_DIRECT): pages that the host
//! works with stay, no evidence takes their place, and what is hashed is what the medium has.
//! Where it cannot, what is cached of the file is let go of first. Holes are hashed without
//! being read. A long file can be left in its midst and gone on with.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use custody::digest::Digest;
use rustix::{
    fs::{Advice, OFlags, SeekFrom, fadvise, fcntl_getfl, fcntl_setfl, fstat, seek},
    io::Errno,
};
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState as _, SerializedState},
};

use super::{
    failed::{Failed, MOST_FAILED, probe},
    state::Inside,
};
use crate::capture::hash::BUFFER;

/// What a disk reads at least, and what memory must be aligned to for it.
pub const BLOCK: usize = 4096;
/// Files of this size on are gone on with in their midst.
pub const LONG: u64 = 64 << 20;

/// What reading a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its bytes are those that were expected.
    Same,
    /// They are not, or there are more or fewer of them, or something else stands there.
    Differs,
    /// It cannot be read.
    Unreadable {
        /// Why, such as `EIO`.
        reason: String,
        /// Which parts: first byte, and one past the last.
        ranges: Vec<(u64, u64)>,
        /// Whether the last part was not tried to its end.
        gave_up: bool,
    },
    /// It was stopped, somewhere inside where that can be gone on with.
    Stopped(Option<Inside>),
}

/// What goes on around reading.
pub trait Around {
    /// Asked before every read of at most so many bytes; may wait. False: stop.
    fn may_read(&mut self, bytes: usize) -> bool;

    /// Whether a long file is to be left in its midst, and gone on with later.
    fn leaves(&mut self) -> bool {
        false
    }

    /// Takes what was read, in order, without what is in holes. False: stop.
    fn got(&mut self, _at: u64, _bytes: &[u8]) -> bool {
        true
    }
}

/// A buffer that disks can write to directly.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    from: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        let bytes = vec![0; BUFFER + BLOCK];
        let from = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, from }
    }
}

impl Buffer {
    pub(super) fn slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + BUFFER]
    }
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The row, for going on.
    pub row: u64,
    /// Its length.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// What must be the same for content to be the same.
fn stamp(file: &File) -> Option<[i64; 4]> {
    let stat = fstat(file).ok()?;
    let nanos = i64::try_from(stat.st_ctime_nsec).unwrap_or(0);
    Some([
        stat.st_dev.cast_signed(),
        stat.st_ino.cast_signed(),
        stat.st_size,
        stat.st_ctime
            .saturating_mul(1_000_000_000)
            .saturating_add(nanos),
    ])
}

/// Asks the kernel to read past its cache. What it cannot is read through it, once what it has of
/// the file is let go of.
fn past_the_cache(file: &File) {
    let direct = fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT));
    if direct.is_err() {
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    }
}

/// Reads through the cache from here on; says whether that is news.
fn through_the_cache(file: &File) -> bool {
    let flags = fcntl_getfl(file).unwrap_or(OFlags::empty());
    let was = flags.contains(OFlags::DIRECT);
    let _ = fadvise(file, 0, None, Advice::DontNeed);
    was && fcntl_setfl(file, flags - OFlags::DIRECT).is_ok()
}

fn resume(from: Option<&Inside>, row: u64, stamp: Option<[i64; 4]>) -> Option<(Sha256, u64)> {
    let from = from.filter(|from| from.row == row && Some(from.stamp) == stamp)?;
    let mut state = SerializedState::<Sha256>::default();
    hex::decode_to_slice(&from.hash, &mut state).ok()?;
    Some((Sha256::deserialize(&state).ok()?, from.at))
}

fn inside(row: u64, at: u64, hasher: &Sha256, stamp: Option<[i64; 4]>) -> Option<Inside> {
    Some(Inside {
        row,
        at,
        hash: hex::encode(hasher.serialize()),
        stamp: stamp?,
    })
}

/// One read at a place, however often it is interrupted.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    loop {
        match file.read_at(buffer, at) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if errno(&error) == Errno::INVAL && through_the_cache(file) => {}
            Err(error) => return Err(errno(&error)),
        }
    }
}

/// Reads a file of a disk whole and compares it with what is expected.
pub fn file(
    file: &File,
    expected: &Expected,
    from: Option<&Inside>,
    buffer: &mut Buffer,
    around: &mut dyn Around,
) -> Outcome {
    let (size, stamp) = (expected.size, stamp(file));
    past_the_cache(file);
    let (mut hasher, mut at) = resume(from, expected.row, stamp).unwrap_or_default();
    let mut failed = Failed::default();
    let leave = |hasher: &Sha256, at| {
        let long = size >= LONG;
        long.then(|| inside(expected.row, at, hasher, stamp))
            .flatten()
    };
    while at < size {
        at = match hole(file, at, size) {
            Ok(data) if failed.is_empty() => match zeros(&mut hasher, at, data, around) {
                true => data,
                false => return Outcome::Stopped(leave(&hasher, at)),
            },
            Ok(data) => data,
            Err(errno) => {
                failed.add(errno, at, size);
                failed.gave_up = true;
                break;
            }
        };
        let left = usize::try_from(size - at).unwrap_or(usize::MAX);
        let want = left.min(BUFFER);
        if want == 0 {
            break;
        }
        let leaves = size >= LONG && failed.is_empty() && around.leaves();
        if leaves || !around.may_read(want) {
            let whole = failed.is_empty();
            return Outcome::Stopped(whole.then(|| leave(&hasher, at)).flatten());
        }
        // Whole blocks, also at the end: a disk reads no less.
        let block = &mut buffer.slice()[..want.next_multiple_of(BLOCK).min(BUFFER)];
        match read_at(file, block, at) {
            Ok(0) => return failed.or(Outcome::Differs),
            Ok(count) => {
                let count = count.min(want);
                if failed.is_empty() {
                    hasher.update(&block[..count]);
                    if !around.got(at, &block[..count]) {
                        return Outcome::Stopped(None);
                    }
                }
                at += count as u64;
            }
            Err(errno) => {
                let end = at + want as u64;
                if !probe(
                    file,
                    errno,
                    (at, end),
                    &mut block[..BLOCK],
                    &mut failed,
                    around,
                ) {
                    return Outcome::Stopped(None);
                }
                if failed.ranges.len() >= MOST_FAILED || failed.tries >= MOST_FAILED {
                    failed.add(errno, end, size);
                    failed.gave_up = end < size;
                    break;
                }
                at = end;
            }
        }
    }
    let longer = fstat(file).is_ok_and(|stat| u64::try_from(stat.st_size) != Ok(size));
    let found = Digest::from_bytes(hasher.finalize().into());
    failed.or(if longer || found != expected.sha256 {
        Outcome::Differs
    } else {
        Outcome::Same
    })
}

/// Where data begins, from a place on; whole blocks before it are holes.
fn hole(file: &File, at: u64, size: u64) -> Result<u64, Errno> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(at.max(data.min(size) / BLOCK as u64 * BLOCK as u64)),
        Err(Errno::NXIO) => Ok(size),
        // It cannot be told where its holes are: then all of it is read.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
        Err(errno) => Err(errno),
    }
}

fn zeros(hasher: &mut Sha256, from: u64, until: u64, around: &mut dyn Around) -> bool {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = from;
    while at < until {
        // Nothing is read; but whoever wants to stop is not kept waiting for an hour of zeros.
        if (at - from).is_multiple_of(64 << 20) && at > from && !around.may_read(0) {
            return false;
        }
        let count = (until - at).min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..usize::try_from(count).unwrap_or(0)]);
        at += count;
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Stops after so many reads.
    struct Few(usize);

    impl Around for Few {
        fn may_read(&mut self, _: usize) -> bool {
            self.0 = self.0.saturating_sub(1);
            self.0 > 0
        }
    }

    fn expected(content: &[u8]) -> Expected {
        Expected {
            row: 4,
            size: content.len() as u64,
            sha256: Digest::of(content),
        }
    }

    fn read(file: &File, expected: &Expected) -> Outcome {
        super::file(
            file,
            expected,
            None,
            &mut Buffer::default(),
            &mut Few(usize::MAX),
        )
    }

    #[test]
    fn files_of_every_length_around_a_block_are_the_same_and_one_bit_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for length in [
            0,
            1,
            4095,
            4096,
            4097,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            3 * BUFFER + 77,
        ] {
            let content: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let path = folder.path().join(length.to_string());
            std::fs::write(&path, &content).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(read(&file, &expected(&content)), Outcome::Same, "{length}");
            let mut other = expected(&content);
            other.size += 1;
            assert_eq!(read(&file, &other), Outcome::Differs, "{length}, cut off");
            if length > 0 {
                let mut shorter = expected(&content[..length - 1]);
                assert_eq!(read(&file, &shorter), Outcome::Differs, "{length}, longer");
                shorter = expected(&content);
                shorter.sha256 = Digest::of(b"other");
                assert_eq!(read(&file, &shorter), Outcome::Differs, "{length}");
            }
        }
    }

    #[test]
    fn holes_are_hashed_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = File::create_new(&path).unwrap();
        file.set_len(40 << 20).unwrap();
        file.write_all_at(b"in the middle", (20 << 20) + 5).unwrap();
        let content = std::fs::read(&path).unwrap();
        let file = File::open(&path).unwrap();
        let mut few = Few(8);
        let outcome = super::file(
            &file,
            &expected(&content),
            None,
            &mut Buffer::default(),
            &mut few,
        );
        assert_eq!(outcome, Outcome::Same, "within a few reads");
    }

    #[test]
    fn a_long_file_goes_on_where_it_was_left_unless_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let content: Vec<u8> = (0..LONG + 12_345).map(|n| (n % 253) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let (file, expected) = (File::open(&path).unwrap(), expected(&content));
        let mut buffer = Buffer::default();
        let stopped = super::file(&file, &expected, None, &mut buffer, &mut Few(200));
        let Outcome::Stopped(Some(left)) = stopped else {
            panic!("{stopped:?}")
        };
        assert!(left.at > LONG / 2);
        let rest = usize::try_from(expected.size - left.at)
            .unwrap()
            .div_ceil(BUFFER)
            + 1;
        let on = super::file(
            &file,
            &expected,
            Some(&left),
            &mut buffer,
            &mut Few(rest + 1),
        );
        assert_eq!(on, Outcome::Same, "no more is read than was left");
        let other = Inside { row: 5, ..left };
        let again = super::file(
            &file,
            &expected,
            Some(&other),
            &mut buffer,
            &mut Few(rest + 1),
        );
        assert!(
            matches!(again, Outcome::Stopped(Some(_))),
            "from the beginning"
        );
    }
}

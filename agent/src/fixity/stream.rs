//! Reading what is no file of a disk, such as an object of a store.

use std::io::{self, Read};

use custody::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::read::{Around, Buffer, Expected, Outcome, errno};
use crate::capture::{hash::BUFFER, trouble::errno_word};

/// Reads what is no file of a disk, from its beginning to its end.
pub fn stream(
    mut from: impl Read,
    expected: &Expected,
    buffer: &mut Buffer,
    around: &mut dyn Around,
) -> Outcome {
    let (mut hasher, mut at) = (Sha256::new(), 0);
    loop {
        if !around.may_read(BUFFER) {
            return Outcome::Stopped(None);
        }
        match from.read(buffer.slice()) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer.slice()[..count]);
                if !around.got(at, &buffer.slice()[..count]) {
                    return Outcome::Stopped(None);
                }
                at += count as u64;
                if at > expected.size {
                    return Outcome::Differs;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Outcome::Unreadable {
                    reason: errno_word(errno(&error)),
                    ranges: vec![(at, expected.size)],
                    gave_up: true,
                };
            }
        }
    }
    let found = Digest::from_bytes(hasher.finalize().into());
    if at == expected.size && found == expected.sha256 {
        Outcome::Same
    } else {
        Outcome::Differs
    }
}

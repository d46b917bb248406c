//! Encryption to the owner: an age file (age-encryption.org/v1), streamed, hashed as it is
//! written.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use age::{Encryptor, stream::StreamWriter, x25519::Recipient};
use custody::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Hashes and counts what goes through to a file.
pub(super) struct Hashed {
    out: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether a text is a key that can be encrypted to.
pub fn recipient(text: &str) -> Option<Recipient> {
    text.trim().parse().ok()
}

/// Begins an age file for one owner.
pub(super) fn begin(owner: &Recipient, file: File) -> io::Result<StreamWriter<Hashed>> {
    let owner: &dyn age::Recipient = owner;
    let encryptor = Encryptor::with_recipients(std::iter::once(owner)).map_err(io::Error::other)?;
    encryptor.wrap_output(Hashed {
        out: BufWriter::with_capacity(1 << 20, file),
        hasher: Sha256::new(),
        bytes: 0,
    })
}

/// Ends it: gives the file back with its SHA-256 and length. Not flushed to disk yet.
pub(super) fn finish(stream: StreamWriter<Hashed>) -> io::Result<(File, Digest, u64)> {
    let hashed = stream.finish()?;
    let digest = Digest::from_bytes(hashed.hasher.finalize().into());
    let file = hashed
        .out
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    Ok((file, digest, hashed.bytes))
}

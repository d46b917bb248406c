//! Checks an upload whole against what its agent signed. Blocks: for worker threads only.

use std::{fs::File, io::Read as _, path::Path};

use custody::{
    digest::Digest,
    manifest::{
        file::{self, Reader},
        leaf::SnapshotKey,
    },
    statement::SnapshotSealed,
};
use sha2::{Digest as _, Sha256};

/// What a check came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// To the byte what was signed.
    Right,
    /// Something else: the SHA-256 of what came, and what is wrong with it.
    Differs(Digest, String),
}

/// SHA-256 of a file, in constant memory.
pub(crate) fn sha256(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Checks a file's bytes.
pub(crate) fn bytes(path: &Path, expected: &Digest) -> std::io::Result<Verdict> {
    let found = sha256(path)?;
    Ok(match found == *expected {
        true => Verdict::Right,
        false => Verdict::Differs(
            found,
            "its SHA-256 is not the one that was signed".to_owned(),
        ),
    })
}

/// Checks a manifest's bytes, recomputes its rows where the salt key is still there, and its
/// root from its leaves.
pub(crate) fn manifest(
    path: &Path,
    sealed: &SnapshotSealed,
    key: Option<&SnapshotKey>,
) -> std::io::Result<Verdict> {
    if let differs @ Verdict::Differs(..) = bytes(path, &sealed.manifest)? {
        return Ok(differs);
    }
    // From here on the bytes are those that were signed, and the agent itself is wrong.
    let differs = |why: String| Ok(Verdict::Differs(sealed.manifest, why));
    let checked =
        Reader::open(File::open(path)?).and_then(|reader| file::check(reader, key, &sealed.root));
    match checked {
        Ok(found)
            if found.erased == 0
                && (found.rows, found.bytes, found.unreadable)
                    == (sealed.rows, sealed.bytes, sealed.unreadable) =>
        {
            Ok(Verdict::Right)
        }
        Ok(_) => differs("its rows or bytes are not as many as were signed".to_owned()),
        Err(error) => differs(error.to_string()),
    }
}

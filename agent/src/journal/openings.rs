//! What opens the commitments of statements that are not yet recorded: a file beside each,
//! for its owner only, gone once the coordinator has both.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::commit::Opening;
use serde::{Deserialize, Serialize};

use crate::durable;

/// An opening as it is kept in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    field: String,
    r: String,
    value: String,
}

impl Stored {
    pub(super) fn new(opening: &Opening) -> Self {
        Self {
            field: opening.field.clone(),
            r: hex::encode(opening.r),
            value: STANDARD.encode(&opening.value),
        }
    }

    pub(super) fn opening(self) -> io::Result<Opening> {
        let mut r = [0; 32];
        hex::decode_to_slice(&self.r, &mut r).map_err(io::Error::other)?;
        let value = STANDARD.decode(&self.value).map_err(io::Error::other)?;
        Ok(Opening::new(self.field, value, r))
    }
}

fn path(folder: &Path, epoch: u64, seq: u64) -> PathBuf {
    folder.join(format!("{epoch}-{seq}.openings"))
}

/// Keeps openings durably, before the statement that they belong to counts.
pub(super) fn keep(folder: &Path, epoch: u64, seq: u64, openings: &[Opening]) -> io::Result<()> {
    let stored: Vec<_> = openings.iter().map(Stored::new).collect();
    let bytes = serde_json::to_vec(&stored)?;
    durable::write(&path(folder, epoch, seq), 0o600, &bytes)
}

/// The openings of a statement; none where none were kept.
pub(super) fn load(folder: &Path, epoch: u64, seq: u64) -> io::Result<Vec<Opening>> {
    let bytes = match fs::read(path(folder, epoch, seq)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let stored: Vec<Stored> = serde_json::from_slice(&bytes)?;
    stored.into_iter().map(Stored::opening).collect()
}

/// Removes the openings of one statement.
pub(super) fn remove(folder: &Path, epoch: u64, seq: u64) -> io::Result<()> {
    match fs::remove_file(path(folder, epoch, seq)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes openings that no unrecorded statement needs: of a statement that a crash kept
/// from being said, or of one that was recorded just before it.
pub(super) fn sweep(folder: &Path, needed: impl Fn(u64, u64) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let place = name
            .to_str()
            .and_then(|name| name.strip_suffix(".openings"))
            .and_then(|name| name.split_once('-'))
            .and_then(|(epoch, seq)| Some((epoch.parse().ok()?, seq.parse().ok()?)));
        if let Some((epoch, seq)) = place
            && !needed(epoch, seq)
        {
            remove(folder, epoch, seq)?;
        }
    }
    Ok(())
}

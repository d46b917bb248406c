//! Starts: compares what was signed, what is on disk and what the journal holds, before
//! anything new is signed.
//!
//! Files that are behind are written again from the journal. Anything that is *ahead* of the
//! journal, or that differs, is a [`Breach`]: most often a restored backup, and going on would
//! sign a second history.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use custody::ledger::{
    checkpoint::Checkpoint,
    note::NoteKey,
    tile::{Hashes as _, Tile, WIDTH},
    tree,
};

use super::{Breach, NotPublished, Publisher, edge::Edge, publish::blocking, read::Disk};
use crate::{
    config::Data,
    desk::Published,
    journal::{Checkpointed, Journal},
};

impl Publisher {
    /// Takes up a log where the last run left it.
    pub async fn start(
        journal: Arc<Journal>,
        data: &Data,
        key: Arc<NoteKey>,
    ) -> Result<(Self, Option<Published>), NotPublished> {
        let mut this = Self::new(journal, data, key);
        let size = this.journal.size().await?;
        let recorded = this.journal.checkpoint().await?;
        this.refuse_ahead(size, recorded.as_ref()).await?;
        let Some(recorded) = recorded else {
            return Ok((this, None));
        };
        let checkpoint = this.open(&recorded.note, "the journal")?;
        if checkpoint.size != recorded.size {
            return Err(Breach::Checkpoint {
                place: "the journal".to_owned(),
                why: "it is of another size than it is recorded under".to_owned(),
            }
            .into());
        }
        this.take_up(&checkpoint).await?;
        this.newest = Some(checkpoint.clone());
        // A run that died between recording and publishing leaves this to do.
        let published = this
            .show(checkpoint, recorded.note, &mut |_| Ok(()))
            .await?;
        Ok((this, Some(published)))
    }

    fn open(&self, note: &str, place: &str) -> Result<Checkpoint, Breach> {
        Checkpoint::open(note.as_bytes(), self.key.verifier()).map_err(|e| Breach::Checkpoint {
            place: place.to_owned(),
            why: e.to_string(),
        })
    }

    /// Refuses what goes further than the journal.
    async fn refuse_ahead(
        &self,
        size: u64,
        recorded: Option<&Checkpointed>,
    ) -> Result<(), NotPublished> {
        let known = recorded.map_or(0, |recorded| recorded.size);
        if known > size {
            return Err(Breach::CheckpointAhead {
                checkpoint: known,
                known: size,
            }
            .into());
        }
        let (public, kept) = (self.log.join("checkpoint"), self.checkpoints.clone());
        let (public, kept) =
            blocking(move || Ok((read_if_there(&public)?, largest_kept(&kept)?))).await?;
        let mut largest = kept;
        if let Some(note) = public {
            let public = self.open(&note, "log/checkpoint")?;
            largest = largest.max(public.size);
            let same = recorded.filter(|recorded| recorded.size == public.size);
            if let Some(recorded) = same
                && self.open(&recorded.note, "the journal")?.root != public.root
            {
                return Err(Breach::RootsDiffer(public.size).into());
            }
        }
        if largest > known {
            return Err(Breach::CheckpointAhead {
                checkpoint: largest,
                known,
            }
            .into());
        }
        let log = self.log.clone();
        match blocking(move || Ok(further(&log, size)?)).await? {
            None => Ok(()),
            Some(found) => Err(Breach::TilesAhead {
                journal: size,
                found,
            }
            .into()),
        }
    }

    /// Reads the edge off the tiles, or writes again all that is missing.
    async fn take_up(&mut self, checkpoint: &Checkpoint) -> Result<(), NotPublished> {
        let (log, size) = (self.log.clone(), checkpoint.size);
        let edge = blocking(move || {
            let disk = Disk::new(&log, size);
            if let Some(missing) = disk.missing() {
                tracing::warn!(file = %missing.display(), "a file of the log is missing: the log is \
                     written again from the journal");
                return Ok(None);
            }
            Ok(Edge::read(&disk))
        })
        .await?;
        match edge {
            Some(edge) if edge.root() == checkpoint.root => self.edge = edge,
            _ => {
                // Goes over every file: what is there must be equal to the byte.
                self.edge = Edge::default();
                self.write(size).await?;
            }
        }
        if self.edge.root() != checkpoint.root {
            return Err(Breach::RootsDiffer(size).into());
        }
        self.compare_last(size).await
    }

    /// Compares the journal's last entries with the leaves that were signed.
    async fn compare_last(&self, size: u64) -> Result<(), NotPublished> {
        let first = size.saturating_sub(1) / WIDTH * WIDTH;
        let entries = self.journal.entries(first, size).await?;
        let log = self.log.clone();
        blocking(move || {
            let disk = Disk::new(&log, size);
            let same = entries
                .iter()
                .all(|entry| disk.hash(0, entry.index) == Some(tree::leaf_hash(&entry.bytes)));
            match same {
                true => Ok(()),
                false => Err(Breach::RootsDiffer(size).into()),
            }
        })
        .await
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The size of the largest checkpoint that was kept.
fn largest_kept(folder: &Path) -> io::Result<u64> {
    let mut largest = 0;
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        if let Some(size) = name.to_str().and_then(|name| name.parse().ok()) {
            largest = largest.max(size);
        }
    }
    Ok(largest)
}

/// A file of the log that a log of that size does not have. Every larger log has been through
/// the tile in which this one ends, so only that place has to be looked at.
fn further(log: &Path, size: u64) -> io::Result<Option<PathBuf>> {
    let (index, most) = (size / WIDTH, size % WIDTH);
    let whole = Tile {
        level: 0,
        index,
        width: WIDTH,
    };
    for name in [whole.path(), whole.bundle_path()] {
        let path = log.join(&name);
        if path.exists() {
            return Ok(Some(path));
        }
        let partial = log.join(format!("{name}.p"));
        let found = match fs::read_dir(&partial) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for file in found {
            let file = file?;
            let width = file
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok());
            if width.is_some_and(|width| width > most) {
                return Ok(Some(file.path()));
            }
        }
    }
    Ok(None)
}

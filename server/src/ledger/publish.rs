//! Publishes: one way from what is committed to what everybody can see.

use std::{path::PathBuf, sync::Arc};

use custody::ledger::{
    checkpoint::Checkpoint,
    note::{NoteKey, SignedNote},
    tile::{self, Tile, WIDTH},
    tree,
};

use super::{
    Breach, NotPublished,
    edge::Edge,
    read::Disk,
    tiles::{Sink, Writing},
};
use crate::{
    config::Data,
    desk::{Published, StoredEntry},
    files,
    journal::{Journal, is_flush},
};

/// A step that is done. What a crash right after it leaves behind:
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Files that no checkpoint speaks of; the next start finds them equal.
    Written,
    /// The same.
    ReadBack,
    /// The same: a signature nobody has seen is none.
    Signed,
    /// A recorded checkpoint that is not public; the next start publishes it.
    Recorded,
    /// The same.
    Witnessed,
    /// The same, and its copy for ever.
    Kept,
    /// Nothing.
    Published,
}

/// Publishes one log. There is one for each log in the whole world.
pub struct Publisher {
    pub(super) journal: Arc<Journal>,
    pub(super) log: PathBuf,
    pub(super) checkpoints: PathBuf,
    pub(super) key: Arc<NoteKey>,
    /// The tree as it was written last.
    pub(super) edge: Edge,
    /// The newest checkpoint that was recorded.
    pub(super) newest: Option<Checkpoint>,
}

impl Publisher {
    pub(super) fn new(journal: Arc<Journal>, data: &Data, key: Arc<NoteKey>) -> Self {
        Self {
            journal,
            log: data.log(),
            checkpoints: data.checkpoints(),
            key,
            edge: Edge::default(),
            newest: None,
        }
    }

    /// The size of the newest checkpoint that was recorded.
    pub fn size(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.size)
    }

    /// Publishes the first `size` entries; answers `None` where that is nothing new. `after` is
    /// told of each step, and its error stops the run there.
    pub async fn publish(
        &mut self,
        size: u64,
        after: &mut (dyn FnMut(Step) -> std::io::Result<()> + Send),
    ) -> Result<Option<Published>, NotPublished> {
        let from = self.size();
        if size <= from {
            return Ok(None);
        }
        self.write(size).await?;
        after(Step::Written)?;
        let checkpoint = self.read_back(from, size).await?;
        after(Step::ReadBack)?;
        let mut note = checkpoint.sign(&self.key);
        after(Step::Signed)?;
        self.record(&checkpoint, &note).await?;
        after(Step::Recorded)?;
        self.witness(&mut note);
        after(Step::Witnessed)?;
        let published = self.show(checkpoint, note.to_string(), after).await?;
        Ok(Some(published))
    }

    /// Writes bundles and tiles up to `size`. What was written already is found equal.
    pub(super) async fn write(&mut self, size: u64) -> Result<(), NotPublished> {
        // Written ahead, by a run that was stopped: start again from what was recorded.
        let mut at = self.edge.size();
        while at < size {
            let first = at - at % WIDTH;
            // Several bundles a turn, so that catching up flushes folders less often.
            let last = (first + 8 * WIDTH).min(size);
            let entries = self.journal.entries(first, last).await?;
            let (log, mut edge) = (self.log.clone(), self.edge.clone());
            self.edge = blocking(move || {
                let mut writing = Writing::new(&log);
                put_entries(&mut edge, &entries, &mut writing)?;
                if last == size {
                    edge.finish(&mut writing)?;
                }
                writing.finish()?;
                Ok(edge)
            })
            .await?;
            at = last;
        }
        Ok(())
    }

    /// Reads back what was written and recomputes everything from it, as a verifier does.
    async fn read_back(&self, from: u64, size: u64) -> Result<Checkpoint, NotPublished> {
        let (log, newest, root) = (self.log.clone(), self.newest.clone(), self.edge.root());
        let origin = self.key.verifier().name().to_owned();
        blocking(move || {
            let disk = Disk::fresh(&log, size);
            disk.check_grown(from)?;
            if disk.root() != Some(root) {
                return Err(Breach::RootsDiffer(size).into());
            }
            if let Some(old) = &newest {
                disk.check_consistent(old, &root)?;
            }
            Ok(Checkpoint { origin, size, root })
        })
        .await
    }

    async fn record(
        &mut self,
        checkpoint: &Checkpoint,
        note: &SignedNote,
    ) -> Result<(), NotPublished> {
        let before = self.newest.as_ref().map(|newest| newest.size);
        let text = note.to_string();
        let recorded = self
            .journal
            .record_checkpoint(before, checkpoint.size, &text)
            .await;
        match recorded {
            Ok(true) => {}
            Ok(false) => return Err(Breach::Raced(self.size()).into()),
            // What can be read then need not be on disk.
            Err(error) if is_flush(&error) => return Err(error.into()),
            Err(error) => {
                // It may have been recorded all the same. Signing is deterministic, so the very
                // same note is the only thing that may stand there.
                let newest = self.journal.checkpoint().await?;
                match newest.filter(|newest| newest.size > before.unwrap_or(0)) {
                    None => return Err(error.into()),
                    Some(newest) if newest.note == text => {}
                    Some(_) => return Err(Breach::Raced(self.size()).into()),
                }
            }
        }
        self.newest = Some(checkpoint.clone());
        Ok(())
    }

    /// Where witnesses add their cosignatures to the note. None is configured in this version:
    /// the note goes out with the log's signature alone, and preserving never waits for them.
    #[allow(clippy::unused_self)]
    fn witness(&self, _note: &mut SignedNote) {}

    /// Keeps a recorded checkpoint for ever and lets everybody see it.
    pub(super) async fn show(
        &self,
        checkpoint: Checkpoint,
        note: String,
        after: &mut (dyn FnMut(Step) -> std::io::Result<()> + Send),
    ) -> Result<Published, NotPublished> {
        let kept = self.checkpoints.join(checkpoint.size.to_string());
        let text = note.clone();
        blocking(move || Ok(files::write(&kept, 0o644, text.as_bytes())?)).await?;
        after(Step::Kept)?;
        let (public, text) = (self.log.join("checkpoint"), note.clone());
        blocking(move || Ok(files::write(&public, 0o644, text.as_bytes())?)).await?;
        after(Step::Published)?;
        Ok(Published { checkpoint, note })
    }
}

/// Adds entries that begin with a bundle. Those the edge has already are only bundled.
pub(super) fn put_entries(
    edge: &mut Edge,
    entries: &[StoredEntry],
    sink: &mut dyn Sink,
) -> Result<(), NotPublished> {
    for part in entries.chunks(usize::try_from(WIDTH).unwrap_or(usize::MAX)) {
        let mut bundle = Vec::new();
        for entry in part {
            tile::put_entry(&mut bundle, &entry.bytes)
                .map_err(|e| std::io::Error::other(e.to_string()))?;
        }
        let name = Tile {
            level: 0,
            index: part[0].index / WIDTH,
            width: part.len() as u64,
        }
        .bundle_path();
        sink.put(&name, &bundle)?;
        let known = edge.size();
        for entry in part.iter().filter(|entry| entry.index >= known) {
            edge.push(tree::leaf_hash(&entry.bytes), sink)?;
        }
    }
    Ok(())
}

/// Runs what reads and writes files off the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotPublished> + Send + 'static,
) -> Result<T, NotPublished> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(std::io::Error::other(error).into()),
    }
}

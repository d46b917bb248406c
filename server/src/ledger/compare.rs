//! Compares: what the journal's entries give, beside the files that are there.
//!
//! It writes nothing and signs nothing, goes over every bundle and tile of one size in one pass,
//! and always ends: damage is a line in its report. Memory does not grow with the log.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custody::digest::Digest;

use super::{NotPublished, edge::Edge, publish::put_entries, tiles::Sink};
use crate::desk::StoredEntry;

/// A comparison under way.
pub struct Comparing {
    edge: Edge,
    files: Files,
}

impl Comparing {
    /// Begins a comparison with the files below a log's folder.
    pub fn new(log: &Path) -> Self {
        Self {
            edge: Edge::default(),
            files: Files {
                log: log.to_owned(),
                differences: Vec::new(),
            },
        }
    }

    /// Goes over the next entries, which begin a bundle and, but for the last, fill it.
    pub fn push(&mut self, entries: &[StoredEntry]) -> Result<(), NotPublished> {
        put_entries(&mut self.edge, entries, &mut self.files)
    }

    /// Goes over the last tiles; answers with the root of all entries.
    pub fn finish(&mut self) -> Result<Digest, NotPublished> {
        self.edge.finish(&mut self.files)?;
        Ok(self.edge.root())
    }

    /// What was found since this was asked last, a line each.
    pub fn take_differences(&mut self) -> Vec<String> {
        std::mem::take(&mut self.files.differences)
    }
}

struct Files {
    log: PathBuf,
    differences: Vec<String>,
}

impl Sink for Files {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), NotPublished> {
        let difference = match fs::read(self.log.join(name)) {
            Ok(found) if found == bytes => return Ok(()),
            Ok(_) => format!("log/{name} is not what the entries give"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("log/{name} is missing")
            }
            Err(error) => format!("log/{name} cannot be read: {error}"),
        };
        self.differences.push(difference);
        Ok(())
    }
}

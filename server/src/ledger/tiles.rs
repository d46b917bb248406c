//! The log's files: written aside, flushed, renamed, and never written over.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{Breach, NotPublished};
use crate::files;

/// Takes the log's files, one after the other.
pub(super) trait Sink {
    /// Takes one file by its name below the log's folder.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), NotPublished>;
}

/// Writes files below the log's folder and flushes their folders at the end.
pub(super) struct Writing<'a> {
    log: &'a Path,
    /// Folders with names that are not flushed yet.
    folders: BTreeSet<PathBuf>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(log: &'a Path) -> Self {
        Self {
            log,
            folders: BTreeSet::new(),
        }
    }

    fn note(&mut self, path: &Path) {
        if let Some(folder) = path.parent() {
            self.folders.insert(folder.to_owned());
        }
    }

    /// Makes the folders a file lies in, and remembers every one that got a new name.
    fn folder_of(&mut self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        let missing: Vec<_> = folder
            .ancestors()
            .take_while(|above| above.starts_with(self.log) && !above.exists())
            .map(Path::to_owned)
            .collect();
        files::folder(folder, 0o755)?;
        for made in missing {
            self.note(&made);
        }
        Ok(())
    }

    /// Flushes every folder that got a name.
    pub(super) fn finish(self) -> io::Result<()> {
        for folder in self.folders {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Sink for Writing<'_> {
    /// Puts a file in its place, or finds it there equal to the byte.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), NotPublished> {
        let path = self.log.join(name);
        match fs::read(&path) {
            Ok(found) if found == bytes => {
                // It may be there without its name being flushed: the last run may have died.
                self.note(&path);
                return Ok(());
            }
            Ok(_) => return Err(Breach::FileDiffers(path).into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        self.folder_of(&path)?;
        files::write_aside(&path, 0o644, bytes)?;
        self.note(&path);
        Ok(())
    }
}

/// Reads a file from the disk itself, where the kernel can be asked to forget what it kept.
pub(super) fn read_back(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // Only advice: where it is not taken the bytes come from the kernel's memory.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

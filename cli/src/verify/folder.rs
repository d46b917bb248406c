//! A log's files in a folder.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _},
    path::PathBuf,
};

use custody::verify::Files;

/// Reads below one folder. A symlink that the folder holds is read as what it points to, as
/// for any program; nothing is written.
pub(super) struct Folder(pub(super) PathBuf);

impl Files for Folder {
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if is_absent(error.kind()) => return Ok(None),
            Err(error) => return Err(format!("It cannot be opened: {error}")),
        };
        let kind = file
            .metadata()
            .map_err(|error| format!("It cannot be read: {error}"))?;
        if !kind.is_file() {
            return Err("It is no file".to_owned());
        }
        let mut bytes = Vec::new();
        file.take(most as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("It cannot be read: {error}"))?;
        Ok(Some(bytes))
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = match fs::read_dir(self.0.join(folder)) {
            Ok(entries) => entries,
            Err(error) if is_absent(error.kind()) => return Ok(Vec::new()),
            Err(error) => return Err(format!("It cannot be listed: {error}")),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names
            .collect::<std::io::Result<_>>()
            .map_err(|error| format!("It cannot be listed: {error}"))
    }
}

const fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

//! Durable files: written aside, flushed, renamed into place, and the folder flushed too.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes a file so that after a crash it is there whole or not at all.
///
/// Expected calls: open temp, write, fsync, rename, open folder, fsync.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut temp = create_aside(path, mode)?;
    temp.write_all(bytes)?;
    publish(&temp, path)
}

/// Creates the file beside `path` that [`publish`] will put in its place.
pub fn create_aside(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let temp = aside(path);
    match fs::remove_file(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temp)
}

/// Flushes what was written aside and puts it in place.
pub fn publish(temp: &File, path: &Path) -> io::Result<()> {
    temp.sync_all()?;
    fs::rename(aside(path), path)?;
    sync_folder(path)
}

/// Flushes the folder in which `path` stands.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Where a file is written aside.
pub fn aside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

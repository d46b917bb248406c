//! Durable files: written aside, flushed, renamed into place, and the folder flushed too.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes a file so that after a crash it is there whole or not at all.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, mode, bytes)?;
    sync_folder(path)
}

/// As [`write`], but the folder is still to be flushed: for many files of one folder.
pub fn write_aside(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    // What a crash left is not written on: its flushes may have failed.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let done = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&aside, path));
    if done.is_err() {
        let _ = fs::remove_file(&aside);
    }
    done
}

/// Flushes the folder in which `path` stands.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    // A bare name stands in the working folder.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Makes a folder that only this user can look into, if it is not there.
pub fn folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

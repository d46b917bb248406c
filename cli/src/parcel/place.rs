//! Where a parcel is opened to: a new folder that nothing is ever written outside of, or an
//! opened one that is only compared.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use custody::{digest::Digest, manifest::row::Row};
use sha2::{Digest as _, Sha256};

use super::{OpenError, Opened};

/// The folder, and what is kept for the end.
pub(super) struct Place {
    base: PathBuf,
    writes: bool,
    /// One snapshot's files stand in the folder itself, several snapshots' in `0`, `1`, ...
    flat: bool,
    symlinks: Vec<(PathBuf, Vec<u8>)>,
}

impl Place {
    /// A new folder, or one that is empty.
    pub(super) fn create(out: &Path) -> Result<Self, OpenError> {
        let made = fs::DirBuilder::new().mode(0o700).create(out);
        let empty = || fs::read_dir(out).is_ok_and(|mut names| names.next().is_none());
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && empty() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OpenError::Usage(format!(
                    "{} is there already and not empty. Name a new folder.",
                    out.display()
                )));
            }
            Err(error) => return Err(OpenError::world("make the folder", out, &error)),
        }
        let base = fs::canonicalize(out).map_err(|e| OpenError::world("find", out, &e))?;
        Ok(Self {
            base,
            writes: true,
            flat: true,
            symlinks: Vec::new(),
        })
    }

    /// A folder into which the parcel was opened before.
    pub(super) fn compare(opened: &Path) -> Self {
        Self {
            base: opened.to_owned(),
            writes: false,
            flat: true,
            symlinks: Vec::new(),
        }
    }

    /// Takes note of how many snapshots the rows are of.
    pub(super) fn settle(&mut self, parts: u64) -> Result<(), OpenError> {
        self.flat = parts <= 1;
        Ok(())
    }

    /// Where a row's thing stands; `None` for a path that could lead out.
    pub(super) fn path(&self, part: u64, path: &[u8]) -> Option<PathBuf> {
        let mut whole = self.base.clone();
        if !self.flat {
            whole.push(part.to_string());
        }
        if path == b"." {
            return Some(whole);
        }
        for name in path.split(|&b| b == b'/') {
            if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
                return None;
            }
            whole.push(OsStr::from_bytes(name));
        }
        Some(whole)
    }

    fn parents(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent.starts_with(&self.base) => fs::create_dir_all(parent),
            _ => Ok(()),
        }
    }

    /// Makes a folder, or sees that it is there.
    pub(super) fn folder(&self, path: &Path, row: &Row) -> io::Result<()> {
        if !self.writes {
            let there = fs::symlink_metadata(path)?.is_dir();
            return there
                .then_some(())
                .ok_or_else(|| io::ErrorKind::NotADirectory.into());
        }
        fs::create_dir_all(path)?;
        // Its owner can always work with it; set-id and sticky bits stay behind.
        fs::set_permissions(path, fs::Permissions::from_mode(row.mode & 0o777 | 0o700))
    }

    /// Keeps a symlink for the end, when nothing is written any more. Its folder is made now,
    /// while no symlink stands that could lead elsewhere.
    pub(super) fn symlink(&mut self, path: &Path, row: &Row) -> io::Result<()> {
        if self.writes {
            self.parents(path)?;
        }
        let target = row.target.clone().unwrap_or_default();
        self.symlinks.push((path.to_owned(), target));
        Ok(())
    }

    /// Begins a file.
    pub(super) fn file(&self, path: &Path) -> io::Result<FileWriter> {
        let mut file = None;
        if self.writes {
            self.parents(path)?;
            let mut options = File::options();
            options.write(true).create_new(true).mode(0o600);
            file = Some(options.open(path)?);
        }
        let hasher = Sha256::new();
        Ok(FileWriter { file, hasher })
    }

    /// Makes the symlinks.
    pub(super) fn finish(&mut self, opened: &mut Opened) -> Result<(), OpenError> {
        for (path, target) in std::mem::take(&mut self.symlinks) {
            let target = OsStr::from_bytes(&target);
            let made = if self.writes {
                symlink(target, &path)
            } else {
                match fs::read_link(&path) {
                    Ok(found) if found.as_os_str() == target => Ok(()),
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(error) => Err(error),
                }
            };
            match made {
                Ok(()) => opened.symlinks += 1,
                Err(error) => {
                    let name = path.display();
                    opened.wrong.push(format!(
                        "the symlink `{name}` is not as its row says: {error}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A file on its way: written, and hashed on the way.
pub(super) struct FileWriter {
    file: Option<File>,
    hasher: Sha256,
}

impl FileWriter {
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Whether its bytes are the row's; if not, nothing is left of it. When only comparing,
    /// what lies at the path must have the same bytes too.
    pub(super) fn finish(self, path: &Path, row: &Row) -> io::Result<bool> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let right = row.sha256 == Some(digest);
        let Some(file) = self.file else {
            return Ok(right && hash(path).is_ok_and(|found| row.sha256 == Some(found)));
        };
        if !right {
            drop(file);
            fs::remove_file(path)?;
            return Ok(false);
        }
        file.set_permissions(fs::Permissions::from_mode(row.mode & 0o777 | 0o600))?;
        if let Ok(since) = u64::try_from(row.mtime_ns) {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(since))?;
        }
        Ok(true)
    }
}

/// SHA-256 of a regular file; a symlink in its place is none.
fn hash(path: &Path) -> io::Result<Digest> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

//! Our own folders: moving about in a vault, filling and removing it, however deep it is.
//!
//! Only one folder is open at a time. `..` is followed here, and only here, because nobody else
//! can rename anything in a vault.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, fchmod, mkdirat, openat, symlinkat, unlinkat},
    io::Errno,
};

use super::flag;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open_folder(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// A place in a vault, which moves.
pub struct Cursor {
    at: OwnedFd,
    path: Vec<Vec<u8>>,
}

impl Cursor {
    /// Begins at a folder.
    pub fn new(base: OwnedFd) -> Self {
        let path = Vec::new();
        Self { at: base, path }
    }

    /// Moves to a folder below the beginning; `.` is the beginning itself.
    fn go(&mut self, folder: &[u8]) -> Result<(), Errno> {
        let parts = || {
            folder
                .split(|&b| b == b'/')
                .filter(|part| !matches!(*part, b"" | b"."))
        };
        let same = self
            .path
            .iter()
            .zip(parts())
            .take_while(|(a, b)| a == b)
            .count();
        while self.path.len() > same {
            self.at = open_folder(&self.at, b"..")?;
            self.path.pop();
        }
        for part in parts().skip(same) {
            self.at = open_folder(&self.at, part)?;
            self.path.push(part.to_vec());
        }
        Ok(())
    }

    /// Moves to the folder of a path, and gives the name in it.
    fn go_above<'p>(&mut self, path: &'p [u8]) -> Result<&'p [u8], Errno> {
        let cut = path.iter().rposition(|&b| b == b'/');
        let (folder, name) = cut.map_or((&b"."[..], path), |cut| (&path[..cut], &path[cut + 1..]));
        self.go(folder)?;
        Ok(name)
    }

    /// Makes a folder.
    pub fn make_folder(&mut self, path: &[u8]) -> Result<(), Errno> {
        let name = self.go_above(path)?;
        mkdirat(&self.at, name, Mode::from(0o700))
    }

    /// Makes a file, readable for its owner alone, and opens it for writing.
    pub fn make_file(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let name = self.go_above(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(&self.at, name, flags | OFlags::NOFOLLOW, Mode::from(0o400))
    }

    /// Opens a file for reading.
    pub fn open_file(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let name = self.go_above(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.at, name, flags, Mode::empty())
    }

    /// Makes a symbolic link; it is never followed.
    pub fn make_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Errno> {
        let name = self.go_above(path)?;
        symlinkat(target, &self.at, name)
    }

    /// Removes a file or link that was made.
    pub fn remove(&mut self, path: &[u8]) -> Result<(), Errno> {
        let name = self.go_above(path)?;
        unlinkat(&self.at, name, AtFlags::empty())
    }
}

/// Empties a tree of our own and takes the flags in it off; one that is not there is empty.
pub fn empty_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let mut at = match open_folder(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut way = vec![name.to_vec()];
    loop {
        free(&at)?;
        match empty(&at)? {
            Some(folder) => {
                at = open_folder(&at, &folder)?;
                way.push(folder);
            }
            None => {
                let Some(name) = way.pop() else { return Ok(()) };
                if way.is_empty() {
                    return Ok(());
                }
                at = open_folder(&at, b"..")?;
                unlinkat(&at, &name[..], AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// Whether nothing is in a folder.
pub fn is_empty(folder: &OwnedFd) -> Result<bool, Errno> {
    let again = open_folder(folder, b".")?;
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = RawDir::new(&again, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a sealed folder changeable again.
fn free(folder: &OwnedFd) -> Result<(), Errno> {
    match flag::set(folder, false) {
        Err(errno) if !flag::is_no_flag_here(errno) => return Err(errno),
        _ => {}
    }
    fchmod(folder, Mode::from(0o700))
}

/// Removes all files of a folder; gives the first folder in it, if there is one.
fn empty(folder: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let again = open_folder(folder, b".")?;
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut names = Vec::new();
    let mut entries = RawDir::new(&again, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        match entry.file_type() {
            _ if matches!(name, b"." | b"..") => {}
            FileType::Directory => return Ok(Some(name.to_vec())),
            kind => names.push((name.to_vec(), kind)),
        }
        if names.len() >= 4096 {
            break;
        }
    }
    for (name, kind) in &names {
        if *kind == FileType::RegularFile {
            let file = openat(
                folder,
                &name[..],
                OFlags::RDONLY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            match flag::set(&file, false) {
                Err(errno) if !flag::is_no_flag_here(errno) => return Err(errno),
                _ => {}
            }
        }
        unlinkat(folder, &name[..], AtFlags::empty())?;
    }
    if names.is_empty() {
        Ok(None)
    } else {
        empty(folder)
    }
}

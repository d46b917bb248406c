//! A place for second copies: content by its hash, one folder a snapshot.
//!
//! Layout: `PATH/<snapshot id>/<first two digits>/<all digits of the SHA-256>`. Content that many
//! rows share is there once. Files are read-only, carry the immutable flag where the file system
//! has it, and have a name only once their bytes hash to it. Nothing else is ever written there,
//! and nothing is followed.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};

use custody::{digest::Digest, id::SnapshotId};
use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2,
        renameat, syncfs, unlinkat,
    },
    io::Errno,
};

use super::read::{self, Around, Buffer, Expected, Outcome};
use crate::enforce::{copy::free, flag, own};

/// Room that is left for others.
const RESERVE: u64 = 16 << 20;
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What keeping one content came to.
#[derive(Debug)]
pub enum Put {
    /// It is there.
    Kept,
    /// What was read of the original is not what was expected.
    Original(Outcome),
    /// The place has no room.
    Full,
    /// The place fails.
    Place(Errno),
}

/// An open place.
#[derive(Debug)]
pub struct Store {
    root: OwnedFd,
    /// Whether the immutable flag can be set here.
    pub seals: bool,
}

fn name(sha256: &Digest) -> (String, String) {
    let all = sha256.to_string();
    (all[..2].to_owned(), all)
}

impl Store {
    /// Opens a place: a folder of this agent's user that nobody else may write to.
    pub fn open(path: &Path) -> Result<Self, String> {
        let way = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let shown = path.display();
        let root = openat2(CWD, path, FOLDER, Mode::empty(), way).map_err(|errno| {
            format!("{shown} cannot be opened ({errno}). Mount it, or make the folder")
        })?;
        let stat =
            fstat(&root).map_err(|errno| format!("{shown} cannot be looked at ({errno})"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(format!(
                "{shown} belongs to others or others may write to it. Make it the agent's own: \
                 chown root, chmod 700"
            ));
        }
        let seals = rustix::process::geteuid().is_root() && flag::is_set(&root).is_ok();
        Ok(Self { root, seals })
    }

    /// The device of its file system.
    pub fn device(&self) -> Option<u64> {
        fstat(&self.root).ok().map(|stat| stat.st_dev)
    }

    /// Whether a snapshot's folder is there.
    pub fn has(&self, snapshot: &SnapshotId) -> bool {
        openat(&self.root, snapshot.to_string(), FOLDER, Mode::empty()).is_ok()
    }

    fn folder(&self, snapshot: &SnapshotId, first: &str) -> Result<OwnedFd, Errno> {
        let folder = openat(&self.root, snapshot.to_string(), FOLDER, Mode::empty())?;
        openat(&folder, first, FOLDER, Mode::empty())
    }

    fn make_folder(&self, snapshot: &SnapshotId, first: &str) -> Result<OwnedFd, Errno> {
        let make = |parent: &OwnedFd, name: &str| match mkdirat(parent, name, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => openat(parent, name, FOLDER, Mode::empty()),
            Err(errno) => Err(errno),
        };
        make(&make(&self.root, &snapshot.to_string())?, first)
    }

    /// Opens content for reading.
    pub fn content(&self, snapshot: &SnapshotId, sha256: &Digest) -> Result<File, Errno> {
        let (first, all) = name(sha256);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let folder = self.folder(snapshot, &first)?;
        openat(&folder, all, flags, Mode::empty()).map(File::from)
    }

    /// Reads content again and says whether it is what its name says.
    pub fn check(
        &self,
        snapshot: &SnapshotId,
        expected: &Expected,
        buffer: &mut Buffer,
        around: &mut dyn Around,
    ) -> Outcome {
        match self.content(snapshot, &expected.sha256) {
            Ok(file) => read::file(&file, expected, None, buffer, around),
            Err(_) => Outcome::Differs,
        }
    }

    /// Keeps content, in the place of what may stand there: read from `from`, hashed on the way,
    /// given its name only where it is what is expected. It is on disk after [`Store::flush`].
    pub fn put(
        &self,
        snapshot: &SnapshotId,
        expected: &Expected,
        from: &File,
        buffer: &mut Buffer,
        around: &mut dyn Around,
    ) -> Put {
        self.try_put(snapshot, expected, from, buffer, around)
            .unwrap_or_else(|errno| match errno {
                Errno::NOSPC | Errno::DQUOT => Put::Full,
                errno => Put::Place(errno),
            })
    }

    fn try_put(
        &self,
        snapshot: &SnapshotId,
        expected: &Expected,
        from: &File,
        buffer: &mut Buffer,
        around: &mut dyn Around,
    ) -> Result<Put, Errno> {
        let (first, all) = name(&expected.sha256);
        let folder = self.make_folder(snapshot, &first)?;
        let needed = expected.size.saturating_add(RESERVE);
        if free(&folder)?.is_some_and(|free| free < needed) {
            return Err(Errno::NOSPC);
        }
        let part = format!("{all}.part");
        remove(&folder, &part)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to = File::from(openat(
            &folder,
            &part,
            flags | OFlags::NOFOLLOW,
            Mode::from(0o400),
        )?);
        let mut sink = Sink {
            to: &to,
            around,
            trouble: None,
        };
        let outcome = read::file(from, expected, None, buffer, &mut sink);
        let trouble = sink.trouble;
        let kept = match (outcome, trouble) {
            (_, Some(errno)) => Err(errno),
            (Outcome::Same, None) => to
                .set_len(expected.size)
                .map_err(|e| errno(&e))
                .map(|()| Put::Kept),
            (outcome, None) => Ok(Put::Original(outcome)),
        };
        if !matches!(kept, Ok(Put::Kept)) {
            let _ = remove(&folder, &part);
            return kept;
        }
        remove(&folder, &all)?;
        renameat(&folder, &part, &folder, &all)?;
        if self.seals {
            let _ = flag::set(to.as_fd(), true);
        }
        Ok(Put::Kept)
    }

    /// Takes content out; what is not there is out.
    pub fn drop_content(&self, snapshot: &SnapshotId, sha256: &Digest) -> Result<(), Errno> {
        let (first, all) = name(sha256);
        match self.folder(snapshot, &first) {
            Err(Errno::NOENT) => Ok(()),
            folder => remove(&folder?, &all),
        }
    }

    /// Writes content into a file and says whether it was what is expected.
    pub fn restore(
        &self,
        snapshot: &SnapshotId,
        expected: &Expected,
        mut to: &File,
        buffer: &mut Buffer,
        around: &mut dyn Around,
    ) -> io::Result<bool> {
        let from = self.content(snapshot, &expected.sha256)?;
        to.rewind()?;
        to.set_len(0)?;
        let mut sink = Sink {
            to,
            around,
            trouble: None,
        };
        let outcome = read::file(&from, expected, None, buffer, &mut sink);
        if let Some(errno) = sink.trouble {
            return Err(errno.into());
        }
        to.set_len(expected.size)?;
        to.flush()?;
        Ok(outcome == Outcome::Same)
    }

    /// Puts all that was kept on disk.
    pub fn flush(&self) -> Result<(), Errno> {
        syncfs(&self.root)
    }

    /// Removes the copy of a snapshot that is held no more.
    pub fn forget(&self, snapshot: &SnapshotId) -> Result<(), Errno> {
        let name = snapshot.to_string();
        own::empty_tree(self.root.as_fd(), name.as_bytes())?;
        match unlinkat(&self.root, &name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Removes a file of ours, with its flag; one that is not there is removed.
fn remove(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Ok(file) => match flag::set(&file, false) {
            Err(errno) if !flag::is_no_flag_here(errno) => return Err(errno),
            _ => {
                let _ = fchmod(&file, Mode::from(0o600));
            }
        },
        // Whatever it is, it is not what its name says.
        Err(_) => {}
    }
    unlinkat(folder, name, AtFlags::empty())
}

/// Writes what is read.
struct Sink<'a> {
    to: &'a File,
    around: &'a mut dyn Around,
    trouble: Option<Errno>,
}

impl Around for Sink<'_> {
    fn may_read(&mut self, bytes: usize) -> bool {
        self.around.may_read(bytes)
    }

    fn got(&mut self, at: u64, bytes: &[u8]) -> bool {
        let written = self.to.write_all_at(bytes, at);
        self.trouble = written.err().map(|error| errno(&error));
        self.trouble.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Free;

    impl Around for Free {
        fn may_read(&mut self, _: usize) -> bool {
            true
        }
    }

    #[test]
    fn content_has_a_name_only_when_it_is_what_the_name_says() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let place = folder.path().canonicalize().unwrap();
        let store = Store::open(&place).unwrap();
        let snapshot = SnapshotId::from_random([3; 16]);
        let content = vec![7; 300_000];
        let from = place.join("original");
        std::fs::write(&from, &content).unwrap();
        let from = File::open(from).unwrap();
        let right = Expected {
            row: 0,
            size: content.len() as u64,
            sha256: Digest::of(&content),
        };
        let wrong = Expected {
            sha256: Digest::of(b"other"),
            ..right
        };
        let mut buffer = Buffer::default();
        let put = store.put(&snapshot, &wrong, &from, &mut buffer, &mut Free);
        assert!(matches!(put, Put::Original(Outcome::Differs)), "{put:?}");
        assert!(store.content(&snapshot, &wrong.sha256).is_err());
        for _ in 0..2 {
            let put = store.put(&snapshot, &right, &from, &mut buffer, &mut Free);
            assert!(matches!(put, Put::Kept), "{put:?}");
        }
        let check = store.check(&snapshot, &right, &mut buffer, &mut Free);
        assert_eq!(check, Outcome::Same);
        let to = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(place.join("restored"))
            .unwrap();
        assert!(
            store
                .restore(&snapshot, &right, &to, &mut buffer, &mut Free)
                .unwrap()
        );
        assert_eq!(std::fs::read(place.join("restored")).unwrap(), content);
        store.forget(&snapshot).unwrap();
        assert!(!store.has(&snapshot));
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Store::open(&place).unwrap_err().contains("others"));
    }
}

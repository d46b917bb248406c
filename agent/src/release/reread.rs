//! Reading held bytes again. On a disk by descriptors alone, with the walk's rules: nothing is
//! followed, nothing outside the target is reached, and only a regular file is read. In a store
//! by the version that the row names, if it is one of the target's. What a disk has lost is read from
//! the second copy, where there is one: the bytes count, not where they lie.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use custody::{digest::Digest, id::SnapshotId, manifest::row::Row};
use rustix::{
    fs::{FileType, OFlags, fstat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::{
    capture::{
        objects::{StoreSource, version_of},
        place::{Patience, Place, open_below, split},
    },
    enforce::{
        Source,
        objects::{StoreTrouble, name::Name, reader::StoreReader},
    },
    fixity::store as copies,
};

/// A target that is read again.
#[derive(Debug)]
pub enum Base {
    /// On a disk.
    Tree(Tree),
    /// In an object store.
    Store(StoreReader, Name),
}

/// A target on a disk that is read again.
#[derive(Debug)]
pub struct Tree {
    /// The target's folder, or the folder in which the one file of the target lies.
    folder: Option<Arc<OwnedFd>>,
    /// The name of that one file, where the target is a file.
    single: Option<Vec<u8>>,
    /// For leases.
    patience: Patience,
    /// Where lost content is read.
    spare: Option<Spare>,
    /// Rows that are read there.
    spared: Mutex<BTreeSet<u64>>,
}

/// The second copy of a snapshot.
#[derive(Debug)]
pub struct Spare {
    /// The place that it is in.
    pub store: copies::Store,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
}

impl Base {
    /// Opens a target below an allowed root or vault.
    pub fn open(source: &Source) -> Result<Self, Errno> {
        Self::below(&source.root, &source.relative)
    }

    /// Opens a target below an open folder.
    pub fn below(root: &OwnedFd, relative: &Path) -> Result<Self, Errno> {
        Tree::below(root, relative).map(Self::Tree)
    }

    /// A target in a store.
    pub fn store(source: StoreSource) -> Result<Self, StoreTrouble> {
        Ok(Self::Store(StoreReader::new(source.client)?, source.name))
    }

    /// The same with a second copy for what is lost.
    pub fn with_spare(mut self, spare: Option<Spare>) -> Self {
        if let Self::Tree(tree) = &mut self {
            tree.spare = spare;
        }
        self
    }

    /// A target of which nothing but the second copy can be opened.
    pub fn lost(spare: Spare) -> Self {
        Self::Tree(Tree {
            folder: None,
            single: None,
            patience: Patience::default(),
            spare: Some(spare),
            spared: Mutex::default(),
        })
    }

    /// Opens the file of a row for reading in its place; none where it lies on no disk of this host.
    pub fn file(&self, path: &[u8]) -> Option<Result<File, Errno>> {
        match self {
            Self::Tree(tree) => Some(tree.file(path)),
            Self::Store(..) => None,
        }
    }

    /// Opens the content of a row for reading: in its place, or in the second copy where
    /// [`is_same`] found it there alone.
    pub fn content(&self, row: &Row) -> Result<Box<dyn Read>, Errno> {
        let (store, name) = match self {
            Self::Tree(tree) => return Ok(Box::new(tree.content(row)?)),
            Self::Store(store, name) => (store, name),
        };
        let (key, id, etag) = version_of(row).ok_or(Errno::INVAL)?;
        if !name.has(&key) {
            return Err(Errno::INVAL);
        }
        let file = store.open(key, id, etag).map_err(|trouble| match trouble {
            StoreTrouble::Gone => Errno::NOENT,
            StoreTrouble::Nonsense { .. } => Errno::INVAL,
            StoreTrouble::Denied { .. } => Errno::ACCESS,
            _ => Errno::IO,
        })?;
        Ok(Box::new(file))
    }
}

impl Tree {
    /// Opens a target below an open folder.
    fn below(root: &OwnedFd, relative: &Path) -> Result<Self, Errno> {
        let parts = relative.as_os_str().as_bytes();
        let target = open_below(root.as_fd(), parts, OFlags::PATH)?;
        let stat = fstat(&target)?;
        let (folder, single) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (target, None),
            _ => {
                let (folder, name) = split(parts);
                let folder = open_below(root.as_fd(), folder, OFlags::PATH | OFlags::DIRECTORY)?;
                (folder, Some(name.to_vec()))
            }
        };
        Ok(Self {
            folder: Some(Arc::new(folder)),
            single,
            patience: Patience::default(),
            spare: None,
            spared: Mutex::default(),
        })
    }

    fn spared(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.spared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self, row: &Row) -> Result<File, Errno> {
        match (&self.spare, &row.sha256) {
            (Some(spare), Some(sha256)) if self.spared().contains(&row.index) => {
                spare.store.content(&spare.snapshot, sha256)
            }
            _ => self.file(&row.path),
        }
    }

    /// Whether the second copy has just the bytes of a row; it is read from there after a yes.
    fn is_spared(
        &self,
        row: &Row,
        expected: &Digest,
        buffer: &mut [u8],
        seen: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<bool> {
        let Some(spare) = &self.spare else {
            return Ok(false);
        };
        let Ok(file) = spare.store.content(&spare.snapshot, expected) else {
            return Ok(false);
        };
        let same = has(file, row, expected, buffer, seen)?;
        if same {
            self.spared().insert(row.index);
        }
        Ok(same)
    }

    /// Opens the file of a row for reading. Whatever is not a regular file is refused.
    fn file(&self, path: &[u8]) -> Result<File, Errno> {
        if self.single.as_deref().is_some_and(|single| single != path) {
            return Err(Errno::NOENT);
        }
        let (folder, name) = split(path);
        // Without a folder all of it is lost.
        let base = self.folder.as_ref().ok_or(Errno::IO)?;
        let parent = match folder {
            b"" => Arc::clone(base),
            _ => Arc::new(open_below(base.as_fd(), folder, OFlags::PATH)?),
        };
        let name = name.to_vec();
        let fd = self.patience.open(&Place { parent, name })?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        Ok(File::from(fd))
    }
}

/// Reads as many bytes as a row says and hashes them on the way.
pub struct Rehash<'a> {
    file: Box<dyn Read + 'a>,
    left: u64,
    hasher: Sha256,
    seen: &'a mut dyn FnMut(u64) -> io::Result<()>,
}

impl<'a> Rehash<'a> {
    /// Begins to read a file; `seen` is told of every step, and may stop it.
    pub fn new(
        file: impl Read + 'a,
        length: u64,
        seen: &'a mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Self {
        Self {
            file: Box::new(file),
            left: length,
            hasher: Sha256::new(),
            seen,
        }
    }

    /// Whether just the bytes of the row were read: as many, with that hash, and none behind.
    pub fn equals(mut self, expected: &Digest) -> io::Result<bool> {
        let behind = self.file.read(&mut [0])?;
        let found = Digest::from_bytes(self.hasher.finalize().into());
        Ok(self.left == 0 && behind == 0 && found == *expected)
    }
}

impl Read for Rehash<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let count = self.file.read(&mut buffer[..most])?;
        self.hasher.update(&buffer[..count]);
        self.left -= count as u64;
        (self.seen)(count as u64)?;
        Ok(count)
    }
}

/// Reads a row's content again and says whether it is still what the row says, in its place or in
/// the second copy.
pub fn is_same(
    base: &Base,
    row: &Row,
    expected: &Digest,
    buffer: &mut [u8],
    seen: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<bool> {
    let first = match base.content(row) {
        Ok(file) => has(file, row, expected, buffer, seen),
        Err(errno) if is_swapped(errno) => Ok(false),
        Err(errno) => Err(errno.into()),
    };
    // What the system did not say was said by whoever stops this.
    let lost = match &first {
        Ok(same) => !same,
        Err(error) => error.raw_os_error().is_some(),
    };
    match base {
        Base::Tree(tree) if lost && tree.is_spared(row, expected, buffer, seen)? => Ok(true),
        _ => first,
    }
}

fn has(
    content: impl Read,
    row: &Row,
    expected: &Digest,
    buffer: &mut [u8],
    seen: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<bool> {
    let mut reading = Rehash::new(content, row.size, seen);
    while reading.read(buffer)? > 0 {}
    reading.equals(expected)
}

/// Whether an error means that something else is there now, or nothing.
pub fn is_swapped(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::ISDIR
            | Errno::NXIO
    )
}

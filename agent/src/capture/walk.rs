//! Walks a tree by descriptors alone, so that nothing in it can lead the walk out of it.
//!
//! Every step is an `openat2` of one name below an open folder, with symlinks, magic links and
//! other file systems refused by the kernel. A folder comes before what is in it, and names
//! come in the order of their bytes. Memory holds the open folders' names, and at most
//! [`KEEP`] folders stay open, however deep the tree is.

use std::{
    collections::HashSet,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

use custody::manifest::row::Kind;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat2, statat},
    io::Errno,
};

/// Folders that stay open at a time.
pub const KEEP: usize = 256;

/// What the kernel must refuse on the way.
pub const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Where a thing is: a name in an open folder.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder.
    pub parent: Arc<OwnedFd>,
    /// The name in it; `.` for the folder itself.
    pub name: Vec<u8>,
}

impl Place {
    /// Opens it without following anything; a name that leads elsewhere is refused.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(
            &self.parent,
            self.name.as_slice(),
            flags,
            Mode::empty(),
            INSIDE,
        )
    }

    /// Looks at it without opening or following it.
    pub fn stat(&self) -> Result<Stat, Errno> {
        statat(
            &self.parent,
            self.name.as_slice(),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }
}

/// One thing found.
#[derive(Clone, Debug)]
pub struct Step {
    /// Path relative to the target; the target folder itself is `.`.
    pub path: Vec<u8>,
    /// Where it is.
    pub place: Place,
    /// What it is, as its folder says; a file is looked at again when it is opened.
    pub kind: Kind,
    /// For folders: what it looked like when it was opened.
    pub stat: Option<Stat>,
    /// For folders: open, so that it can be acted on.
    pub folder: Option<Arc<OwnedFd>>,
    /// Why it could not be looked into.
    pub trouble: Option<Trouble>,
}

/// Why something could not be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel said so.
    Errno(Errno),
    /// The folder was moved or replaced while the walk was below it.
    Moved,
    /// It is left out on purpose.
    Excluded,
}

impl Trouble {
    /// The word for it in a manifest.
    pub fn word(self) -> String {
        match self {
            Self::Errno(errno) => errno_word(errno),
            Self::Moved => "moved-while-walking".to_owned(),
            Self::Excluded => "own-vault".to_owned(),
        }
    }
}

/// The name of an error number, such as `EACCES`.
pub fn errno_word(errno: Errno) -> String {
    let known = [
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::IO, "EIO"),
        (Errno::NOENT, "ENOENT"),
        (Errno::LOOP, "ELOOP"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NXIO, "ENXIO"),
        (Errno::STALE, "ESTALE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::DQUOT, "EDQUOT"),
        (Errno::ROFS, "EROFS"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::EXIST, "EEXIST"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::AGAIN, "EAGAIN"),
    ];
    let found = known.iter().find(|(known, _)| *known == errno);
    found.map_or_else(
        || format!("errno-{}", errno.raw_os_error()),
        |(_, word)| (*word).to_owned(),
    )
}

struct Frame {
    fd: Option<Arc<OwnedFd>>,
    name: Vec<u8>,
    identity: (u64, u64),
    path: usize,
    names: std::vec::IntoIter<(Vec<u8>, Kind)>,
    lost: bool,
}

/// What is done to a folder once it is open and before it is listed.
pub type OnEnter = Box<dyn FnMut(&OwnedFd) -> Result<(), Errno> + Send>;

/// A walk under way.
pub struct Walk {
    on_enter: Option<OnEnter>,
    frames: Vec<Frame>,
    path: Vec<u8>,
    first: Option<Step>,
    excluded: HashSet<(u64, u64)>,
}

/// What kind of thing a file type is.
pub fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::Unknown => Kind::Unknown,
    }
}

/// The kind of what was looked at.
pub fn kind_of_stat(stat: &Stat) -> Kind {
    kind_of(FileType::from_raw_mode(stat.st_mode))
}

impl Walk {
    /// Begins at `relative` below an allowed root. A part of it that is a symlink, or that
    /// lies on another file system, is refused.
    pub fn open(root: BorrowedFd<'_>, relative: &Path) -> Result<Self, Errno> {
        Self::open_with(root, relative, &[], None)
    }

    /// Begins like [`Walk::open`], leaves out folders by device and inode (the target itself
    /// too), and does something to each folder before it is listed. Where that fails the
    /// folder is not entered; for the first one, the walk does not begin.
    pub fn open_with(
        root: BorrowedFd<'_>,
        relative: &Path,
        exclude: &[(u64, u64)],
        on_enter: Option<OnEnter>,
    ) -> Result<Self, Errno> {
        let mut walk = Self {
            on_enter,
            frames: Vec::new(),
            path: Vec::new(),
            first: None,
            excluded: exclude.iter().copied().collect(),
        };
        let parts = relative.as_os_str().as_bytes();
        let name = if parts.is_empty() { &b"."[..] } else { parts };
        let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat2(root, name, path_only, Mode::empty(), INSIDE)?;
        let stat = fstat(&handle)?;
        if kind_of_stat(&stat) == Kind::Folder {
            let place = Place {
                parent: Arc::new(handle),
                name: b".".to_vec(),
            };
            let step = walk.enter(place, b".".to_vec())?;
            walk.first = Some(step);
        } else {
            let (folder, name) = match parts.iter().rposition(|&b| b == b'/') {
                Some(cut) => (&parts[..cut], &parts[cut + 1..]),
                None => (&b"."[..], parts),
            };
            let folder = openat2(root, folder, path_only, Mode::empty(), INSIDE)?;
            walk.first = Some(Step {
                path: name.to_vec(),
                place: Place {
                    parent: Arc::new(folder),
                    name: name.to_vec(),
                },
                kind: kind_of_stat(&stat),
                stat: Some(stat),
                folder: None,
                trouble: None,
            });
        }
        Ok(walk)
    }

    /// Leaves out folders by device and inode: the vaults, if they lie inside.
    pub fn exclude(&mut self, folders: impl IntoIterator<Item = (u64, u64)>) {
        self.excluded.extend(folders);
    }

    /// Opens a folder, lists it and makes it the place where the walk goes on.
    fn enter(&mut self, place: Place, path: Vec<u8>) -> Result<Step, Errno> {
        // Listing must not move the folder's access time: a preserved customer notices nothing.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = match place.open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => place.open(flags)?,
            opened => opened?,
        };
        let stat = fstat(&fd)?;
        let identity = (stat.st_dev, stat.st_ino);
        let mut step = Step {
            path,
            place,
            kind: Kind::Folder,
            stat: Some(stat),
            folder: None,
            trouble: None,
        };
        if self.excluded.contains(&identity) {
            step.trouble = Some(Trouble::Excluded);
            return Ok(step);
        }
        if let Some(on_enter) = &mut self.on_enter {
            on_enter(&fd)?;
        }
        let names = match list(fd.as_fd()) {
            Ok(names) => names,
            Err(errno) => {
                step.trouble = Some(Trouble::Errno(errno));
                Vec::new()
            }
        };
        let fd = Arc::new(fd);
        step.folder = Some(Arc::clone(&fd));
        if step.path != b"." {
            self.path.clone_from(&step.path);
        }
        let frame = Frame {
            fd: Some(fd),
            name: step.place.name.clone(),
            identity,
            path: self.path.len(),
            names: names.into_iter(),
            lost: false,
        };
        self.frames.push(frame);
        if self.frames.len() > KEEP {
            let far = self.frames.len() - KEEP;
            self.frames[far].fd = None;
        }
        Ok(step)
    }

    /// Opens again the deepest frame after its descriptor was given up, name by name, and
    /// checks that each folder is the one that was left.
    fn reopen(&mut self) {
        let last = self.frames.len() - 1;
        let Some(from) = self.frames[..last]
            .iter()
            .rposition(|frame| frame.fd.is_some())
        else {
            self.frames[last].lost = true;
            return;
        };
        for at in from + 1..=last {
            let Some(parent) = self.frames[at - 1].fd.clone() else {
                return;
            };
            let place = Place {
                parent,
                name: self.frames[at].name.clone(),
            };
            let opened = place.open(OFlags::RDONLY | OFlags::DIRECTORY);
            let same = opened.as_ref().is_ok_and(|fd| {
                fstat(fd).is_ok_and(|s| (s.st_dev, s.st_ino) == self.frames[at].identity)
            });
            match opened {
                Ok(fd) if same => self.frames[at].fd = Some(Arc::new(fd)),
                _ => {
                    self.frames[at..]
                        .iter_mut()
                        .for_each(|frame| frame.lost = true);
                    return;
                }
            }
            // Far ancestors are given up again; the nearest ones stay for the way up.
            if at >= from + 1 + KEEP && at - KEEP > from {
                self.frames[at - KEEP].fd = None;
            }
        }
    }

    fn join(&self, frame: &Frame, name: &[u8]) -> Vec<u8> {
        let folder = &self.path[..frame.path];
        let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
        path.extend_from_slice(folder);
        if !folder.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let (name, kind) = loop {
            let frame = self.frames.last_mut()?;
            match frame.names.next() {
                Some(next) => break next,
                None => {
                    self.frames.pop();
                    if let Some(frame) = self.frames.last() {
                        self.path.truncate(frame.path);
                    }
                }
            }
        };
        if self
            .frames
            .last()
            .is_some_and(|frame| frame.fd.is_none() && !frame.lost)
        {
            self.reopen();
        }
        let frame = self.frames.last()?;
        let path = self.join(frame, &name);
        let Some(parent) = frame.fd.clone().filter(|_| !frame.lost) else {
            // Any open folder serves here: nothing is opened through it.
            let parent = self.frames.first()?.fd.clone()?;
            let place = Place { parent, name };
            let trouble = Some(Trouble::Moved);
            return Some(Step {
                path,
                place,
                kind: Kind::Unknown,
                stat: None,
                folder: None,
                trouble,
            });
        };
        let place = Place { parent, name };
        let mut step = Step {
            path,
            place,
            kind,
            stat: None,
            folder: None,
            trouble: None,
        };
        if step.kind == Kind::Unknown {
            match step.place.stat() {
                Ok(stat) => {
                    step.kind = kind_of_stat(&stat);
                    step.stat = Some(stat);
                }
                Err(errno) => step.trouble = Some(Trouble::Errno(errno)),
            }
        }
        if step.kind != Kind::Folder {
            return Some(step);
        }
        match self.enter(step.place.clone(), step.path.clone()) {
            Ok(step) => Some(step),
            Err(errno) => {
                step.stat = step.place.stat().ok();
                if errno == Errno::XDEV {
                    step.kind = Kind::Mount;
                } else {
                    step.trouble = Some(Trouble::Errno(errno));
                }
                Some(step)
            }
        }
    }
}

/// The names in a folder, sorted by bytes, with what the folder says they are.
fn list(folder: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Kind)>, Errno> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), kind_of(entry.file_type())));
        }
    }
    names.sort_unstable();
    Ok(names)
}

//! Walks a tree by descriptors alone, so that nothing in it can lead the walk out of it.
//!
//! Every step is an `openat2` of one name below an open folder, with symlinks, magic links and
//! other file systems refused by the kernel. A folder comes before what is in it, and names
//! come in the order of their bytes. Nothing is asked of what is mounted in the tree: its server
//! may be the customer's, and never answer. Memory grows neither with a folder's size nor with
//! the tree's depth: names are held in bounded portions ([`NAMES`]), at most [`KEEP`] folders stay
//! open, and a folder whose path is longer than [`LONGEST`] is not entered, and said not to be.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

use custody::manifest::row::Kind;
use rustix::{
    fs::{FileType, OFlags, Stat, fstat},
    io::Errno,
};

use super::{
    apart::{Apart, Aside},
    names::Names,
    place::{Place, open_below, split},
    trouble::Trouble,
};

/// Folders that stay open at a time.
pub const KEEP: usize = 256;
/// The most names that are held at a time, save for a few in each open folder.
pub const NAMES: usize = 1 << 20;
/// That few.
const FEW: usize = 256;
/// The longest path of a folder that is entered, in bytes.
pub const LONGEST: usize = 64 << 10;

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

/// How a folder is opened to be listed.
const LIST: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

struct Frame {
    fd: Option<Arc<OwnedFd>>,
    name: Vec<u8>,
    identity: (u64, u64),
    path: usize,
    names: Names,
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
    aside: Aside,
    /// Names that may be held, and how many are.
    most: usize,
    held: usize,
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

    /// Begins like [`Walk::open`], leaves out some places (folders known by their inode even
    /// where they are the target itself), and does something to each folder before it is listed. Where that fails the
    /// folder is not entered; for the first one, the walk does not begin.
    pub fn open_with(
        root: BorrowedFd<'_>,
        relative: &Path,
        exclude: &[Apart],
        on_enter: Option<OnEnter>,
    ) -> Result<Self, Errno> {
        let mut walk = Self {
            on_enter,
            frames: Vec::new(),
            path: Vec::new(),
            first: None,
            aside: Aside::default(),
            most: NAMES,
            held: 0,
        };
        walk.aside.add(exclude);
        let parts = relative.as_os_str().as_bytes();
        let handle = open_below(root, parts, OFlags::PATH)?;
        let stat = fstat(&handle)?;
        if kind_of_stat(&stat) == Kind::Folder {
            let place = Place {
                parent: Arc::new(handle),
                name: b".".to_vec(),
            };
            let step = walk.enter(place, b".".to_vec())?;
            walk.first = Some(step);
        } else {
            let (folder, name) = split(parts);
            let folder = open_below(root, folder, OFlags::PATH)?;
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

    /// The target itself, before the walk goes on from it.
    pub fn first(&self) -> Option<&Step> {
        self.first.as_ref()
    }

    /// Leaves out what is no part of the target, though it lies inside.
    pub fn exclude<'a>(&mut self, apart: impl IntoIterator<Item = &'a Apart>) {
        self.aside.add(apart);
    }

    /// Whether a name in the deepest folder is to be passed over.
    fn is_aside(&self, name: &[u8]) -> bool {
        let path = || Some(self.join(self.frames.last()?, name));
        self.aside.has_paths() && path().is_some_and(|path| self.aside.has_path(&path))
    }

    /// Opens a folder, lists it and makes it the place where the walk goes on.
    fn enter(&mut self, place: Place, path: Vec<u8>) -> Result<Step, Errno> {
        // Listing must not move the folder's access time: a preserved customer notices nothing.
        let fd = match place.open(LIST | OFlags::NOATIME) {
            Err(Errno::PERM) => place.open(LIST)?,
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
        if self.aside.has_folder(identity) {
            step.trouble = Some(Trouble::Excluded);
            return Ok(step);
        }
        if step.path.len() > LONGEST {
            step.trouble = Some(Trouble::TooLong);
            return Ok(step);
        }
        if let Some(on_enter) = &mut self.on_enter {
            on_enter(&fd)?;
        }
        let names = match self.list(fd.as_fd(), None) {
            Ok(names) => names,
            Err(errno) => {
                step.trouble = Some(Trouble::Errno(errno));
                Names::default()
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
            names,
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
            let opened = place.open(LIST);
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

    /// Has the deepest frame open, if that can be.
    fn have_open(&mut self) {
        let given_up = |frame: &Frame| frame.fd.is_none() && !frame.lost;
        if self.frames.last().is_some_and(given_up) {
            self.reopen();
        }
    }

    /// Lists names of a folder behind `after`, as many as there is room for.
    fn list(&mut self, folder: BorrowedFd<'_>, after: Option<&[u8]>) -> Result<Names, Errno> {
        let most = FEW.max(self.most.saturating_sub(self.held) / 2);
        let names = Names::list(folder, after, most)?;
        self.held += names.len();
        Ok(names)
    }

    /// Goes on with the names of the deepest folder; gives a step about the folder where that
    /// fails, so that it is known that there were more.
    fn list_more(&mut self) -> Option<Step> {
        self.have_open();
        let frame = self.frames.last_mut()?;
        let after = frame.names.more_after.take()?;
        let listed = match frame.fd.clone().filter(|_| !frame.lost) {
            Some(fd) => self.list(fd.as_fd(), Some(&after)).map_err(Trouble::Errno),
            None => Err(Trouble::Moved),
        };
        let trouble = match listed {
            Ok(names) => {
                self.frames.last_mut()?.names = names;
                return None;
            }
            Err(trouble) => trouble,
        };
        self.unknown(self.path.clone(), b".".to_vec(), trouble)
    }

    /// A step about what cannot be reached any more.
    fn unknown(&self, path: Vec<u8>, name: Vec<u8>, trouble: Trouble) -> Option<Step> {
        // Any open folder serves here: nothing is opened through it.
        let parent = self.frames.first()?.fd.clone()?;
        Some(Step {
            path,
            place: Place { parent, name },
            kind: Kind::Unknown,
            stat: None,
            folder: None,
            trouble: Some(trouble),
        })
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
                Some(next) => {
                    self.held -= 1;
                    if self.is_aside(&next.0) {
                        continue;
                    }
                    self.have_open();
                    break next;
                }
                None if frame.names.more_after.is_some() => {
                    if let Some(step) = self.list_more() {
                        return Some(step);
                    }
                }
                None => {
                    self.frames.pop();
                    if let Some(frame) = self.frames.last() {
                        self.path.truncate(frame.path);
                    }
                }
            }
        };
        let frame = self.frames.last()?;
        let path = self.join(frame, &name);
        let Some(parent) = frame.fd.clone().filter(|_| !frame.lost) else {
            return self.unknown(path, name, Trouble::Moved);
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
                Err(Errno::XDEV) => step.kind = Kind::Mount,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_of_more_names_than_may_be_held_is_walked_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        for outer in 0..3 {
            let inner = folder.path().join(format!("folder {outer}"));
            std::fs::create_dir(&inner).unwrap();
            for name in 0..700 {
                std::fs::write(inner.join(format!("{:x}", name * 7919 % 700)), "").unwrap();
            }
        }
        let root = std::fs::File::open(folder.path()).unwrap();
        let paths = |most| {
            let mut walk = Walk::open(root.as_fd(), Path::new("")).unwrap();
            walk.most = most;
            let paths: Vec<_> = walk.by_ref().map(|step| step.path).collect();
            assert_eq!(walk.held, 0);
            paths
        };
        let all = paths(NAMES);
        assert_eq!(all.len(), 1 + 3 * 701);
        assert_eq!(paths(0), all);
        let sorted = |paths: &[Vec<u8>]| paths.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(all.iter().skip(1).map(Vec::len).max() > Some(9) && sorted(&all[1..702]));
    }
}

//! Marks: which folders the kernel watches for us, and what a thing it speaks of is called.
//!
//! Only folders of what is held are marked, so what other customers do costs nothing. A folder is
//! known by its handle, which does not change with its name; the name is the one it had when it
//! was marked, put together from the folders around it. Nothing is opened to find it out.

use std::{
    collections::HashMap,
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use custody::manifest::row::Kind;
use rustix::{
    event::epoll,
    fs::{OFlags, fstatvfs},
    io::Errno,
};

use super::{
    held::Held,
    kernel::{self, Event, Group},
};
use crate::{
    capture::{place::open_below, walk::Walk},
    enforce::{Keeper, site::Site},
};

/// The most folders that are marked: the kernel keeps each in memory, about a kilobyte.
pub const MOST: usize = 65_536;
/// The most of one target.
pub const MOST_OF_ONE: usize = 32_768;

/// A folder that is marked, below another one or, for the first, by its whole path.
#[derive(Debug)]
struct Node {
    above: u32,
    name: Box<[u8]>,
}

const TOP: u32 = u32::MAX;

/// The marks on one file system, or on one subvolume of btrfs: the kernel mixes them in no group.
#[derive(Debug)]
struct Ground {
    number: u64,
    system: u64,
    group: Arc<Group>,
    /// By the hash of a handle.
    known: HashMap<u64, u32>,
    nodes: Vec<Node>,
}

impl Ground {
    fn path(&self, node: u32, name: &[u8]) -> Option<PathBuf> {
        let mut names = vec![name];
        let mut at = node;
        while at != TOP {
            let node = self.nodes.get(at as usize)?;
            names.push(&node.name);
            at = node.above;
        }
        let mut whole = Vec::new();
        for name in names
            .into_iter()
            .rev()
            .filter(|name| !matches!(*name, b"" | b"."))
        {
            if !whole.is_empty() && !whole.ends_with(b"/") {
                whole.push(b'/');
            }
            whole.extend_from_slice(name);
        }
        Some(OsString::from_vec(whole).into())
    }
}

/// Where a thing is that is to be marked.
struct Below<'a> {
    /// The ground and node of the folder around it, and its name there.
    near: Option<(u64, u32, &'a [u8])>,
    /// Its whole path.
    whole: &'a Path,
}

impl<'a> Below<'a> {
    const fn whole(whole: &'a Path) -> Self {
        Self { near: None, whole }
    }
}

/// What marking a target came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Folders that are marked.
    pub folders: u64,
    /// Folders for which there was no room, or that cannot be marked.
    pub left: u64,
}

/// All marks.
#[derive(Debug)]
pub struct Marks {
    epoll: OwnedFd,
    grounds: Vec<Ground>,
    /// The next number; none is given twice.
    next: u64,
    hasher: RandomState,
    nodes: usize,
    /// Whether the kernel names processes.
    pub names: bool,
}

impl Marks {
    /// Begins without a mark. What is heard makes `epoll` ready, with the number of its ground.
    pub fn new(epoll: OwnedFd) -> io::Result<Self> {
        let (_, names) = Group::new()?;
        Ok(Self {
            epoll,
            grounds: Vec::new(),
            next: 0,
            hasher: RandomState::new(),
            nodes: 0,
            names,
        })
    }

    /// Forgets all marks.
    pub fn clear(&mut self) {
        // A group that is closed takes its marks along.
        self.grounds.clear();
        self.nodes = 0;
    }

    fn numbered(&self, number: u64) -> Option<&Ground> {
        self.grounds.iter().find(|ground| ground.number == number)
    }

    /// The group of one ground, by its number.
    pub fn group(&self, number: u64) -> Option<Arc<Group>> {
        self.numbered(number)
            .map(|ground| Arc::clone(&ground.group))
    }

    /// Where a thing is that was heard of in one ground.
    pub fn place(&self, number: u64, event: &Event<'_>) -> Option<PathBuf> {
        let ground = self.numbered(number)?;
        let find = |handle: &[u8]| ground.known.get(&self.hasher.hash_one(handle)).copied();
        let within = event
            .within
            .and_then(|(folder, name)| Some((find(folder)?, name)));
        let found = within.or_else(|| Some((find(event.itself?)?, &b"."[..])));
        found.and_then(|(node, name)| ground.path(node, name))
    }

    fn ground(&mut self, system: u64) -> io::Result<&mut Ground> {
        if let Some(at) = self
            .grounds
            .iter()
            .position(|ground| ground.system == system)
        {
            return Ok(&mut self.grounds[at]);
        }
        let (group, names) = Group::new()?;
        let data = epoll::EventData::new_u64(self.next);
        epoll::add(&self.epoll, &group, data, epoll::EventFlags::IN)?;
        self.names = names;
        self.grounds.push(Ground {
            number: self.next,
            system,
            group: Arc::new(group),
            known: HashMap::new(),
            nodes: Vec::new(),
        });
        self.next += 1;
        let last = self.grounds.len() - 1;
        Ok(&mut self.grounds[last])
    }

    /// Marks one thing that is open, below another of the same ground where there is one. Gives
    /// the ground's number and the node.
    fn add(&mut self, fd: BorrowedFd<'_>, below: &Below<'_>) -> io::Result<(u64, u32)> {
        let system = fstatvfs(fd)?.f_fsid;
        let handle = self.hasher.hash_one(&kernel::handle(fd)?[..]);
        let ground = self.ground(system)?;
        ground.group.mark(fd)?;
        let number = ground.number;
        if let Some(&node) = ground.known.get(&handle) {
            return Ok((number, node));
        }
        let node = u32::try_from(ground.nodes.len()).map_err(io::Error::other)?;
        let (above, name) = match below.near {
            Some((ground, node, name)) if ground == number => (node, name),
            _ => (TOP, below.whole.as_os_str().as_bytes()),
        };
        ground.nodes.push(Node {
            above,
            name: name.into(),
        });
        ground.known.insert(handle, node);
        self.nodes += 1;
        Ok((number, node))
    }
}

/// Marks the folders of a target, or of what is kept of it: as many as there is room for. The
/// marks are taken for a moment at a time, so that whoever listens need not wait.
pub fn mark(marks: &RwLock<Marks>, keeper: &Keeper, held: &Held) -> io::Result<Marked> {
    let take = || marks.write().unwrap_or_else(PoisonError::into_inner);
    let mut marked = Marked::default();
    if held.in_place() {
        let source = keeper.source(held.target()).map_err(io::Error::other)?;
        let (root, apart) = (source.root.as_fd(), &source.exclude);
        let walk = Walk::open_with(root, &source.relative, apart, None)?;
        mark_walk(marks, walk, held, &held.path, &mut marked)?;
        return Ok(marked);
    }
    let site = site_of(held)?;
    let Some(vault) = site.vault().map_err(io::Error::other)? else {
        return Ok(marked);
    };
    take().add(vault.as_fd(), &Below::whole(&held.root.vault))?;
    let name = held.target().to_string();
    let at = held.kept_at();
    if held.is_deep() {
        let walk = Walk::open(vault.as_fd(), Path::new(&name))?;
        mark_walk(marks, walk, held, &at, &mut marked)?;
        return Ok(marked);
    }
    let folder = open_below(vault.as_fd(), name.as_bytes(), OFlags::RDONLY)?;
    take().add(folder.as_fd(), &Below::whole(&at))?;
    marked.folders += 1;
    Ok(marked)
}

fn mark_walk(
    marks: &RwLock<Marks>,
    walk: Walk,
    held: &Held,
    base: &Path,
    marked: &mut Marked,
) -> io::Result<()> {
    let take = || marks.write().unwrap_or_else(PoisonError::into_inner);
    // The folders that the walk is in, with the grounds and nodes that they have.
    let mut way: Vec<(Vec<u8>, u64, u32)> = Vec::new();
    for step in walk {
        if held.record.single && step.kind == Kind::File {
            // One file has no folder of its own: it carries the mark itself.
            let file = step.place.open_file()?;
            take().add(file.as_fd(), &Below::whole(base))?;
            marked.folders += 1;
            return Ok(());
        }
        let (Kind::Folder, Some(folder)) = (step.kind, &step.folder) else {
            continue;
        };
        if step.trouble.is_some() {
            marked.left += 1;
            continue;
        }
        let is_in = |above: &[u8]| {
            let rest = step.path.strip_prefix(above);
            above == b"." || rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        while way.last().is_some_and(|(above, ..)| !is_in(above)) {
            way.pop();
        }
        let near = way.last().map(|(path, ground, node)| {
            let skip = if path == b"." { 0 } else { path.len() + 1 };
            (*ground, *node, &step.path[skip..])
        });
        // A subvolume stands on a ground of its own, and is known there by its whole path.
        let whole = base.join(relative(&step.path));
        let mut marks = take();
        if marks.nodes >= MOST || marked.folders >= MOST_OF_ONE as u64 {
            marked.left += 1;
            continue;
        }
        let added = marks.add(
            folder.as_fd(),
            &Below {
                near,
                whole: &whole,
            },
        );
        drop(marks);
        match added {
            Ok((ground, node)) => {
                marked.folders += 1;
                way.push((step.path.clone(), ground, node));
            }
            Err(error) if marked.folders == 0 => return Err(error),
            Err(_) => marked.left += 1,
        }
    }
    Ok(())
}

fn relative(path: &[u8]) -> PathBuf {
    match path {
        b"." => PathBuf::new(),
        path => OsString::from_vec(path.to_vec()).into(),
    }
}

/// The root that a target lies in, open.
pub fn site_of(held: &Held) -> io::Result<Site> {
    let roots = std::slice::from_ref(&held.root);
    Site::find(roots, &held.path).map_err(|trouble| match trouble {
        crate::enforce::HoldTrouble::NotFound => Errno::NOENT.into(),
        trouble => io::Error::other(trouble),
    })
}

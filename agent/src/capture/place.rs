//! Places: a name in an open folder, opened so that nothing a customer puts there leads anywhere,
//! does anything, or keeps us waiting for longer than we choose.
//!
//! A customer may hold a write lease on a file of his: until he gives it up, or the kernel takes
//! it (`fs.lease-break-time`, 45 s), nobody else can open the file. He may take it again at once,
//! so looking in now and then might never find the file free; a call that waits does, because
//! the kernel grants no write lease while somebody else is opening.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2},
    io::Errno,
};

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
    /// Opens it without following anything; a name that leads elsewhere is refused, and so is what
    /// is mounted there (`EXDEV`), which is not asked anything.
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

    /// Takes hold of it without opening it: so it can be looked at, and nothing else.
    pub fn pin(&self) -> Result<OwnedFd, Errno> {
        self.open(OFlags::PATH)
    }

    /// Looks at it without opening it.
    pub fn stat(&self) -> Result<Stat, Errno> {
        fstat(self.pin()?)
    }

    /// Opens what should be a regular file for reading, without waiting, and without moving its
    /// access time where the kernel allows that. What it is is to be looked at afterwards.
    /// `EAGAIN` where a lease is in the way, which the kernel then begins to break.
    pub fn open_file(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        unseen(|noatime| self.open(flags | noatime))
    }

    /// Opens a regular file for reading, and waits until leases on it are gone.
    ///
    /// Only a file that was seen to be one is opened so: a pipe that was put in its place would
    /// keep us for ever.
    pub fn open_file_waiting(&self) -> Result<OwnedFd, Errno> {
        let pinned = self.pin()?;
        if FileType::from_raw_mode(fstat(&pinned)?.st_mode) != FileType::RegularFile {
            return self.open_file();
        }
        let name = format!("/proc/self/fd/{}", pinned.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        unseen(|noatime| openat(CWD, &name, flags | noatime, Mode::empty()))
    }
}

/// The kernel takes no longer path at once.
const LONGEST: usize = 4000;

/// Opens a path below a folder by the rules of [`INSIDE`], in pieces that the kernel takes. An
/// empty path is the folder itself.
pub fn open_below(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = |folder: BorrowedFd<'_>, name: &[u8], flags| {
        let name = if name.is_empty() { &b"."[..] } else { name };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(folder, name, flags, Mode::empty(), INSIDE)
    };
    let (mut rest, mut near) = (path, None::<OwnedFd>);
    while rest.len() > LONGEST {
        let cut = rest[..LONGEST].iter().rposition(|&b| b == b'/');
        let cut = cut.ok_or(Errno::NAMETOOLONG)?;
        let way = OFlags::PATH | OFlags::DIRECTORY;
        let from = near.as_ref().map_or(folder, OwnedFd::as_fd);
        near = Some(step(from, &rest[..cut], way)?);
        rest = &rest[cut + 1..];
    }
    step(near.as_ref().map_or(folder, OwnedFd::as_fd), rest, flags)
}

/// The folder and the name of a path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let cut = path.iter().rposition(|&b| b == b'/');
    cut.map_or((b"", path), |cut| (&path[..cut], &path[cut + 1..]))
}

fn unseen(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        opened => opened,
    }
}

/// How long a piece of work will still wait for leases, in all: milliseconds.
#[derive(Debug)]
pub struct Patience(AtomicU64);

impl Default for Patience {
    /// Enough for many that are given up when they must be, and not for many that are not.
    fn default() -> Self {
        Self::new(Duration::from_secs(120))
    }
}

impl Patience {
    /// So long.
    pub fn new(most: Duration) -> Self {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Self(AtomicU64::new(most))
    }

    /// Opens what should be a regular file for reading, and waits for a lease to go while there
    /// is patience left.
    pub fn open(&self, place: &Place) -> Result<OwnedFd, Errno> {
        match place.open_file() {
            Err(Errno::AGAIN) if self.0.load(Ordering::Relaxed) > 0 => {
                let began = Instant::now();
                let opened = place.open_file_waiting();
                let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let less = |left: u64| Some(left.saturating_sub(waited));
                let _ = self
                    .0
                    .try_update(Ordering::Relaxed, Ordering::Relaxed, less);
                opened
            }
            opened => opened,
        }
    }
}

//! Writers by name: which processes have a held file open for writing, or mapped from a
//! descriptor that may write.
//!
//! A lease ([`super::lease`]) says whether there is a writer; this says who, by reading `/proc`.
//! It is for a finding that a person acts on, never for deciding whether something is held: a
//! descriptor on its way through a socket, or one that the kernel itself has (a loop device, swap,
//! an NFS server), is in no process and is not seen here.
//!
//! No file system is asked anything but `/proc` and the held one, and the whole is bounded in
//! time: a process that is stuck in the kernel can keep whoever reads its mappings waiting for
//! ever, so the reading is done by a thread that is left behind where it is kept.

mod left;
pub mod text;

pub use left::left;

use std::{
    collections::{BTreeSet, HashMap},
    fmt, fs, io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, open, readlinkat, statat};

use text::Device;

/// The most writers that are named in one scan.
pub const MOST: usize = 64;
/// The most threads that may be kept waiting at a time, by processes that are stuck.
const MOST_KEPT: usize = 4;

/// How a writer has the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// By a descriptor.
    Open,
    /// By a mapping.
    Mapped,
}

/// Someone who can write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// Which of the files that were asked about.
    pub file: usize,
    /// The program's name, as it calls itself.
    pub program: String,
    /// The process.
    pub pid: u32,
    /// The user who started it.
    pub uid: u32,
    /// How it has the file.
    pub how: How,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.program, self.pid, self.uid)
    }
}

/// What a scan saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Who was seen.
    pub writers: Vec<Writer>,
    /// Whether every process was looked at. Where it is false, others may be there.
    pub complete: bool,
}

/// A file that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its file system, as mounts and mappings name it.
    device: Device,
    /// The same as `stat` names it: on btrfs each subvolume has a number of its own.
    stat: (u64, u64),
}

impl Wanted {
    /// Asks about an open file.
    pub fn new(file: impl AsFd) -> io::Result<Self> {
        let own = Path::new("/proc/self");
        let number = file.as_fd().as_raw_fd();
        let said = fs::read_to_string(own.join(format!("fdinfo/{number}")))?;
        let mount = text::descriptor(&said).map(|read| read.mount);
        let mounts = text::mounts(&fs::read_to_string(own.join("mountinfo"))?);
        let device = mount.and_then(|mount| mounts.get(&mount).copied());
        let stat = fstat(&file)?;
        Ok(Self {
            device: device.ok_or(io::ErrorKind::NotFound)?,
            stat: (stat.st_dev, stat.st_ino),
        })
    }
}

/// Processes that kept a reader, and how many readers are kept.
#[derive(Default)]
struct Kept {
    processes: BTreeSet<u32>,
    readers: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    processes: BTreeSet::new(),
    readers: 0,
});

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a reader has seen so far, for who waits for it.
#[derive(Default)]
struct Seen {
    scan: Scan,
    /// The process that is being looked at.
    at: Option<u32>,
    ended: bool,
    /// Nobody waits any more.
    left: bool,
}

/// Looks for whoever can write to these files, for no longer than `within`.
pub fn scan(wanted: &[Wanted], within: Duration) -> Scan {
    let until = Instant::now() + within;
    let skip = {
        let mut kept = lock(&KEPT);
        if kept.readers >= MOST_KEPT {
            return Scan::default();
        }
        kept.readers += 1;
        kept.processes.clone()
    };
    let shared = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
    let reader = {
        let (shared, wanted) = (Arc::clone(&shared), wanted.to_vec());
        move || {
            let all = Reader::new(&wanted, &shared.0, until).all(&skip);
            let mut seen = lock(&shared.0);
            seen.scan.complete = all.is_some_and(|all| all) && skip.is_empty();
            seen.ended = true;
            let was_kept = seen.left.then_some(seen.at).flatten();
            drop(seen);
            let mut kept = lock(&KEPT);
            kept.readers -= 1;
            was_kept.map(|pid| kept.processes.remove(&pid));
            shared.1.notify_all();
        }
    };
    let started = std::thread::Builder::new()
        .name("writers".to_owned())
        .spawn(reader);
    if started.is_err() {
        lock(&KEPT).readers -= 1;
        return Scan::default();
    }
    let mut seen = lock(&shared.0);
    while !seen.ended {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            seen.left = true;
            lock(&KEPT).processes.extend(seen.at);
            break;
        }
        let waited = shared.1.wait_timeout(seen, left);
        seen = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    let mut scan = seen.scan.clone();
    drop(seen);
    scan.writers.sort_unstable();
    scan.writers.dedup();
    scan
}

struct Reader<'a> {
    wanted: &'a [Wanted],
    seen: &'a Mutex<Seen>,
    until: Instant,
    /// Mounts are numbered once for the whole machine.
    mounts: HashMap<u64, Device>,
}

impl<'a> Reader<'a> {
    fn new(wanted: &'a [Wanted], seen: &'a Mutex<Seen>, until: Instant) -> Self {
        Self {
            wanted,
            seen,
            until,
            mounts: HashMap::new(),
        }
    }

    /// Looks at every process; `false` where time or names ran out, none where `/proc` is not
    /// there.
    fn all(&mut self, skip: &BTreeSet<u32>) -> Option<bool> {
        let processes: Vec<u32> = numbers(Path::new("/proc"))?;
        let others = || processes.iter().copied().filter(|pid| !skip.contains(pid));
        for pid in others() {
            if !self.goes_on(pid) {
                return Some(false);
            }
            let folder = PathBuf::from(format!("/proc/{pid}"));
            self.descriptors(pid, &folder);
            self.mappings(pid, &folder);
        }
        // A thread may have descriptors of its own, which the process does not show.
        for pid in others() {
            let folder = PathBuf::from(format!("/proc/{pid}/task"));
            for task in numbers(&folder).unwrap_or_default() {
                if !self.goes_on(pid) {
                    return Some(false);
                }
                if task != pid {
                    self.descriptors(pid, &folder.join(task.to_string()));
                }
            }
        }
        Some(true)
    }

    fn goes_on(&self, pid: u32) -> bool {
        let mut seen = lock(self.seen);
        if seen.left || seen.scan.writers.len() >= MOST || Instant::now() >= self.until {
            return false;
        }
        seen.at = Some(pid);
        true
    }

    fn note(&self, file: usize, pid: u32, how: How) {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let program = text::program(&fs::read(folder.join("comm")).unwrap_or_default());
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let writer = Writer {
            file,
            program,
            pid,
            uid: text::user(&status).unwrap_or(u32::MAX),
            how,
        };
        let mut seen = lock(self.seen);
        if !seen.scan.writers.contains(&writer) {
            seen.scan.writers.push(writer);
        }
    }

    fn descriptors(&mut self, pid: u32, task: &Path) {
        let Ok(folder) = open_folder(&task.join("fd")) else {
            return;
        };
        for number in numbers_in(&folder).unwrap_or_default() {
            let name = number.to_string();
            if !writes(&folder, &name) {
                continue;
            }
            let info = fs::read_to_string(task.join("fdinfo").join(&name)).unwrap_or_default();
            let Some(info) = text::descriptor(&info).filter(|info| info.writes) else {
                continue;
            };
            let could_be = |wanted: &Wanted| info.inode.is_none_or(|inode| inode == wanted.stat.1);
            if !self.wanted.iter().any(could_be) {
                continue;
            }
            let Some(device) = self.device_of(task, info.mount) else {
                continue;
            };
            // Only now is it known to be on a held file system, and safe to be looked at.
            if self.wanted.iter().any(|wanted| wanted.device == device)
                && let Ok(stat) = statat(&folder, &name, AtFlags::empty())
                && let Some(file) = self.file(stat.st_dev, stat.st_ino)
            {
                self.note(file, pid, How::Open);
            }
        }
    }

    fn mappings(&self, pid: u32, task: &Path) {
        // Locale is no matter, bytes are: a mapped file's name may be anything.
        let maps = fs::read(task.join("maps")).unwrap_or_default();
        let maps = String::from_utf8_lossy(&maps);
        let of_ours = text::mappings(&maps).filter(|mapping| {
            let is =
                |wanted: &Wanted| wanted.device == mapping.device && wanted.stat.1 == mapping.inode;
            self.wanted.iter().any(is)
        });
        let mut folder = None;
        for mapping in of_ours {
            let folder = folder.get_or_insert_with(|| open_folder(&task.join("map_files")));
            let found = match folder {
                // The link's own mode says how the descriptor behind the mapping was opened.
                Ok(folder) if writes(folder, mapping.range) => {
                    let looked = fs::metadata(task.join("map_files").join(mapping.range));
                    looked
                        .ok()
                        .and_then(|stat| self.file(stat.dev(), stat.ino()))
                }
                Ok(folder) if readlinkat(folder.as_fd(), mapping.range, Vec::new()).is_ok() => None,
                _ if mapping.shared => {
                    let is = |wanted: &Wanted| wanted.stat.1 == mapping.inode;
                    self.wanted.iter().position(is)
                }
                _ => None,
            };
            if let Some(file) = found {
                self.note(file, pid, How::Mapped);
            }
        }
    }

    fn file(&self, device: u64, inode: u64) -> Option<usize> {
        let is = |wanted: &Wanted| wanted.stat == (device, inode);
        self.wanted.iter().position(is)
    }

    /// The file system of a mount; a process may have mounts that no other one sees.
    fn device_of(&mut self, task: &Path, mount: u64) -> Option<Device> {
        if !self.mounts.contains_key(&mount) {
            let said = fs::read(task.join("mountinfo")).unwrap_or_default();
            self.mounts
                .extend(text::mounts(&String::from_utf8_lossy(&said)));
        }
        self.mounts.get(&mount).copied()
    }
}

fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
}

/// Whether what a link of `/proc` stands for was opened for writing. The link is not followed.
fn writes(folder: &OwnedFd, name: &str) -> bool {
    let looked = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    looked.is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && stat.st_mode & 0o200 != 0
    })
}

/// The numbers that are names in a folder of `/proc`.
fn numbers(path: &Path) -> Option<Vec<u32>> {
    numbers_in(&open_folder(path).ok()?)
}

fn numbers_in(folder: &OwnedFd) -> Option<Vec<u32>> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        let name = entry.file_name().to_str().ok();
        numbers.extend(name.and_then(|name| name.parse::<u32>().ok()));
    }
    Some(numbers)
}

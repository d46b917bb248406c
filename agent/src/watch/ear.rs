//! The ear: one thread that sleeps until the kernel has something to say.
//!
//! It asks at once who a process is, for that may be gone in a moment, and hands everything on.
//! It touches no file system but `/proc`, so nothing that hangs can keep it. What it hands on is
//! bounded: what does not fit is said to be lost, and then all is checked.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, epoll, eventfd};
use tokio::sync::mpsc;

use super::{causer, kernel, marks::Marks, rounds::Thing};
use crate::enforce::keeper::now_ns;

/// How much is read at a time, in bytes.
const BUFFER: usize = 64 << 10;
/// From so many events a second on, the ear rests between two reads, so that the kernel can put
/// together what is the same.
const BUSY: u32 = 2000;
const REST: Duration = Duration::from_millis(50);
/// How many portions wait to be taken.
const WAITING: usize = 256;

const MOUNTS: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// Something that was heard.
#[derive(Debug)]
pub enum Heard {
    /// Things were touched.
    Touched(Vec<(PathBuf, Thing)>),
    /// Something was mounted or unmounted.
    Mounts,
}

/// What the ear shares with those who listen.
#[derive(Debug)]
pub struct Shared {
    /// The marks; none where this kernel or privilege has none to give.
    pub marks: Option<RwLock<Marks>>,
    /// Why there are none.
    pub why: Mutex<Option<String>>,
    /// Whether something was lost.
    pub lost: AtomicBool,
    /// How many events were heard.
    pub events: AtomicU64,
    stop: OwnedFd,
}

impl Shared {
    /// Notes why not everything is heard.
    pub fn note(&self, why: String) {
        let mut noted = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none() {
            tracing::warn!(
                "the kernel does not tell of every change: {why}; the regular check finds it"
            );
            *noted = Some(why);
        }
    }

    /// Ends the ear.
    pub fn stop(&self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

/// Begins to listen. It goes on until [`Shared::stop`].
pub fn listen() -> io::Result<(Arc<Shared>, mpsc::Receiver<Heard>)> {
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mounts = File::open("/proc/self/mountinfo")?;
    let data = epoll::EventData::new_u64;
    epoll::add(&ready, &mounts, data(MOUNTS), epoll::EventFlags::PRI)?;
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    epoll::add(&ready, &stop, data(STOP), epoll::EventFlags::IN)?;
    let marks = Marks::new(ready.try_clone()?);
    let why = marks
        .as_ref()
        .err()
        .map(|error| match error.raw_os_error() {
            Some(libc::ENOSYS) => "this kernel has no fanotify".to_owned(),
            Some(libc::EPERM) => "fanotify needs CAP_SYS_ADMIN here".to_owned(),
            _ => format!("fanotify: {error}"),
        });
    let shared = Arc::new(Shared {
        marks: marks.ok().map(RwLock::new),
        why: Mutex::default(),
        lost: AtomicBool::new(false),
        events: AtomicU64::new(0),
        stop,
    });
    if let Some(why) = why {
        shared.note(why);
    }
    let (send, receive) = mpsc::channel(WAITING);
    let ear = Ear {
        shared: Arc::clone(&shared),
        ready,
        _mounts: mounts,
        send,
        own: i32::try_from(std::process::id()).unwrap_or(0),
    };
    let named = std::thread::Builder::new().name("watch".to_owned());
    named.spawn(move || ear.run())?;
    Ok((shared, receive))
}

struct Ear {
    shared: Arc<Shared>,
    ready: OwnedFd,
    _mounts: File,
    send: mpsc::Sender<Heard>,
    own: i32,
}

impl Ear {
    fn run(self) {
        let mut buffer = vec![0; BUFFER];
        let (mut since, mut heard) = (Instant::now(), 0_u32);
        loop {
            let mut events = Vec::with_capacity(16);
            match epoll::wait(
                &self.ready,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    self.shared
                        .note(format!("nothing more can be heard: {errno}"));
                    return;
                }
            }
            for event in events {
                match event.data.u64() {
                    STOP => return,
                    MOUNTS => self.hand_on(Heard::Mounts),
                    number => heard += self.read(number, &mut buffer),
                }
            }
            if since.elapsed() >= Duration::from_secs(1) {
                (since, heard) = (Instant::now(), 0);
            } else if heard > BUSY {
                sleep(REST);
            }
        }
    }

    fn hand_on(&self, heard: Heard) {
        if self.send.try_send(heard).is_err() {
            self.shared.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Reads what one group has to say; gives how many events that were.
    fn read(&self, number: u64, buffer: &mut [u8]) -> u32 {
        let Some(marks) = &self.shared.marks else {
            return 0;
        };
        let lock = || marks.read().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = lock().group(number) else {
            return 0;
        };
        let Ok(Some(read)) = group.read(buffer) else {
            return 0;
        };
        let mut count = 0;
        let mut by: HashMap<i32, Option<String>> = HashMap::new();
        // Who it was comes first: the marks may be taken for a while.
        let others: Vec<_> = kernel::events(read)
            .inspect(|_| count += 1)
            .filter(|event| event.pid != self.own)
            .inspect(|event| {
                by.entry(event.pid).or_insert_with(|| causer::of(event.pid));
            })
            .collect();
        self.shared
            .events
            .fetch_add(others.len() as u64, Ordering::Relaxed);
        if others.iter().any(kernel::Event::is_overflow) {
            self.shared.lost.store(true, Ordering::Relaxed);
        }
        let (marks, now) = (lock(), now_ns());
        let mut touched: Vec<(PathBuf, Thing)> = Vec::new();
        for event in &others {
            let Some(path) = marks.place(number, event) else {
                continue;
            };
            let thing = Thing {
                changed: !event.is_a_close(),
                made: event.mask & (libc::FAN_CREATE | libc::FAN_MOVED_TO) != 0,
                by: by.get(&event.pid).cloned().flatten(),
                heard_ns: now,
            };
            let same = |(known, last): &(PathBuf, Thing)| {
                known.as_path() == Path::new(&path)
                    && last.by == thing.by
                    && last.changed == thing.changed
            };
            if !touched.last().is_some_and(same) || thing.made {
                touched.push((path, thing));
            }
        }
        drop(marks);
        if !touched.is_empty() || self.shared.lost.load(Ordering::Relaxed) {
            self.hand_on(Heard::Touched(touched));
        }
        count
    }
}

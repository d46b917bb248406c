//! Glances: what can be seen of a hold with a few calls, however large it is; and the look at
//! things that somebody touched.
//!
//! Everything is reached from its root by descriptors that open nothing: no read of a customer's
//! file, no wait for a lease, nothing that the one who is watched can notice or lead astray.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use custody::house::{finding::FindingKind, mechanism::Mechanism};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Statx, openat2},
    io::Errno,
};

use super::{held::Held, rounds::Thing};
use crate::{
    capture::place::{INSIDE, open_below},
    enforce::{
        Found, Keeper, Progress, Root,
        btrfs::{Part, ioctl, subvolumes::FOLDER},
        flag::{self, is_flagged},
        found::Sightings,
        inodes::Inode,
    },
};

/// A vault stands open for a moment while a target comes or goes: so often, and after such a
/// wait, it is looked at again before it is called open.
const OPEN_DOOR: (u32, Duration) = (4, Duration::from_millis(50));

/// A root and its vault, taken hold of for a moment: nothing may stay open, or nobody could
/// unmount them.
struct Ground {
    root: Result<OwnedFd, Errno>,
    vault: Result<OwnedFd, Errno>,
}

impl Ground {
    fn open(root: &Root) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let whole = |path: &Path| openat2(CWD, path, flags, Mode::empty(), no_links);
        let opened = whole(&root.path);
        let vault = match (root.vault.strip_prefix(&root.path), &opened) {
            (Ok(inside), Ok(root)) => openat2(root, inside, flags, Mode::empty(), INSIDE),
            (Ok(_), Err(errno)) => Err(*errno),
            (Err(_), _) => whole(&root.vault),
        };
        Self {
            root: opened,
            vault,
        }
    }

    /// Looks at a thing of a target, or of what is kept of it.
    fn look(&self, held: &Held, path: &Path) -> Result<Statx, Errno> {
        let (fd, base) = if held.in_place() {
            (&self.root, &held.root.path)
        } else {
            (&self.vault, &held.root.vault)
        };
        let fd = fd.as_ref().map_err(|errno| *errno)?;
        let below = path.strip_prefix(base).map_err(|_| Errno::NOENT)?;
        let below = below.as_os_str().as_bytes();
        flag::look_at(open_below(fd.as_fd(), below, OFlags::PATH)?)
    }

    fn vault_is_closed(&self) -> bool {
        let Ok(vault) = &self.vault else { return false };
        let closed = || flag::look_at(vault).is_ok_and(|stat| is_flagged(&stat));
        closed()
            || (0..OPEN_DOOR.0).any(|_| {
                sleep(OPEN_DOOR.1);
                closed()
            })
    }
}

/// What is seen of things one by one.
#[derive(Default)]
struct Seen {
    gone: Sightings,
    changed: Sightings,
    appeared: Sightings,
    /// What could not be looked at, and why.
    blind: Option<Errno>,
}

impl Seen {
    /// Looks at one thing that was held, or has come since.
    fn thing(
        &mut self,
        held: &Held,
        path: &Path,
        stat: Result<Statx, Errno>,
        touched: Option<&Thing>,
    ) {
        let since = held.record.since_ns;
        let made = touched.is_some_and(|thing| thing.made);
        // It was protected again since, so that its times tell no more.
        let before = touched.is_some_and(|thing| thing.changed && thing.heard_ns <= since);
        let stat = match stat {
            Ok(stat) => stat,
            // What came and went again was never held.
            Err(Errno::NOENT | Errno::NOTDIR) if made => return,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return self.changed.note(path, b".");
            }
            // Mounts have a look of their own.
            Err(Errno::XDEV) => return,
            Err(errno) => return self.blind = Some(errno),
        };
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        let carries = matches!(kind, FileType::RegularFile | FileType::Directory);
        let flagged = is_flagged(&stat);
        if !flagged && flag::born_ns(&stat).is_some_and(|born| born > since) {
            return self.appeared.note(path, b".");
        }
        if (held.in_place() || held.record.sealed) && carries && !flagged {
            self.gone.note(path, b".");
            if flag::was_written(&stat, since) {
                self.changed.note(path, b".");
            }
        } else if (carries || !held.in_place()) && (before || flag::changed_ns(&stat) > since) {
            self.changed.note(path, b".");
        }
    }

    fn found(self) -> Vec<Found> {
        let all = [
            self.gone.found(FindingKind::ProtectionGone),
            self.changed.found(FindingKind::HeldChanged),
            self.appeared.found(FindingKind::Appeared),
        ];
        all.into_iter().flatten().collect()
    }
}

/// What a look gave.
pub type Looked = Result<Vec<Found>, Errno>;

/// Glances at all targets of one root. Trouble with one is its own.
pub fn root(keeper: &Keeper, root: &Root, all: &[std::sync::Arc<Held>]) -> Vec<(usize, Looked)> {
    let ground = Ground::open(root);
    let sealed = |held: &Held| !held.in_place() && held.record.sealed;
    let closed = !all.iter().any(|held| sealed(held)) || ground.vault_is_closed();
    let each = all.iter().enumerate();
    each.map(|(at, held)| {
        let looked = one(keeper, &ground, held, closed || !sealed(held));
        (at, looked)
    })
    .collect()
}

fn one(keeper: &Keeper, ground: &Ground, held: &Held, closed: bool) -> Looked {
    let at = held.kept_at();
    let stat = ground.look(held, &at);
    if held.record.mechanism == Mechanism::BtrfsSnapshot {
        if stat.is_ok_and(|stat| !held.record.sealed || is_flagged(&stat))
            && closed
            && snapshots_stand(ground, held)
        {
            return Ok(Vec::new());
        }
        // What this costs grows with the snapshots, not with the files.
        let checked = keeper.check(held.target(), &Progress::default());
        return checked.map_err(|_| Errno::IO);
    }
    if held.in_place()
        && let (Ok(stat), Some((subvolume, number))) = (&stat, held.record.inode)
        && Inode::of(stat) != Inode(subvolume, number)
    {
        // Something else stands in its place.
        return Ok(vec![Found::at(FindingKind::HeldChanged, &at)]);
    }
    if let Err(Errno::NOENT | Errno::NOTDIR) = stat {
        return Ok(crate::enforce::found::vanished(&at, held.record.things));
    }
    let mut seen = Seen::default();
    seen.thing(held, &at, stat, None);
    if !closed {
        seen.gone.note(&held.root.vault, b".");
    }
    match seen.blind {
        Some(errno) => Err(errno),
        None => Ok(seen.found()),
    }
}

/// Whether all snapshots of a target are there, read-only and unchanged.
fn snapshots_stand(ground: &Ground, held: &Held) -> bool {
    let Ok(vault) = &ground.vault else {
        return false;
    };
    let parts = held.record.frozen.as_ref().map(|frozen| &frozen.parts);
    let stands = |part: &Part| {
        let path = held.target().to_string();
        let path = Path::new(&path)
            .join("tree")
            .join(OsStr::from_bytes(&part.place));
        let path: PathBuf = path.components().collect();
        let folder = open_below(vault.as_fd(), path.as_os_str().as_bytes(), FOLDER)?;
        let info = ioctl::info(folder)?;
        let is_it = info.uuid == part.uuid && info.changed == part.changed;
        Ok::<_, Errno>(is_it && info.read_only)
    };
    parts.is_some_and(|parts| parts.iter().all(|part| stands(part).unwrap_or(false)))
}

/// Looks at things that somebody touched, and at the folders around them, in one target.
pub fn things(keeper: &Keeper, held: &Held, touched: &BTreeMap<PathBuf, Thing>) -> Looked {
    let ground = Ground::open(&held.root);
    if held.record.mechanism == Mechanism::BtrfsSnapshot {
        return one(keeper, &ground, held, true);
    }
    let top = held.kept_at();
    let mut all: BTreeMap<&Path, Option<&Thing>> = BTreeMap::new();
    for (path, thing) in touched {
        let folder = path.parent().filter(|folder| folder.starts_with(&top));
        if let Some(folder) = folder {
            all.entry(folder).or_default();
        }
        if path.starts_with(&top) {
            all.insert(path, Some(thing));
        }
    }
    let mut seen = Seen::default();
    // Whoever works on what has left does nothing wrong.
    all.retain(|path, _| !held.has_left(path));
    for (path, thing) in all {
        seen.thing(held, path, ground.look(held, path), thing);
    }
    if !held.in_place() && held.record.sealed && !ground.vault_is_closed() {
        seen.gone.note(&held.root.vault, b".");
    }
    let blind = seen.blind;
    let found = seen.found();
    match blind {
        Some(errno) if found.is_empty() => Err(errno),
        _ => Ok(found),
    }
}

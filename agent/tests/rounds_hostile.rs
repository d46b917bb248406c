//! Fifty seeded rounds of a hostile tree with a writer beside: while it is held, proved, checked and
//! captured, somebody renames, swaps in links, truncates, grows, replaces, mounts and unmounts.
//! Nothing hangs, every row is right or says what is wrong with it, nothing outside the tree is
//! opened, and once the writer is gone what is held is held.
//!
//! HOLDFAST_SEED gives other rounds, HOLDFAST_ROUNDS more of them. A round that fails is run again
//! with the seed that it names and HOLDFAST_ROUNDS=1.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileExt as _, MetadataExt as _, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use agent::{capture::place::open_below, enforce::Keeper};
use common::{
    mounted::{KINDS, Mounted, can_mount},
    trees::{Seeded, captured, is_flagged, keeper, on, target},
};
use custody::{
    digest::Digest,
    house::{
        mechanism::Mechanism,
        regime::Holding::{Freeze, Preserve},
    },
    manifest::row::{Kind, Row, Status},
};
use rustix::fs::{FileType, Mode, OFlags, inotify, mknodat};

/// The longest that one round may take.
const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"what lies outside, and is nobody's business";

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn fifty_rounds_with_a_writer_beside_end_and_hold_what_they_say() {
    if !can_mount("fifty_rounds_with_a_writer_beside_end_and_hold_what_they_say") {
        return;
    }
    let (seed, rounds) = (number("HOLDFAST_SEED", 2012), number("HOLDFAST_ROUNDS", 50));
    eprintln!("HOLDFAST_SEED={seed} HOLDFAST_ROUNDS={rounds}");
    let fresh = |(kind, size): (_, u64)| {
        let mounted = Mounted::new(kind, size.max(192));
        (kind, mounted, tempfile::tempdir().unwrap())
    };
    let places = Arc::new(KINDS.map(fresh));
    let mut sum = Sum::default();
    for seed in (seed..).take(usize::try_from(rounds).unwrap()) {
        let (done, ended) = mpsc::channel();
        let places = Arc::clone(&places);
        // Not in a scope: what hangs cannot be waited for.
        let round = std::thread::spawn(move || {
            let (kind, mounted, state) = &places[usize::try_from(seed % 3).unwrap()];
            let round = || Round::new(seed, mounted.path(), state.path()).play();
            let round = std::panic::AssertUnwindSafe(round);
            let _ = done.send(std::panic::catch_unwind(round).map_err(|_| *kind));
        });
        let replay = format!("HOLDFAST_SEED={seed} HOLDFAST_ROUNDS=1");
        match ended.recv_timeout(LIMIT) {
            Ok(Ok(one)) => sum.add(one),
            Ok(Err(kind)) => panic!("on {kind}: {replay}"),
            Err(_) => {
                eprintln!("a round hangs: {replay}");
                std::process::exit(101);
            }
        }
        round.join().unwrap();
    }
    eprintln!("{sum:?}");
    // Rounds in which nothing happens show nothing.
    assert!(rounds < 50 || sum.is_hostile(), "{sum:?}");
}

/// What the rounds met.
#[derive(Debug, Default)]
struct Sum {
    raised: u64,
    refused: u64,
    proved: u64,
    unproved: u64,
    found: u64,
    rows: u64,
    odd: u64,
    acts: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.raised += other.raised;
        self.refused += other.refused;
        self.proved += other.proved;
        self.unproved += other.unproved;
        self.found += other.found;
        self.rows += other.rows;
        self.odd += other.odd;
        self.acts += other.acts;
    }

    fn is_hostile(&self) -> bool {
        self.raised > 50 && self.unproved > 2 && self.odd > 20 && self.acts > 2_000
    }
}

/// Every content that a file of the tree ever had.
#[derive(Default)]
struct Contents(Mutex<HashSet<Digest>>);

impl Contents {
    /// Notes a content before a file has it.
    fn note(&self, content: &[u8]) {
        self.0.lock().unwrap().insert(Digest::of(content));
    }

    fn has(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap().contains(digest)
    }
}

struct Round {
    dice: Seeded,
    root: PathBuf,
    base: PathBuf,
    data: PathBuf,
    outside: PathBuf,
    contents: Arc<Contents>,
    /// Files that somebody else had made immutable.
    theirs: Vec<File>,
    /// A file that a writer has open, and keeps so over the first raising: that one is met in
    /// some rounds must not hang on chance.
    open: Option<File>,
    state: PathBuf,
}

fn content(dice: &mut Seeded) -> Vec<u8> {
    let length = match dice.below(10) {
        0 => 0,
        1 => 300_000,
        2 => 70_000,
        _ => 1 + dice.below(4000),
    };
    let seed = dice.below(u64::MAX).to_le_bytes();
    seed.into_iter()
        .cycle()
        .take(usize::try_from(length).unwrap())
        .collect()
}

fn name(dice: &mut Seeded, number: u64) -> Vec<u8> {
    match dice.below(8) {
        0 => [
            &b"\xff\n$(x) "[..],
            &number.to_le_bytes().map(|byte| byte | 0x80),
        ]
        .concat(),
        1 => [&[b'n'; 240][..], number.to_string().as_bytes()].concat(),
        2 => format!("-rf --{number}").into_bytes(),
        _ => format!("n{number}").into_bytes(),
    }
}

impl Round {
    fn new(seed: u64, root: &Path, state: &Path) -> Self {
        let base = root.join(format!("round-{seed}"));
        let mut round = Self {
            dice: Seeded(seed),
            root: root.to_owned(),
            data: base.join("data"),
            outside: base.join("outside"),
            base,
            contents: Arc::default(),
            theirs: Vec::new(),
            open: None,
            state: state.to_owned(),
        };
        fs::create_dir_all(&round.data).unwrap();
        fs::create_dir_all(round.outside.join("folder")).unwrap();
        for name in ["secret", "folder/secret"] {
            fs::write(round.outside.join(name), SECRET).unwrap();
        }
        round.contents.note(b"");
        round.plant();
        if seed.is_multiple_of(4) {
            round.contents.note(b"open");
            let path = round.data.join("still open");
            fs::write(&path, "open").unwrap();
            round.open = File::options().append(true).open(path).ok();
        }
        round
    }

    fn plant(&mut self) {
        let mut folders = vec![self.data.clone()];
        let mut files = Vec::new();
        for number in 0..10 + self.dice.below(60) {
            let parent = &folders[usize::try_from(self.dice.below(folders.len() as u64)).unwrap()];
            let path = parent.join(OsStr::from_bytes(&name(&mut self.dice, number)));
            match self.dice.below(16) {
                0..=3 => {
                    fs::create_dir(&path).unwrap();
                    folders.push(path);
                }
                4 => symlink(self.outside.join("secret"), &path).unwrap(),
                5 => symlink(self.outside.join("folder"), &path).unwrap(),
                6 => make(&path, FileType::Fifo, 0),
                7 => make(&path, FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
                8 if !files.is_empty() => {
                    let of: &PathBuf = &files[0];
                    fs::hard_link(of, &path).unwrap();
                }
                9 => {
                    let length = 1 << (20 + self.dice.below(4));
                    self.contents
                        .note(&vec![0; usize::try_from(length).unwrap()]);
                    File::create(&path).unwrap().set_len(length).unwrap();
                }
                10 if self.theirs.len() < 3 => {
                    self.contents.note(b"theirs");
                    fs::write(&path, "theirs").unwrap();
                    let file = File::open(&path).unwrap();
                    agent::enforce::flag::set(&file, true).unwrap();
                    self.theirs.push(file);
                }
                _ => {
                    let content = content(&mut self.dice);
                    self.contents.note(&content);
                    fs::write(&path, content).unwrap();
                    files.push(path);
                }
            }
        }
        // A name of something inside, outside.
        if let Some(file) = files.last() {
            fs::hard_link(file, self.base.join("second name")).unwrap();
        }
    }

    fn play(mut self) -> Sum {
        let (watch, _marks) = self.watch();
        let holding = if self.dice.below(4) == 0 {
            Preserve
        } else {
            Freeze
        };
        let keeper = keeper(&self.state, &self.root);
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            dice: Seeded(self.dice.below(u64::MAX)),
            data: self.data.clone(),
            outside: self.outside.clone(),
            contents: Arc::clone(&self.contents),
            open: Vec::new(),
            mounts: Vec::new(),
            acts: 0,
            next: 0,
        };
        let writing = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // What the flags refuse is refused.
                    let _ = writer.act();
                    writer.acts += 1;
                }
                let acts = writer.acts;
                drop(writer);
                acts
            }
        });
        let mut sum = Sum::default();
        for _ in 0..3 + self.dice.below(3) {
            if keeper.raise(target(1), &self.data, holding, &on()).is_err() {
                sum.refused += 1;
                continue;
            }
            sum.raised += 1;
            match keeper.prove(target(1), &on()) {
                Ok(proof) if proof.holds() => sum.proved += 1,
                _ => sum.unproved += 1,
            }
            self.open = None;
            let found = keeper.check(target(1), &on());
            sum.found += found.map_or(1, |found| found.len() as u64);
            let rows = captured(&keeper, 1);
            sum.rows += rows.len() as u64;
            sum.odd += rows.values().filter(|row| self.is_odd(row)).count() as u64;
            if self.dice.below(3) == 0 {
                // Freed for a while: the writer gets at it again.
                let _ = keeper.lower(target(1), &on());
            }
        }
        stop.store(true, Ordering::Relaxed);
        sum.acts = writing.join().unwrap();
        self.settle(&keeper);
        assert_eq!(events(&watch), 0, "something outside was opened or changed");
        for name in ["secret", "folder/secret"] {
            let path = self.outside.join(name);
            assert!(!is_flagged(&path) && !is_flagged(path.parent().unwrap()));
            assert_eq!(fs::read(path).unwrap(), SECRET);
        }
        sum
    }

    /// Whether a row says that something is odd. One that says nothing must be right.
    fn is_odd(&self, row: &Row) -> bool {
        let path = String::from_utf8_lossy(&row.path);
        assert_ne!(row.sha256, Some(Digest::of(SECRET)), "{path}: from outside");
        match row.status {
            Status::Read if row.kind == Kind::File => {
                let hash = row.sha256.unwrap();
                assert!(
                    self.contents.has(&hash),
                    "{path}: it never had these bytes: {row:?}"
                );
                false
            }
            Status::Read => false,
            Status::NotOpened => row.kind == Kind::Mount,
            _ => {
                assert!(row.reason.is_some(), "{path}: {row:?}");
                true
            }
        }
    }

    /// The writer is gone: what is held is held, complete, and free again in the end.
    fn settle(&self, keeper: &Keeper) {
        for _ in 0..5 {
            keeper.raise(target(1), &self.data, Freeze, &on()).unwrap();
            if keeper.prove(target(1), &on()).unwrap().holds() {
                break;
            }
        }
        let proof = keeper.prove(target(1), &on()).unwrap();
        assert!(proof.holds(), "{proof:?}");
        assert_eq!(keeper.check(target(1), &on()).unwrap(), []);
        let rows = captured(keeper, 1);
        let odd = rows.values().filter(|row| self.is_odd(row)).count();
        let record = keeper.all().pop().unwrap();
        // A copy is as the tree was when it was made, with what was odd then.
        if record.mechanism == Mechanism::ImmutableFlag {
            assert_eq!(odd, 0);
            let there = list(&self.data);
            let read: BTreeMap<_, _> = rows
                .iter()
                .filter(|(path, _)| *path != b".")
                .map(|(path, row)| (path.clone(), row.sha256))
                .collect();
            assert_eq!(
                read, there,
                "every thing that is there is a row with its content"
            );
            self.cannot_be_changed(&rows);
        }
        keeper.lower(target(1), &on()).unwrap();
        for file in &self.theirs {
            let was_flagged = agent::enforce::flag::set(file, false).unwrap();
            assert!(was_flagged, "theirs stays");
        }
        // Were a flag of ours left, this would fail.
        fs::remove_dir_all(&self.data).unwrap();
    }

    fn cannot_be_changed(&self, rows: &BTreeMap<Vec<u8>, Row>) {
        for (path, row) in rows {
            let at = self.data.join(OsStr::from_bytes(path));
            let refused = |tried: io::Result<()>| {
                let error = tried.expect_err("it went through");
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            };
            match row.kind {
                Kind::File => {
                    refused(File::options().write(true).open(&at).map(drop));
                    refused(fs::remove_file(&at));
                }
                Kind::Folder => refused(fs::write(at.join("new"), "x")),
                _ => refused(fs::rename(&at, at.with_extension("moved"))),
            }
        }
    }

    /// Marks everything outside: whatever is done with it is told.
    fn watch(&self) -> (OwnedFd, Vec<i32>) {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = inotify::init(flags).unwrap();
        let all = inotify::WatchFlags::ALL_EVENTS;
        let places = ["", "secret", "folder", "folder/secret"];
        let mark = |place: &str| inotify::add_watch(&watch, self.outside.join(place), all).unwrap();
        let marks = places.map(mark).to_vec();
        (watch, marks)
    }
}

/// How many events are waiting.
fn events(watch: &OwnedFd) -> usize {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut count = 0;
    while let Ok(event) = reader.next() {
        eprintln!("outside: {event:?}");
        count += 1;
    }
    count
}

fn make(path: &Path, kind: FileType, device: u64) {
    mknodat(rustix::fs::CWD, path, kind, Mode::from(0o666), device).unwrap();
}

/// Everything below a folder, with the digests of the files.
fn list(folder: &Path) -> BTreeMap<Vec<u8>, Option<Digest>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let digest = kind
                .is_file()
                .then(|| Digest::of(&fs::read(&path).unwrap()));
            let below = path.strip_prefix(folder).unwrap();
            found.insert(below.as_os_str().as_bytes().to_vec(), digest);
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Who works against us, by everything that root may do without taking a flag off.
struct Writer {
    dice: Seeded,
    data: PathBuf,
    outside: PathBuf,
    contents: Arc<Contents>,
    open: Vec<File>,
    mounts: Vec<PathBuf>,
    acts: u64,
    next: u64,
}

impl Writer {
    /// Some place in the tree.
    fn somewhere(&mut self) -> io::Result<PathBuf> {
        let mut at = self.data.clone();
        loop {
            // He leaves alone what he mounted himself: whatever happens there is our doing.
            self.inside(&at, OFlags::PATH)?;
            let names: Vec<_> = fs::read_dir(&at)?.flatten().collect();
            if names.is_empty() && at == self.data {
                return Err(io::ErrorKind::NotFound.into());
            }
            if names.is_empty() {
                return Ok(at);
            }
            at = names[usize::try_from(self.dice.below(names.len() as u64)).unwrap()].path();
            self.inside(&at, OFlags::PATH)?;
            let is_folder = at.symlink_metadata()?.is_dir();
            if !is_folder || self.dice.below(3) == 0 {
                return Ok(at);
            }
        }
    }

    /// Opens what is in the tree, and nothing that is mounted there.
    fn inside(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let below = path.strip_prefix(&self.data).unwrap();
        let data = rustix::fs::open(&self.data, OFlags::PATH, Mode::empty())?;
        let opened = open_below(data.as_fd(), below.as_os_str().as_bytes(), flags)?;
        Ok(opened.into())
    }

    /// A regular file in the tree, and never one outside it.
    fn open(&mut self) -> io::Result<(PathBuf, File)> {
        for _ in 0..5 {
            let path = self.somewhere()?;
            if path.symlink_metadata()?.is_file() {
                let file = self.inside(&path, OFlags::RDWR)?;
                return Ok((path, file));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn fresh(&mut self, beside: &Path) -> PathBuf {
        self.next += 1;
        beside.with_file_name(format!("w{}", self.next))
    }

    fn act(&mut self) -> io::Result<()> {
        match self.dice.below(40) {
            // A link takes a place for a moment.
            0..=7 => {
                let path = self.somewhere()?;
                let aside = self.fresh(&path);
                fs::rename(&path, &aside)?;
                let to = ["secret", "folder"][usize::try_from(self.dice.below(2)).unwrap()];
                let linked = symlink(self.outside.join(to), &path);
                std::thread::yield_now();
                linked.and_then(|()| fs::remove_file(&path))?;
                fs::rename(&aside, &path)
            }
            8..=12 => {
                let path = self.somewhere()?;
                let to = self.fresh(&path);
                fs::rename(path, to)
            }
            13..=16 => {
                let (path, _) = self.open()?;
                let (new, content) = (self.fresh(&path), content(&mut self.dice));
                self.contents.note(&content);
                fs::write(&new, content)?;
                fs::rename(new, path)
            }
            17..=21 => {
                let (_, mut file) = self.open()?;
                let mut whole = read(&file)?;
                let more = [self.dice.below(256) as u8; 37];
                whole.extend(more);
                self.contents.note(&whole);
                rustix::io::retry_on_intr(|| {
                    rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
                })?;
                file.write_all(&more)
            }
            22..=25 => {
                let (_, file) = self.open()?;
                let mut whole = read(&file)?;
                whole.truncate(whole.len() / 2);
                self.contents.note(&whole);
                file.set_len(whole.len() as u64)
            }
            26..=29 => {
                // One byte: no reader can see half of it.
                let (_, file) = self.open()?;
                let mut whole = read(&file)?;
                let at = whole.len() / 3;
                *whole.get_mut(at).ok_or(io::ErrorKind::NotFound)? ^= 0x55;
                self.contents.note(&whole);
                file.write_all_at(&whole[at..=at], at as u64)
            }
            30..=32 => {
                let path = self.somewhere()?;
                match path.symlink_metadata()?.is_dir() {
                    true => fs::remove_dir(path),
                    false => fs::remove_file(path),
                }
            }
            33..=34 => {
                let path = self.somewhere()?;
                let to = self.fresh(&path);
                fs::create_dir(to)
            }
            35..=36 => {
                let file = self.open()?.1;
                self.open.push(file);
                if self.open.len() > 4 {
                    self.open.clear();
                }
                Ok(())
            }
            37 => {
                self.open.clear();
                Ok(())
            }
            38 => {
                let path = self.somewhere()?;
                let stat = path.symlink_metadata()?;
                if self.mounts.len() > 2 {
                    self.unmount();
                    return Ok(());
                }
                let mut mount = Command::new("mount");
                match (stat.is_dir(), self.dice.below(2)) {
                    (true, 0) => mount.args(["-t", "tmpfs", "over"]),
                    (true, _) => mount.arg("--bind").arg(self.outside.join("folder")),
                    (false, _) if stat.is_file() && stat.nlink() == 1 => {
                        mount.arg("--bind").arg(self.outside.join("secret"))
                    }
                    _ => return Ok(()),
                };
                let done = mount
                    .arg(&path)
                    .stderr(std::process::Stdio::null())
                    .status()?;
                if done.success() {
                    self.mounts.push(path);
                }
                Ok(())
            }
            _ => {
                self.unmount();
                Ok(())
            }
        }
    }

    fn unmount(&mut self) {
        for path in self.mounts.drain(..).rev() {
            unmount(&path);
        }
    }
}

fn unmount(path: &Path) {
    let quiet = std::process::Stdio::null();
    let _ = Command::new("umount")
        .arg("-l")
        .arg(path)
        .stderr(quiet)
        .status();
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.unmount();
        // What was moved with a mount on it is found by the kernel's own list.
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let data = self.data.as_os_str().as_bytes();
        for line in mounts.split(|&byte| byte == b'\n') {
            let at = line.split(|&byte| byte == b' ').nth(4).unwrap_or_default();
            let at = unescaped(at);
            if at.starts_with(data) {
                unmount(Path::new(OsStr::from_bytes(&at)));
            }
        }
    }
}

/// A path as `mountinfo` has it, with its `\040` and the like.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > 1 << 19 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut whole = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut whole, 0)?;
    Ok(whole)
}

//! An agent's holds, evidence and journal without a coordinator, and a worker whose clock the test
//! sets.
#![allow(unreachable_pub)]

use std::{
    fs,
    io::{Read as _, Seek as _, Write as _},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use agent::{
    capture::seal::{Capture, Progress as Reading, capture},
    config::Place,
    edge::{Edge as _, Machine},
    enforce::{Found, Keeper, Progress, Root},
    fixity::{
        Fixity,
        house::House,
        register::{Item, Register},
        settings::SecondCopy,
        show,
        state::Shelf,
        worker::{Step, Worker},
    },
    journal::{Journal, SEGMENT, Voice, book::Book},
    work::evidence::{Evidence, SealedFile, SnapshotFile},
};
use custody::{
    commit::Opening,
    house::regime::Holding,
    id::{AgentId, SnapshotId, TargetId},
    ledger::entry::Entry,
    sign::SecretKey,
    statement::{Body, SnapshotSealed},
    time::{Span, Time},
};

use crate::common::mounted::Mounted;

pub const PERIOD: Span = Span::days(30);

pub fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

pub fn snapshot(n: u8) -> SnapshotId {
    SnapshotId::from_random([n; 16])
}

/// The parts of an agent that reading again works with.
pub struct Desk {
    pub book: Book,
    pub keeper: Keeper,
    pub evidence: Evidence,
    pub leaving: AtomicBool,
    /// Bytes that were asked for, to be read.
    pub asked: AtomicU64,
    pub found: Mutex<Vec<Found>>,
}

impl House for Desk {
    fn book(&self) -> &Book {
        &self.book
    }

    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn is_leaving(&self, _: TargetId) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn found(&self, _: TargetId, found: &Found) {
        self.found.lock().unwrap().push(found.clone());
    }

    fn before_read(&self, bytes: usize, _: &dyn Fn() -> bool) -> bool {
        self.asked.fetch_add(bytes as u64, Ordering::Relaxed);
        true
    }
}

/// A host with one root on a file system of its own.
pub struct Host {
    pub disk: Mounted,
    pub root: PathBuf,
    pub data: tempfile::TempDir,
    pub desk: Arc<Desk>,
    pub clock: Arc<AtomicI64>,
}

impl Host {
    pub fn new(kind: &str, mebibytes: u64) -> Self {
        let disk = Mounted::new(kind, mebibytes);
        let root = disk.path().canonicalize().unwrap();
        let data = tempfile::tempdir().unwrap();
        let place = Place(data.path().to_owned());
        let machine = Machine::new().unwrap();
        let voice = Voice {
            agent: AgentId::from_random([1; 16]),
            log: "log.example/test".to_owned(),
            key: SecretKey::from_seed(&[5; 32]),
            epoch: 0,
        };
        let roots = vec![Root {
            path: root.clone(),
            vault: root.join(".holdfast-vault"),
        }];
        let journal = Journal::open(&place.journal(), voice, SEGMENT).unwrap();
        let desk = Desk {
            book: Book::new(journal, Arc::new(machine)).unwrap(),
            keeper: Keeper::open(&place.holds(), roots).unwrap(),
            evidence: Evidence::open(&place).unwrap(),
            leaving: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            found: Mutex::default(),
        };
        Self {
            disk,
            root,
            data,
            desk: Arc::new(desk),
            clock: Arc::new(AtomicI64::new(agent::edge::now().millis())),
        }
    }

    /// Makes files with random content below a folder of the root.
    pub fn files(&self, folder: &str, sizes: &[usize]) -> Vec<PathBuf> {
        let folder = self.root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        let make = |(n, size): (usize, &usize)| {
            let path = folder.join(format!("file-{n:04}"));
            fs::write(&path, noise(*size)).unwrap();
            path
        };
        sizes.iter().enumerate().map(make).collect()
    }

    /// Holds a folder and seals its snapshot.
    pub fn hold(&self, n: u8, folder: &str, holding: Holding) -> SnapshotSealed {
        let path = self.root.join(folder);
        let raised = self
            .desk
            .keeper
            .raise(target(n), &path, holding, &Progress::default())
            .unwrap();
        let machine = Machine::new().unwrap();
        let mut state = SnapshotFile::new(
            target(n),
            machine.random().unwrap(),
            machine.random().unwrap(),
            self.now(),
        );
        let evidence = &self.desk.evidence;
        evidence.keep_snapshot(&snapshot(n), &state).unwrap();
        let source = self.desk.keeper.source(target(n)).unwrap();
        let what = Capture {
            root: source.root.as_fd(),
            relative: &source.relative,
            exclude: source.exclude,
            origins: source.origins,
            snapshot: snapshot(n),
            key: &state.key().unwrap(),
            out: &evidence.manifest(&snapshot(n)),
            threads: 2,
        };
        let sealed = capture(&what, &Reading::default()).unwrap();
        state.sealed = Some(SealedFile {
            root: sealed.root,
            rows: sealed.rows,
            bytes: sealed.bytes,
            unreadable: sealed.unreadable,
            manifest: sealed.manifest,
            manifest_bytes: sealed.manifest_bytes,
            ended: self.now(),
        });
        evidence.keep_snapshot(&snapshot(n), &state).unwrap();
        let opening = state.opening().unwrap();
        let body = SnapshotSealed {
            snapshot: snapshot(n),
            root: sealed.root,
            rows: sealed.rows,
            bytes: sealed.bytes,
            unreadable: sealed.unreadable,
            manifest: sealed.manifest,
            manifest_bytes: sealed.manifest_bytes,
            key: opening.commitment(),
            mechanism: raised.mechanism,
            tool: "test".to_owned(),
            began: self.now(),
            ended: self.now(),
        };
        let said = Body::SnapshotSealed(body.clone());
        self.desk.book.say(said, &[opening]).unwrap();
        body
    }

    pub fn now(&self) -> Time {
        Time::from_millis(self.clock.load(Ordering::Relaxed))
    }

    pub fn days_pass(&self, days: i64) {
        let millis = Span::days(days).millis();
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn fixity(&self, places: Vec<SecondCopy>) -> Arc<Fixity> {
        Arc::new(Fixity::open(self.data.path(), places).unwrap())
    }

    pub fn worker(&self, fixity: &Arc<Fixity>) -> Worker {
        let clock = Arc::clone(&self.clock);
        Worker::new(
            Arc::clone(&self.desk) as Arc<dyn House>,
            Arc::clone(fixity),
            Some(PERIOD),
            Box::new(move || Time::from_millis(clock.load(Ordering::Relaxed))),
            Arc::default(),
        )
    }

    /// Works until there is nothing to do for now.
    pub fn work(&self, worker: &mut Worker) {
        for _ in 0..10_000 {
            match worker.step() {
                Step::Rest(_) => return worker.flush(),
                // A second passes, whatever the pace says.
                Step::Did { .. } => drop(self.clock.fetch_add(1_000, Ordering::Relaxed)),
            }
        }
        panic!("it never rests");
    }

    /// All that was said, with what opens it.
    pub fn said(&self) -> Vec<(Body, Vec<Opening>)> {
        let end = self.desk.book.known(|known| known.head.seq);
        let mut outbox = self.desk.book.outbox(0);
        let mut all = Vec::new();
        while let Some(said) = outbox.next(end).unwrap() {
            let statement = Entry::parse(&said.entry).unwrap().statement().unwrap();
            all.push((statement.body, said.openings));
        }
        all
    }

    /// The kinds of what was said since a snapshot was sealed, in their order.
    pub fn kinds(&self) -> Vec<&'static str> {
        let said = self.said();
        let kinds = said.iter().map(|(body, _)| body.kind());
        kinds.filter(|kind| *kind != "snapshot.sealed").collect()
    }

    pub fn register(&self, n: u8) -> Vec<Item> {
        Register::items(&Shelf::look(self.data.path()), &snapshot(n)).unwrap()
    }

    pub fn shown(&self) -> Vec<show::Shown> {
        show::read(&Place(self.data.path().to_owned())).unwrap()
    }

    /// Lets go of a hold, so that its files can be removed.
    pub fn lower(&self, n: u8) {
        let progress = Progress::default();
        self.desk.keeper.lower(target(n), &progress).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for record in self.desk.keeper.all() {
            let progress = Progress::default();
            let _ = self.desk.keeper.lower(record.target, &progress);
        }
    }
}

/// A place for second copies, on a file system of its own.
pub fn other(kind: &str, mebibytes: u64) -> (Mounted, SecondCopy) {
    let disk = Mounted::new(kind, mebibytes);
    let path = disk.path().canonicalize().unwrap().join("copies");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let copy = SecondCopy {
        path,
        roots: Vec::new(),
        only: agent::fixity::settings::Only::All,
        same_disk: true,
    };
    (disk, copy)
}

/// Bytes that stand nowhere else.
pub fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    bytes
}

/// Changes one block of a file on its medium, below the file system and behind its back: wherever
/// it stands there.
pub fn damage(disk: &Mounted, file: &Path, block: usize) {
    let content = fs::read(file).unwrap();
    let wanted = &content[block * 4096..][..512];
    let status = std::process::Command::new("sync")
        .arg("-f")
        .arg(disk.path())
        .status();
    assert!(status.unwrap().success());
    let image = disk.path().parent().unwrap().join("image");
    let mut image = fs::File::options()
        .read(true)
        .write(true)
        .open(image)
        .unwrap();
    let (mut at, mut hits, mut buffer) = (0_u64, Vec::new(), vec![0; 1 << 20]);
    loop {
        let count = image.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        for here in (0..count.saturating_sub(511)).step_by(512) {
            if buffer[here..here + 512] == *wanted {
                hits.push(at + here as u64);
            }
        }
        at += count as u64;
    }
    assert!(!hits.is_empty(), "the block stands nowhere on the medium");
    for hit in hits {
        image.seek(std::io::SeekFrom::Start(hit + 100)).unwrap();
        image.write_all(b"bit rot").unwrap();
    }
    image.sync_all().unwrap();
}

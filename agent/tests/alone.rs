//! Alone: for thirty days nobody answers. The agent holds, checks, reads again and records; its
//! journal stays small; and when the coordinator is back it gets all of it, in order and without a
//! gap. Whoever comes with old commands, or from another log, is not obeyed.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent::{
    edge::{Edge, Moment},
    enforce::{Keeper, Root},
    fixity::{
        Fixity,
        worker::{Step, Worker},
    },
    guest::Guest,
    journal::{Journal, SEGMENT, Voice, book::Book, known::Stage},
    link::{identity::Identity, upload::Uploads},
    status::Live,
    watch::Watch,
    work::{self, Context, check, evidence::Evidence, queue::Queue, underway::Underways},
};
use common::{
    mounted::{Mounted, can_mount},
    tool,
};
use custody::{
    digest::Digest,
    house::{finding::FindingKind, limits::Limits},
    id::{AgentId, CommandId, SnapshotId},
    ledger::{chain::ChainHead, entry::Entry},
    sign::SecretKey,
    statement::{Body, Finding, HoldAcknowledged, HoldLowered, HoldProof, HoldRaised, Statement},
    time::{Span, Time},
};
use proto::v1::{Holding, Lower, Raise, Task, task::Task as Kind};
use stage::{Host, count, said, target, task};
use tokio_util::sync::CancellationToken;

/// A clock that goes when it is told to.
struct Clock {
    start: Time,
    passed_ms: AtomicI64,
    next: AtomicU64,
}

impl Clock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: agent::edge::now(),
            passed_ms: AtomicI64::new(0),
            next: AtomicU64::new(0),
        })
    }

    fn now(&self) -> Time {
        self.start + Span::seconds(self.passed_ms.load(Ordering::Relaxed) / 1000)
    }

    fn goes_on(&self, hours: i64) {
        self.passed_ms
            .fetch_add(hours * 3_600_000, Ordering::Relaxed);
    }
}

impl Edge for Clock {
    fn moment(&self) -> io::Result<Moment> {
        let mut id = [7; 16];
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        id[..8].copy_from_slice(&next.to_be_bytes());
        let passed = u64::try_from(self.passed_ms.load(Ordering::Relaxed)).unwrap();
        Ok(Moment {
            id: CommandId::from_random(id),
            time: self.now(),
            boot: Digest::of(b"boot"),
            monotonic_ns: passed * 1_000_000,
        })
    }

    fn random(&self) -> io::Result<[u8; 32]> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(*Digest::of(&next.to_be_bytes()).as_bytes())
    }
}

/// The agent of a host without its link: nobody is dialled, and time goes as it is told.
fn cut_off(host: &Host, clock: &Arc<Clock>) -> Arc<Context> {
    let identity = Identity::load(&host.place).unwrap();
    let voice = Voice {
        agent: identity.enrolment.agent,
        log: identity.enrolment.origin.clone(),
        key: SecretKey::from_seed(&identity.key.seed()),
        epoch: identity.enrolment.epoch,
    };
    let journal = Journal::open(&host.place.journal(), voice, SEGMENT).unwrap();
    let root = Root {
        path: host.root.clone(),
        vault: host.root.join(".holdfast-vault"),
    };
    Arc::new(Context {
        book: Book::new(journal, Arc::clone(clock) as Arc<dyn Edge>).unwrap(),
        keeper: Keeper::open(&host.place.holds(), vec![root]).unwrap(),
        evidence: Evidence::open(&host.place).unwrap(),
        queue: Queue::default(),
        uploads: Uploads::new(tokio::sync::watch::channel(None).1),
        live: Arc::new(Live::default()),
        guest: Arc::new(Guest::new(Limits::default(), 0)),
        underway: Underways::default(),
        fixity: Arc::new(Fixity::open(&host.place.0, Vec::new()).unwrap()),
        place: host.place.clone(),
        watch: Watch::open(&host.place.holds(), Digest::of(b"boot")),
    })
}

fn freeze(host: &Host, n: u8, position: u64, folder: &str) -> Task {
    let raise = Raise {
        target: target(n).to_string(),
        path: host
            .root
            .join(folder)
            .as_os_str()
            .as_bytes()
            .to_vec()
            .into(),
        holding: Holding::Freeze.into(),
        ..Raise::default()
    };
    task(Kind::Raise(raise), position)
}

fn lower(n: u8, position: u64) -> Task {
    let target = target(n).to_string();
    task(Kind::Lower(Lower { target }), position)
}

fn size_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_days_alone_are_held_checked_read_again_and_told_without_a_gap() {
    let name = "thirty_days_alone_are_held_checked_read_again_and_told_without_a_gap";
    if !can_mount(name) {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let mut host = Host::bare(coordinator::Coordinator::start().await);
    host.root = mounted.path().to_owned();
    for folder in ["alice", "bob"] {
        fs::create_dir(host.root.join(folder)).unwrap();
        for file in ["one", "two", "three"] {
            fs::write(
                host.root.join(folder).join(file),
                format!("{folder} {file}"),
            )
            .unwrap();
        }
    }
    host.enrol().await.unwrap();
    let snapshot = SnapshotId::from_random([5; 16]);
    let capture = proto::v1::Capture {
        snapshot: snapshot.to_string(),
        target: target(1).to_string(),
    };
    host.tasks(vec![
        freeze(&host, 1, 5, "alice"),
        freeze(&host, 2, 6, "bob"),
        task(Kind::Capture(capture), 7),
    ]);
    let running = host.run();
    let sealed = said("snapshot.sealed", 1);
    let verified = said("hold.verified", 2);
    let both = |script: &_| sealed(script) && verified(script);
    host.coordinator.until("held and captured", both).await;
    running.stop().await.unwrap();
    let told = host.coordinator.kinds().len();

    // The thirty days: a check every six hours, and once in a while somebody uses force.
    let clock = Clock::new();
    let context = cut_off(&host, &clock);
    let stop = CancellationToken::new();
    let working = tokio::spawn(work::run(Arc::clone(&context), stop.clone()));
    let reading = {
        let clock = Arc::clone(&clock);
        let now = Box::new(move || clock.now());
        let (house, fixity) = (Arc::clone(&context), Arc::clone(&context.fixity));
        let period = Some(Span::hours(24 * 10));
        Worker::new(house, fixity, period, now, Arc::new(AtomicBool::new(false)))
    };
    let mut reading = Some(reading);
    let mut harms = 0;
    for step in 1..=120 {
        clock.goes_on(6);
        let harmed = host.root.join("alice/one");
        let harm = step % 20 == 0;
        if harm {
            harms += 1;
            tool("chattr", &["-i", harmed.to_str().unwrap()]);
        }
        check::check_all(&context, &stop).await;
        while !context.queue.is_empty() || context.queue.has("raise", &target(1).to_string()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(
            common::trees::is_flagged(&harmed),
            "step {step}: it is put back"
        );
        let mut worker = reading.take().unwrap();
        reading = tokio::task::spawn_blocking(move || {
            for _ in 0..100 {
                if worker.tend().is_none() && matches!(worker.read_on(), Step::Rest(_)) {
                    break;
                }
            }
            worker.flush();
            Some(worker)
        })
        .await
        .unwrap();
    }
    stop.cancel();
    working.await.unwrap();
    drop((reading, context));
    assert!(clock.now() - clock.start >= Span::hours(24 * 30));
    let known = Journal::look(&host.place.journal()).unwrap();
    assert_eq!(host.stages(), [Stage::Verified, Stage::Verified]);
    // What stayed as it was is not said again: a statement for each harm and its undoing, and one
    // for each time all was read again.
    assert!(
        (2 * harms..2 * harms + 12).contains(&known.queued()),
        "{}",
        known.queued()
    );
    assert!(size_of(&host.place.journal()) < 100_000);

    // They are back.
    host.tasks(Vec::new());
    let running = host.run();
    let all = known.head.seq;
    let caught_up = move |script: &coordinator::Script| script.head.unwrap().seq >= all;
    host.coordinator.until("everything", caught_up).await;
    running.stop().await.unwrap();
    let statements: Vec<Statement> = host.coordinator.get(|script| {
        script
            .statements
            .iter()
            .map(|(_, said)| said.clone())
            .collect()
    });
    let alone = &statements[told..usize::try_from(all).unwrap()];
    let kinds: Vec<_> = alone.iter().map(|said| said.body.kind()).collect();
    assert_eq!(
        count(&kinds, "finding"),
        usize::try_from(harms).unwrap(),
        "{kinds:?}"
    );
    assert_eq!(
        count(&kinds, "hold.verified"),
        usize::try_from(harms).unwrap()
    );
    assert!(count(&kinds, "fixity.checked") >= 2, "{kinds:?}");
    let times: Vec<_> = alone.iter().map(|said| said.time).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(*times.last().unwrap() - times[0] >= Span::hours(24 * 20));
    let _ = std::process::Command::new("chattr")
        .args(["-R", "-f", "-i"])
        .arg(&host.root)
        .status();
}

fn voice() -> Voice {
    Voice {
        agent: AgentId::from_random([9; 16]),
        log: "log.example/1".to_owned(),
        key: SecretKey::from_seed(&[1; 32]),
        epoch: 0,
    }
}

/// Everything that was said, with its chain followed.
fn everything(book: &Book) -> Vec<Body> {
    let end = book.known(|known| known.head.seq);
    let (mut outbox, mut prev) = (book.outbox(0), ChainHead::start(0).prev);
    let mut all = Vec::new();
    while let Some(said) = outbox.next(end).unwrap() {
        let entry = Entry::parse(&said.entry).unwrap();
        let statement = entry.statement().unwrap();
        let link = statement.link.unwrap();
        assert_eq!((link.seq, link.prev), (all.len() as u64, prev));
        prev = entry.digest();
        all.push(statement.body);
    }
    all
}

fn finding(n: u8, what: FindingKind, count: u64) -> Body {
    Body::Finding(Finding {
        what,
        target: Some(target(n)),
        count,
        evidence: Vec::new(),
        entry: None,
        places: Vec::new(),
        by: None,
        noticed: None,
    })
}

fn proof(n: u8) -> HoldProof {
    HoldProof {
        target: target(n),
        attempts: 9,
        refused: 9,
        writers: 0,
    }
}

fn raised(n: u8) -> Body {
    Body::HoldRaised(HoldRaised {
        target: target(n),
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        file_system: "ext4".to_owned(),
        does_not_prevent: Vec::new(),
        files: 1,
        folders: 1,
        bytes: 1,
    })
}

#[test]
fn a_journal_that_nobody_reads_stays_bounded_and_loses_no_hold_and_no_count() {
    const BOUND: u64 = 48 << 10;
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let open = || {
        let mut journal = Journal::open(folder.path(), voice(), SEGMENT).unwrap();
        journal.press_at(BOUND);
        Book::new(journal, Arc::clone(&clock) as Arc<dyn Edge>).unwrap()
    };
    let mut book = open();
    let say = |book: &Book, body: Body| book.say(body, &[]).unwrap();
    for n in 0..3 {
        say(
            &book,
            Body::HoldAcknowledged(HoldAcknowledged { target: target(n) }),
        );
        say(&book, raised(n));
        say(&book, Body::HoldVerified(proof(n)));
    }
    // Somebody takes a flag off again and again, and each time it is put back.
    let mut found: BTreeMap<(u8, FindingKind), u64> = BTreeMap::new();
    for round in 0..400_u64 {
        clock.goes_on(1);
        let n = (round % 3) as u8;
        let kinds = [FindingKind::ProtectionGone, FindingKind::HeldChanged];
        let what = kinds[usize::from(round % 5 == 0)];
        say(&book, finding(n, what, 1 + round % 4));
        assert_eq!(
            book.known(|known| known.targets[&target(n)].stage),
            Stage::Drifted
        );
        *found.entry((n, what)).or_default() += 1 + round % 4;
        say(&book, Body::HoldVerified(proof(n)));
        assert_eq!(
            book.known(|known| known.targets[&target(n)].stage),
            Stage::Verified
        );
        if round % 150 == 149 {
            // Also after a restart in between.
            let before = (book.held_back(), book.known(Clone::clone));
            drop(book);
            book = open();
            assert_eq!((book.held_back(), book.known(Clone::clone)), before);
        }
    }
    assert!(book.held_back() > 500, "{}", book.held_back());
    // What is asked is said however much waits, and so is what was never said before.
    let at = book.known(|known| known.head.seq);
    say(
        &book,
        Body::HoldAcknowledged(HoldAcknowledged { target: target(7) }),
    );
    say(&book, raised(7));
    say(&book, Body::HoldVerified(proof(7)));
    say(&book, finding(7, FindingKind::MountedOver, 1));
    assert_eq!(book.known(|known| known.head.seq), at + 4);
    let lowered = HoldLowered {
        target: target(2),
        freed: 1,
        kept: 0,
    };
    say(&book, Body::HoldLowered(lowered.clone()));
    assert_eq!(
        book.known(|known| known.targets[&target(2)].stage),
        Stage::Lowered
    );
    assert!(
        size_of(folder.path()) < 2 * BOUND,
        "{}",
        size_of(folder.path())
    );

    // The coordinator takes it all: then the rest is said, and nothing is held back any more.
    let mut taken = 0;
    while book.known(|known| known.queued()) > 0 {
        let head = book.known(|known| known.head.seq);
        book.recorded(0, head - 1, head).unwrap();
        taken += 1;
        assert!(taken < 10);
    }
    assert_eq!(book.held_back(), 0);
    let all = everything(&book);
    let mut counted: BTreeMap<(u8, FindingKind), u64> = BTreeMap::new();
    for body in &all {
        if let Body::Finding(finding) = body {
            let of = |n: &u8| finding.target == Some(target(*n));
            let n = (0..8).find(of).unwrap();
            if n < 3 {
                *counted.entry((n, finding.what)).or_default() += finding.count;
            }
        }
    }
    assert_eq!(counted, found, "nothing that was found is lost");
    // In the end each target is said to be as it is, and the lowered one says nothing after that.
    for n in [0, 1] {
        let last = all.iter().rev().find(|body| match body {
            Body::HoldVerified(proof) => proof.target == target(n),
            Body::Finding(finding) => finding.target == Some(target(n)),
            _ => false,
        });
        assert!(matches!(last, Some(Body::HoldVerified(_))), "{n}: {last:?}");
    }
    let of_two = |body: &&Body| match body {
        Body::HoldVerified(proof) => proof.target == target(2),
        Body::Finding(finding) => finding.target == Some(target(2)),
        Body::HoldLowered(said) => said.target == target(2),
        _ => false,
    };
    assert_eq!(
        all.iter().rev().find(of_two),
        Some(&Body::HoldLowered(lowered))
    );
    for n in [0, 1, 2, 7] {
        let said =
            |body: &&Body| matches!(body, Body::HoldAcknowledged(b) if b.target == target(n));
        assert_eq!(all.iter().filter(said).count(), 1, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_lift_that_comes_again_after_a_newer_hold_frees_nothing() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "alice")]);
    let running = host.run();
    host.coordinator
        .until("held", said("hold.verified", 1))
        .await;
    host.coordinator
        .set(|script| script.tasks = vec![lower(1, 6)]);
    running.stop().await.unwrap();
    let running = host.run();
    host.coordinator
        .until("lifted", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
    host.tasks(vec![host.raise(1, 7, "alice")]);
    let running = host.run();
    host.coordinator
        .until("held again", said("hold.verified", 2))
        .await;
    running.stop().await.unwrap();
    // The old lift is played again, beside a new hold that shows that it was heard; twice, with a
    // restart between.
    for n in [2, 3] {
        host.tasks(vec![lower(1, 6), host.raise(n, 10 + u64::from(n), "bob")]);
        let running = host.run();
        let times = usize::from(n) + 1;
        host.coordinator
            .until("the other", said("hold.verified", times))
            .await;
        running.stop().await.unwrap();
        assert_eq!(host.stages()[0], Stage::Verified);
    }
    assert_eq!(count(&host.coordinator.kinds(), "hold.lowered"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_with_another_log_is_told_nothing_and_obeyed_in_nothing() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "alice")]);
    let running = host.run();
    host.coordinator
        .until("held", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    let (told, hellos) = host.coordinator.get(|s| (s.received.len(), s.hellos.len()));
    host.coordinator.set(|script| {
        script.other_log = true;
        script.tasks = vec![lower(1, 1_000)];
    });
    let running = host.run();
    host.coordinator
        .until("it came", move |script| script.hellos.len() > hellos)
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.stop().await.unwrap();
    assert_eq!(host.stages(), [Stage::Verified]);
    assert_eq!(host.coordinator.get(|script| script.received.len()), told);
    // It was not even noted: the true log's lift counts as before.
    host.coordinator.set(|script| {
        script.other_log = false;
        script.tasks = vec![lower(1, 6)];
    });
    let running = host.run();
    host.coordinator
        .until("lifted", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_became_shorter_frees_nothing_until_it_is_as_long_again() {
    let host = Host::new().await;
    host.coordinator.set(|script| script.log_size = Some(100));
    host.tasks(vec![host.raise(1, 5, "alice")]);
    let running = host.run();
    host.coordinator
        .until("held", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    host.coordinator.set(|script| script.log_size = Some(50));
    // Holding goes on for it; lifting does not.
    host.tasks(vec![lower(1, 200), host.raise(2, 201, "bob")]);
    let running = host.run();
    host.coordinator
        .until("the other", said("hold.verified", 2))
        .await;
    running.stop().await.unwrap();
    assert_eq!(host.stages(), [Stage::Verified, Stage::Verified]);
    host.coordinator.set(|script| script.log_size = Some(101));
    let running = host.run();
    host.coordinator
        .until("lifted", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
}

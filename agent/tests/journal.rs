//! The journal: what was said is there after any crash, to the byte, and damage is named.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::{
    edge::{Edge, Moment},
    journal::{
        Journal, Voice,
        book::Book,
        error::JournalError,
        known::{Known, Stage},
        outbox::Said,
    },
};
use custody::{
    commit::Opening,
    digest::Digest,
    id::{AgentId, CommandId, TargetId},
    ledger::{chain::ChainHead, entry::Entry},
    sign::{SecretKey, Signer as _},
    statement::{Body, HoldAcknowledged, HoldProof, Seen},
    time::Time,
};

const ROLL: u64 = 4096;

fn voice(epoch: u64) -> Voice {
    Voice {
        agent: AgentId::from_random([9; 16]),
        log: "log.example/1".to_owned(),
        key: key(epoch),
        epoch,
    }
}

fn key(epoch: u64) -> SecretKey {
    SecretKey::from_seed(&[epoch as u8 + 1; 32])
}

fn moment(n: u64) -> Moment {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Moment {
        id: CommandId::from_random(id),
        time: Time::from_millis(1_700_000_000_000 + n as i64),
        boot: Digest::of(b"boot"),
        monotonic_ns: n,
    }
}

fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

fn acknowledge(n: u8) -> Body {
    Body::HoldAcknowledged(HoldAcknowledged { target: target(n) })
}

fn opened(folder: &Path) -> Journal {
    Journal::open(folder, voice(0), ROLL).unwrap()
}

/// Everything that was said in an epoch, with its chain and signatures verified.
fn everything(journal: &Journal, epoch: u64, end: u64) -> Vec<Said> {
    let mut outbox = journal.outbox(epoch, 0);
    let (mut all, mut prev) = (Vec::new(), ChainHead::start(epoch).prev);
    while let Some(said) = outbox.next(end).unwrap() {
        let entry = Entry::parse(&said.entry).unwrap();
        let statement = entry.statement().unwrap();
        let namespace = statement.namespace();
        entry.verify(namespace, &key(epoch).public_key()).unwrap();
        let link = statement.link.unwrap();
        assert_eq!((link.epoch, link.seq), (epoch, all.len() as u64));
        assert_eq!(link.prev, prev);
        prev = entry.digest();
        all.push(said);
    }
    assert_eq!(all.len() as u64, end);
    all
}

fn last_segment(folder: &Path) -> PathBuf {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all.pop().unwrap()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[test]
fn a_record_torn_at_any_byte_is_cut_off_and_nothing_before_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    for n in 0..3 {
        journal.say(acknowledge(n), &[], &moment(n.into())).unwrap();
    }
    let before = journal.known().clone();
    let said = everything(&journal, 0, 3);
    let whole = fs::metadata(last_segment(folder.path())).unwrap().len();
    journal.say(acknowledge(3), &[], &moment(3)).unwrap();
    drop(journal);
    let longer = fs::metadata(last_segment(folder.path())).unwrap().len();
    for length in whole..longer {
        let torn = copy(folder.path());
        let file = fs::File::options()
            .write(true)
            .open(last_segment(torn.path()));
        file.unwrap().set_len(length).unwrap();
        assert_eq!(*opened(torn.path()).known(), before, "cut to {length}");
        let mut again = opened(torn.path());
        again.say(acknowledge(4), &[], &moment(4)).unwrap();
        assert_eq!(everything(&again, 0, 4)[..3], said);
        // The sizes of files are written before their bytes on some file systems: zeros.
        let zeros = copy(folder.path());
        let path = last_segment(zeros.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(length).unwrap()..].fill(0);
        fs::write(&path, bytes).unwrap();
        assert_eq!(*opened(zeros.path()).known(), before, "zeros from {length}");
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn two_hundred_seeded_crashes_lose_nothing_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x5eed);
    let (mut said, mut n) = (Vec::<Vec<u8>>::new(), 0_u64);
    let mut known = Known::default();
    for round in 0..200 {
        let mut journal = opened(folder.path());
        assert_eq!(*journal.known(), known, "round {round}");
        for _ in 0..dice.roll(8) {
            n += 1;
            match dice.roll(5) {
                0 => drop(journal.took(&format!("thing-{}", n % 7), n).unwrap()),
                1 => {
                    let root = Digest::of(&n.to_be_bytes());
                    journal.saw(Seen { size: n, root }).unwrap();
                }
                2 if !said.is_empty() => {
                    let seq = dice.roll(said.len() as u64);
                    journal.recorded(0, seq, n).unwrap();
                }
                _ => {
                    let opening = Opening::new("salt-key", vec![7; 32], [n as u8; 32]);
                    let openings = if dice.roll(2) == 0 {
                        vec![opening]
                    } else {
                        vec![]
                    };
                    let body = acknowledge(n as u8);
                    journal.say(body, &openings, &moment(n)).unwrap();
                    let end = journal.known().head.seq;
                    let mut outbox = journal.outbox(0, end - 1);
                    let last = outbox.next(end).unwrap().unwrap();
                    assert_eq!(last.openings, openings);
                    said.push(last.entry);
                }
            }
        }
        known = journal.known().clone();
        drop(journal);
        // The crash: part of one more record got to the disk, or the opening of a statement
        // that was never written, or the beginning of a segment.
        let path = last_segment(folder.path());
        match dice.roll(3) {
            0 => {
                let other = copy(folder.path());
                let length = fs::metadata(&path).unwrap().len();
                let mut more = Journal::open(other.path(), voice(0), u64::MAX).unwrap();
                more.say(acknowledge(200), &[], &moment(n + 1_000_000))
                    .unwrap();
                drop(more);
                let bytes = fs::read(last_segment(other.path())).unwrap();
                let extra = bytes.len() as u64 - length;
                let cut = usize::try_from(length + dice.roll(extra)).unwrap();
                fs::write(&path, &bytes[..cut]).unwrap();
            }
            1 => {
                let orphan = format!("0-{}.openings", known.head.seq);
                fs::write(folder.path().join(orphan), "[]").unwrap();
            }
            _ => {
                let mut part = path.into_os_string();
                part.push(".part");
                fs::write(part, "half").unwrap();
            }
        }
    }
    let journal = opened(folder.path());
    let kept = everything(&journal, 0, said.len() as u64);
    assert!(kept.iter().map(|said| &said.entry).eq(&said));
    assert!(
        fs::read_dir(folder.path()).unwrap().count() > 10,
        "it rolled"
    );
    let recorded = journal.known().recorded;
    for said in kept {
        assert!(
            said.seq >= recorded || said.openings.is_empty(),
            "{}",
            said.seq
        );
    }
}

#[test]
fn damage_anywhere_but_at_the_end_is_named_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    for n in 0..20 {
        journal.say(acknowledge(n), &[], &moment(n.into())).unwrap();
    }
    drop(journal);
    let first = folder.path().join("000000000000.seg");
    let length = fs::metadata(&first).unwrap().len();
    let mut dice = Dice(7);
    for _ in 0..200 {
        let damaged = copy(folder.path());
        let path = damaged.path().join("000000000000.seg");
        let mut bytes = fs::read(&path).unwrap();
        let at = usize::try_from(dice.roll(length)).unwrap();
        bytes[at] ^= 1 << dice.roll(8);
        fs::write(&path, &bytes).unwrap();
        match Journal::open(damaged.path(), voice(0), ROLL).unwrap_err() {
            JournalError::Damaged { segment, .. } => assert_eq!(segment, "000000000000.seg"),
            other => panic!("{other}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let gone = copy(folder.path());
    fs::remove_file(gone.path().join("000000000001.seg")).unwrap();
    let error = Journal::open(gone.path(), voice(0), ROLL).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let swapped = copy(folder.path());
    let (one, two) = (
        swapped.path().join("000000000001.seg"),
        swapped.path().join("000000000002.seg"),
    );
    fs::copy(&two, &one).unwrap();
    assert!(Journal::open(swapped.path(), voice(0), ROLL).is_err());
}

#[test]
fn openings_stay_until_the_statement_is_recorded_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    let opening = Opening::new("salt-key", vec![5; 32], [6; 32]);
    journal
        .say(acknowledge(1), std::slice::from_ref(&opening), &moment(1))
        .unwrap();
    journal.say(acknowledge(2), &[], &moment(2)).unwrap();
    drop(journal);
    let mut journal = opened(folder.path());
    let said = everything(&journal, 0, 2);
    assert_eq!(said[0].openings, [opening]);
    assert_eq!(journal.known().queued(), 2);
    journal.recorded(0, 0, 100).unwrap();
    assert_eq!(journal.known().queued(), 1);
    let again = everything(&journal, 0, 2);
    assert_eq!(again[0].openings, []);
    assert_eq!(again[0].entry, said[0].entry);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let secret = hex::encode([6; 32]);
        assert!(!bytes.windows(64).any(|w| w == secret.as_bytes()));
    }
    // What it never said cannot have been recorded, and the cursor never goes back.
    journal.recorded(0, 7, 101).unwrap();
    journal.recorded(3, 0, 101).unwrap();
    assert_eq!(journal.known().recorded, 1);
    journal.recorded(0, 1, 101).unwrap();
    journal.recorded(0, 0, 102).unwrap();
    assert_eq!(journal.known().recorded, 2);
}

struct Scripted(std::sync::atomic::AtomicU64);

impl Edge for Scripted {
    fn moment(&self) -> io::Result<Moment> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(moment(5000 + n))
    }
    fn random(&self) -> io::Result<[u8; 32]> {
        Ok([3; 32])
    }
}

#[test]
fn a_new_enrolment_begins_a_chain_and_says_again_what_the_ledger_never_got() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    let opening = Opening::new("salt-key", vec![5; 32], [6; 32]);
    for n in 0..5 {
        let openings = if n == 3 {
            vec![opening.clone()]
        } else {
            vec![]
        };
        journal
            .say(acknowledge(n), &openings, &moment(n.into()))
            .unwrap();
    }
    journal.recorded(0, 1, 10).unwrap();
    drop(journal);
    // A crash between: one was said again.
    let mut journal = Journal::open(folder.path(), voice(1), ROLL).unwrap();
    assert_eq!(journal.known().head, ChainHead::start(1));
    assert!(journal.repeat_one(&moment(70)).unwrap());
    drop(journal);
    let journal = Journal::open(folder.path(), voice(1), ROLL).unwrap();
    let edge = Arc::new(Scripted(0.into()));
    let book = Book::new(journal, edge).unwrap();
    let head = book.say(acknowledge(9), &[]).unwrap();
    assert_eq!((head.epoch, head.seq), (1, 4));
    drop(book);
    let journal = Journal::open(folder.path(), voice(1), ROLL).unwrap();
    let said = everything(&journal, 1, 4);
    let bodies: Vec<Body> = said
        .iter()
        .map(|said| Entry::parse(&said.entry).unwrap().statement().unwrap().body)
        .collect();
    let expected: Vec<Body> = [2, 3, 4, 9].into_iter().map(acknowledge).collect();
    assert_eq!(bodies, expected);
    assert_eq!(said[1].openings, [opening]);
    everything(&journal, 0, 5);
    // The key of an older enrolment cannot go on.
    drop(journal);
    assert!(Journal::open(folder.path(), voice(0), ROLL).is_err());
    // Nor can another agent.
    let mut other = voice(1);
    other.agent = AgentId::from_random([8; 16]);
    let refused = Journal::open(folder.path(), other, ROLL).unwrap_err();
    assert!(matches!(refused, JournalError::Other { .. }));
}

#[test]
fn what_is_known_is_the_fold_of_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    journal.say(acknowledge(1), &[], &moment(1)).unwrap();
    let proof = HoldProof {
        target: target(1),
        attempts: 9,
        refused: 9,
        writers: 0,
    };
    journal
        .say(Body::HoldVerified(proof), &[], &moment(2))
        .unwrap();
    assert!(journal.took("tgt-1", 10).unwrap());
    assert!(
        journal.took("tgt-1", 10).unwrap(),
        "the same again is not stale"
    );
    assert!(!journal.took("tgt-1", 9).unwrap());
    let root = Digest::of(b"root");
    journal.saw(Seen { size: 8, root }).unwrap();
    journal
        .saw(Seen {
            size: 7,
            root: Digest::of(b"older"),
        })
        .unwrap();
    assert_eq!(journal.known().seen, Some(Seen { size: 8, root }));
    let known = journal.known().clone();
    assert_eq!(known.targets[&target(1)].stage, Stage::Verified);
    drop(journal);
    let mut again = opened(folder.path());
    assert_eq!(*again.known(), known);
    assert!(!again.took("tgt-1", 9).unwrap(), "also after a restart");
    assert_eq!(Journal::look(folder.path()).unwrap(), known);
}

#[test]
fn openings_of_what_could_not_be_said_never_go_with_another_statement() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = opened(folder.path());
    let (opening, mut said) = (Opening::new("salt-key", vec![5; 32], [6; 32]), 0);
    // The disk refuses: here, the next segment cannot be begun.
    let obstacle = folder.path().join("000000000001.seg.part");
    fs::create_dir(&obstacle).unwrap();
    let refused = loop {
        let openings = std::slice::from_ref(&opening);
        match journal.say(acknowledge(said), openings, &moment(said.into())) {
            Ok(_) => said += 1,
            Err(error) => break error,
        }
    };
    assert!(!refused.is_fatal(), "{refused}");
    fs::remove_dir(&obstacle).unwrap();
    journal.say(acknowledge(said), &[], &moment(100)).unwrap();
    let last = everything(&journal, 0, u64::from(said) + 1).pop();
    assert_eq!(last.unwrap().openings, []);
}

#[test]
fn a_full_disk_stops_speaking_without_damage_and_room_lets_it_go_on() {
    let name = "a_full_disk_stops_speaking_without_damage_and_room_lets_it_go_on";
    if !rustix::process::geteuid().is_root() {
        return common::skipped(name, "needs root to mount a small tmpfs");
    }
    let mount = tempfile::tempdir().unwrap();
    let at = mount.path().to_str().unwrap();
    common::tool("mount", &["-t", "tmpfs", "-o", "size=128k", "tmpfs", at]);
    let outcome = std::panic::catch_unwind(|| {
        let filler = mount.path().join("filler");
        fs::write(&filler, vec![1; 64 << 10]).unwrap();
        let folder = mount.path().join("journal");
        let mut journal = Journal::open(&folder, voice(0), 16 << 10).unwrap();
        let mut said = 0;
        let error = loop {
            match journal.say(acknowledge(said as u8), &[], &moment(said)) {
                Ok(_) => said += 1,
                Err(error) => break error,
            }
        };
        assert!(said > 10 && !error.is_fatal(), "{error}");
        everything(&journal, 0, said);
        fs::remove_file(&filler).unwrap();
        journal.say(acknowledge(1), &[], &moment(said)).unwrap();
        drop(journal);
        let journal = Journal::open(&folder, voice(0), 16 << 10).unwrap();
        everything(&journal, 0, said + 1);
    });
    common::tool("umount", &[at]);
    outcome.unwrap();
}

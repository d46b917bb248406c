//! The verifier of logs: whatever is done to a log, it is named, and never called valid.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use custody::{
    digest::Digest,
    house::person::Role,
    ledger::{note::NoteKey, policy::Policy, tile},
    statement::{Author, Body, RequestMake},
    verify::{
        log::{Anchor, Asked, Audited, audit},
        report::{Level, Verdict},
    },
};
use support::{Log, Manifest, person, request};

type Files = BTreeMap<String, Vec<u8>>;

fn asked(log: &Log) -> Asked<'_> {
    Asked {
        key: Some(log.vkey()),
        key_is_from_outside: true,
        workers: 2,
        ..Asked::default()
    }
}

fn verdict(audited: &Audited) -> Verdict {
    audited.findings.verdict(audited.anchor.is_some())
}

fn places(audited: &Audited) -> Vec<String> {
    let broken = audited
        .findings
        .all()
        .iter()
        .filter(|f| f.level != Level::Note);
    broken.map(|f| f.place.clone()).collect()
}

fn check(files: &Files, log: &Log) -> (Verdict, Vec<String>, String) {
    let audited = audit(files, asked(log), &|_, _| {});
    let told = format!("{:#?}", audited.findings.all());
    (verdict(&audited), places(&audited), told)
}

fn story() -> Log {
    let manifest = Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")]);
    Log::story(&manifest, "age1owner", b"ciphertext")
}

#[test]
fn a_whole_log_is_valid_at_every_size_around_the_edges() {
    for size in [0, 1, 2, 14, 15, 16, 255, 256, 257, 258, 511, 512, 513] {
        let log = Log::of_size(size);
        let (verdict, places, told) = check(&log.files(), &log);
        assert_eq!(verdict, Verdict::Valid, "{size}: {places:?} {told}");
    }
    let log = story();
    let audited = audit(&log.files(), asked(&log), &|_, _| {});
    assert_eq!(verdict(&audited), Verdict::Valid, "{:#?}", audited.findings);
    assert_eq!(audited.entries.house().releases.len(), 1);
    assert_eq!(audited.entries.entries(), log.size());
}

#[test]
fn without_an_anchor_from_outside_nothing_is_called_valid() {
    let log = story();
    for key in [Some(log.vkey()), None] {
        let inside = Asked {
            key,
            key_is_from_outside: false,
            ..asked(&log)
        };
        let audited = audit(&log.files(), inside, &|_, _| {});
        assert_eq!(verdict(&audited), Verdict::Unanchored);
    }
    let older = log.checkpoint_at(20);
    let inside = Asked {
        key_is_from_outside: false,
        older: Some(older.as_bytes()),
        ..asked(&log)
    };
    let audited = audit(&log.files(), inside, &|_, _| {});
    assert_eq!(audited.anchor, Some(Anchor::Checkpoint(20)));
    assert_eq!(verdict(&audited), Verdict::Valid);
}

#[test]
fn another_logs_key_anchors_nothing() {
    let log = story();
    let other = NoteKey::from_seed(support::ORIGIN, 1, &[1; 32]).unwrap();
    let with = Asked {
        key: Some(other.verifier()),
        ..asked(&log)
    };
    let audited = audit(&log.files(), with, &|_, _| {});
    assert_eq!(verdict(&audited), Verdict::DoesNotVerify);
}

/// Entries of the bundle that holds a byte, or the hash of a tile.
fn named(path: &str, files: &Files, at: usize) -> String {
    if path.starts_with("tile/entries/") {
        let base = if path.contains("/000") { 0 } else { 256 };
        let (mut begin, mut index) = (0, base);
        for entry in tile::entries(&files[path]).unwrap() {
            if at < begin + 2 + entry.len() {
                break;
            }
            begin += 2 + entry.len();
            index += 1;
        }
        return format!("entry {index}");
    }
    if path.starts_with("tile/") {
        return format!("{path} hash {}", at / 32);
    }
    path.to_owned()
}

/// Whether a list of places names one, alone or within a run.
fn names(places: &[String], place: &str) -> bool {
    let Some((head, Ok(number))) = place.rsplit_once(' ').map(|(h, n)| (h, n.parse::<u64>()))
    else {
        return places.iter().any(|found| found == place);
    };
    let many = head.replace("entry", "entries").replace(" hash", " hashes");
    let within = |found: &String| -> Option<bool> {
        let (first, last) = found.strip_prefix(&many)?.trim().split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some((first..=last).contains(&number))
    };
    places
        .iter()
        .any(|found| found == place || within(found) == Some(true))
}

#[test]
fn a_flipped_byte_anywhere_is_named_where_it_is_and_nowhere_else() {
    let log = Log::of_size(300);
    let files = log.files();
    for (path, bytes) in &files {
        let step = (bytes.len() / 4).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = files.clone();
            damaged.get_mut(path).unwrap()[at] ^= 0x01;
            let (verdict, places, told) = check(&damaged, &log);
            assert_eq!(verdict, Verdict::DoesNotVerify, "{path} byte {at}");
            let place = named(path, &files, at);
            let lengths = path.starts_with("tile/entries/") && places.contains(path);
            assert!(
                names(&places, &place) || lengths,
                "{path} byte {at}: {place} not in {told}"
            );
            // The tree is whole, so no entry is blamed for a tile and no tile for an entry.
            if path.starts_with("tile/entries/") {
                assert!(!told.contains("hash"), "{path} byte {at}: {told}");
            } else {
                assert!(
                    !places.iter().any(|p| p.starts_with("entr")),
                    "{path} {at}: {told}"
                );
            }
        }
    }
}

/// What can be done to a file.
fn actions(bytes: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let doubled = [bytes, bytes].concat();
    let mut longer = bytes.to_vec();
    longer.push(b'x');
    let mut shifted = bytes.to_vec();
    shifted.insert(bytes.len() / 3, 0);
    vec![
        ("deleted", None),
        ("emptied", Some(Vec::new())),
        ("truncated by one", Some(bytes[..bytes.len() - 1].to_vec())),
        ("halved", Some(bytes[..bytes.len() / 2].to_vec())),
        ("doubled", Some(doubled)),
        ("made longer", Some(longer)),
        ("a byte put in", Some(shifted)),
        ("garbage", Some(vec![0xa5; bytes.len()])),
        ("zeros", Some(vec![0; bytes.len()])),
    ]
}

#[test]
fn whatever_is_done_to_any_file_it_is_found_and_the_file_or_its_entries_are_named() {
    {
        let log = Log::of_size(257);
        let files = log.files();
        for (path, bytes) in &files {
            for (action, changed) in actions(bytes) {
                let mut damaged = files.clone();
                match changed {
                    Some(changed) => damaged.insert(path.clone(), changed),
                    None => damaged.remove(path),
                };
                let (verdict, places, told) = check(&damaged, &log);
                assert_eq!(verdict, Verdict::DoesNotVerify, "{path} {action}");
                let entries = path.starts_with("tile/entries/");
                let fits = |place: &String| {
                    place.starts_with(path.as_str()) || (entries && place.starts_with("entr"))
                };
                assert!(places.iter().any(fits), "{path} {action}: {told}");
            }
        }
    }
}

/// Writes the bundle of a log of one bundle anew.
fn with_entries(files: &Files, change: impl Fn(&mut Vec<Vec<u8>>)) -> Files {
    let (path, bytes) = files
        .iter()
        .find(|(path, _)| path.starts_with("tile/entries/"))
        .unwrap();
    let mut entries: Vec<_> = tile::entries(bytes)
        .unwrap()
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
    change(&mut entries);
    let mut bundle = Vec::new();
    entries
        .iter()
        .for_each(|entry| tile::put_entry(&mut bundle, entry).unwrap());
    let mut changed = files.clone();
    changed.insert(path.clone(), bundle);
    changed
}

#[test]
fn entries_swapped_removed_repeated_or_put_in_are_named() {
    let log = story();
    let files = log.files();
    let swapped = with_entries(&files, |entries| entries.swap(17, 20));
    let (verdict, places, told) = check(&swapped, &log);
    assert_eq!(verdict, Verdict::DoesNotVerify);
    assert_eq!(places, ["entry 17", "entry 20"], "{told}");
    assert!(told.contains("the bytes of entry 20"), "{told}");

    let removed = with_entries(&files, |entries| drop(entries.remove(17)));
    let repeated = with_entries(&files, |entries| entries.insert(17, entries[16].clone()));
    let put_in = with_entries(&files, |entries| entries.insert(17, b"{}".to_vec()));
    for changed in [removed, repeated, put_in] {
        let (verdict, places, told) = check(&changed, &log);
        assert_eq!(verdict, Verdict::DoesNotVerify);
        assert!(names(&places, "entry 17"), "{told}");
        assert!(!names(&places, "entry 16"), "{told}");
    }
}

#[test]
fn all_damage_is_reported_not_only_the_first() {
    let log = Log::of_size(600);
    let mut files = log.files();
    for (path, at) in [
        ("tile/0/000", 32 * 7),
        ("tile/0/001", 32 * 9),
        ("tile/1/000.p/2", 0),
        ("tile/entries/002.p/88", 40),
    ] {
        files.get_mut(path).unwrap()[at] ^= 1;
    }
    let (_, places, told) = check(&files, &log);
    for place in [
        "tile/0/000 hash 7",
        "tile/0/001 hash 9",
        "tile/1/000.p/2 hash 0",
        "entry 512",
    ] {
        assert!(places.contains(&place.to_owned()), "{place}: {told}");
    }
}

#[test]
fn partial_files_of_earlier_sizes_are_checked_too() {
    let log = Log::of_size(300);
    let mut files = log.files();
    for width in [3, 200] {
        let (tile, bundle) = (&files["tile/0/000"], &log.entries[..width]);
        let tile = tile[..width * 32].to_vec();
        let mut bytes = Vec::new();
        bundle
            .iter()
            .for_each(|entry| tile::put_entry(&mut bytes, entry).unwrap());
        files.insert(format!("tile/0/000.p/{width}"), tile);
        files.insert(format!("tile/entries/000.p/{width}"), bytes);
    }
    assert_eq!(check(&files, &log).0, Verdict::Valid);
    for path in ["tile/0/000.p/3", "tile/entries/000.p/200"] {
        let mut damaged = files.clone();
        damaged.get_mut(path).unwrap()[70] ^= 1;
        let (verdict, places, _) = check(&damaged, &log);
        assert_eq!(verdict, Verdict::DoesNotVerify);
        assert!(places[0].starts_with(path), "{places:?}");
    }
}

#[test]
fn a_log_that_was_cut_off_rewritten_or_forked_does_not_pass_an_older_checkpoint() {
    let long = Log::of_size(300);
    let older = long.checkpoint_at(280);
    let with = |log: &Log, older: &[u8]| {
        let asked = Asked {
            older: Some(older),
            ..asked(log)
        };
        let audited = audit(&log.files(), asked, &|_, _| {});
        (verdict(&audited), format!("{:?}", audited.findings.all()))
    };
    assert_eq!(with(&long, older.as_bytes()).0, Verdict::Valid);
    assert_eq!(with(&long, long.proof_of(5).as_bytes()).0, Verdict::Valid);
    let short = Log::of_size(260);
    let (verdict, told) = with(&short, older.as_bytes());
    assert_eq!(verdict, Verdict::DoesNotVerify);
    assert!(told.contains("entries 260-279 were cut off"), "{told}");
    // The same key signs another history, valid in itself.
    let mut fork = Log::of_size(250);
    fork.add(20, Role::Auditor);
    while fork.size() < 300 {
        fork.proof();
    }
    assert_eq!(check(&fork.files(), &fork).0, Verdict::Valid);
    let (verdict, told) = with(&fork, older.as_bytes());
    assert_eq!(verdict, Verdict::DoesNotVerify);
    assert!(told.contains("At size 280"), "{told}");
    let (verdict, _) = with(&long, b"nonsense");
    assert_eq!(verdict, Verdict::DoesNotVerify);
}

#[test]
fn a_forged_checkpoint_over_changed_entries_fails_by_its_signature_and_a_true_one_by_its_root() {
    let log = story();
    let mut files = log.files();
    let mut other = Log::of_size(log.size());
    other.key = NoteKey::from_seed(support::ORIGIN, 1, &[1; 32]).unwrap();
    // Another history under another key: consistent in itself, not under the real key.
    assert_eq!(check(&other.files(), &log).1, ["checkpoint"]);
    // The real checkpoint over another history's files.
    let checkpoint = files["checkpoint"].clone();
    files = other.files();
    files.insert("checkpoint".into(), checkpoint);
    let (verdict, places, _) = check(&files, &log);
    assert_eq!(verdict, Verdict::DoesNotVerify);
    assert!(places.contains(&"log".to_owned()));
}

#[test]
fn the_policys_witnesses_must_have_cosigned() {
    let log = story();
    let witness = NoteKey::from_seed("witness.example", 4, &[4; 32]).unwrap();
    let text = format!("witness w {}\nquorum w\n", witness.verifier());
    let policy = Policy::parse(&text).unwrap();
    let with = Asked {
        policy: Some(&policy),
        ..asked(&log)
    };
    let mut files = log.files();
    let audited = audit(&files, with, &|_, _| {});
    assert_eq!(verdict(&audited), Verdict::DoesNotVerify);
    let checkpoint = files["checkpoint"].clone();
    let mut note = custody::ledger::note::SignedNote::parse(&checkpoint).unwrap();
    note.add(witness.cosign(note.text(), 1_800_000_000));
    files.insert("checkpoint".into(), note.to_string().into_bytes());
    assert_eq!(verdict(&audit(&files, with, &|_, _| {})), Verdict::Valid);
}

#[test]
fn damage_ends_where_it_ends_and_what_lies_behind_is_still_verified() {
    let mut log = story();
    let body = Body::RequestMake(RequestMake {
        request: request(),
        act: support::act(Default::default()),
    });
    let said = log.statement(Author::Person(person(6)), body);
    log.force(&said, 9);
    let mut files = log.files();
    let path = files
        .keys()
        .find(|path| path.starts_with("tile/entries/"))
        .unwrap()
        .clone();
    files.get_mut(&path).unwrap()[30] ^= 1;
    let (_, places, told) = check(&files, &log);
    assert!(places.contains(&"entry 0".to_owned()), "{told}");
    assert!(told.contains("Behind the damage at entry 0"), "{told}");
}

#[test]
fn a_checkpoint_that_claims_any_size_at_all_still_ends() {
    let log = Log::of_size(20);
    for size in [21, 300, 1 << 40, u64::MAX] {
        let mut files = log.files();
        let root = Digest::of(b"root");
        let origin = support::ORIGIN.into();
        let note = custody::ledger::checkpoint::Checkpoint { origin, size, root }.sign(&log.key);
        files.insert("checkpoint".into(), note.to_string().into_bytes());
        let (verdict, places, told) = check(&files, &log);
        assert_eq!(verdict, Verdict::DoesNotVerify);
        assert!(
            places
                .iter()
                .any(|p| p == "entry 20" || p.starts_with("entries 20-")),
            "{size}: {told}"
        );
    }
}

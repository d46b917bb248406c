//! The manifest: what is written is read, what is changed is found, what is shown is only that.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;

use custody::{
    digest::Digest,
    ledger::tree::{Frontier, Sieve},
    manifest::{
        disclosure::{ShownField, ShownRow},
        file::{self, ManifestError, Reader, Writer},
        leaf::{self, Field, Salt, SnapshotKey},
        row::{Kind, Row, Status},
    },
};
use proptest::prelude::*;

fn row(index: u64) -> Row {
    let mut path = format!("folder/file {index}").into_bytes();
    path.push(0xff);
    Row {
        kind: Kind::File,
        size: index * 3,
        sha256: Some(Digest::of(&path)),
        mtime_ns: -5,
        ctime_ns: 1_700_000_000_123_456_789,
        mode: 0o4755,
        uid: 1000,
        gid: u32::MAX,
        nlink: 1,
        inode: u64::MAX - index,
        target: index.is_multiple_of(3).then(|| b"to".to_vec()),
        xattrs: index.is_multiple_of(5).then(|| vec![0, 1, 2]),
        status: Status::Read,
        reason: index.is_multiple_of(7).then(|| "EIO".to_owned()),
        holes: 4096,
        ..Row::unknown(index, path, "none")
    }
}

fn write(rows: u64, key: &SnapshotKey) -> (tempfile::NamedTempFile, Digest) {
    let out = tempfile::NamedTempFile::new().unwrap();
    let about = [("holdfast.snapshot", "snp-1".to_owned())];
    let mut writer = Writer::new(out.reopen().unwrap(), &about).unwrap();
    for index in 0..rows {
        let row = row(index);
        let leaf = leaf::leaf_hash(&row, &key.salt_row(index));
        writer.push(row, leaf).unwrap();
    }
    let (_, count, root) = writer.finish().unwrap();
    assert_eq!(count, rows);
    (out, root)
}

#[test]
fn what_is_written_is_read_and_gives_the_root() {
    let key = SnapshotKey::from_random([9; 32]);
    for rows in [0, 1, 2, 1000, 70_000] {
        let (out, root) = write(rows, &key);
        let open = || Reader::open(File::open(out.path()).unwrap()).unwrap();
        assert_eq!(open().rows(), rows);
        for (at, stored) in open().enumerate().take(2000) {
            assert_eq!(stored.unwrap().row.unwrap(), row(at as u64));
        }
        let checked = file::check(open(), Some(&key), &root).unwrap();
        assert_eq!((checked.rows, checked.recomputed), (rows, true));
        assert!(!file::check(open(), None, &root).unwrap().recomputed);
        let other = SnapshotKey::from_random([8; 32]);
        assert_eq!(file::check(open(), Some(&other), &root).is_err(), rows > 0);
        assert!(matches!(
            file::check(open(), None, &Digest::of(b"other")),
            Err(ManifestError::Root { .. })
        ));
        assert_eq!(open().about("holdfast.snapshot").as_deref(), Some("snp-1"));
        for from in [0, 1, 999, 32_767, 32_768, 40_000, 69_999, 70_000] {
            let mut on = open();
            on.skip_to(from).unwrap();
            let next = on.next().map(|stored| stored.unwrap().index);
            assert_eq!(next, (from < rows).then_some(from));
            // Never back.
            on.skip_to(0).unwrap();
            let next = on.next().map(|stored| stored.unwrap().index);
            assert_eq!(next, (from + 1 < rows).then_some(from + 1));
        }
    }
}

#[test]
fn a_file_that_is_cut_off_or_changed_never_passes_as_the_manifest() {
    let key = SnapshotKey::from_random([9; 32]);
    let (out, root) = write(500, &key);
    let bytes = std::fs::read(out.path()).unwrap();
    let passes = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let opened = std::panic::catch_unwind(|| {
            let reader = Reader::open(File::open(file.path()).unwrap());
            reader.and_then(|reader| file::check(reader, Some(&key), &root))
        });
        matches!(opened, Ok(Ok(checked)) if checked.rows == 500)
    };
    assert!(passes(&bytes));
    for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        assert!(!passes(&bytes[..cut]), "cut at {cut}");
    }
    let mut changed = bytes.clone();
    let at = bytes
        .windows(32)
        .position(|w| w == Digest::of(&row(77).path).as_bytes())
        .unwrap();
    changed[at + 5] ^= 1;
    assert!(!passes(&changed), "a changed hash");
}

type Change = Box<dyn Fn(&mut Row)>;

#[test]
fn any_changed_field_changes_the_leaf() {
    let key = SnapshotKey::from_random([9; 32]);
    let salt = key.salt_row(4);
    let right = leaf::leaf_hash(&row(4), &salt);
    let mut changes: Vec<Change> = vec![
        Box::new(|r| r.path.push(1)),
        Box::new(|r| r.kind = Kind::Folder),
        Box::new(|r| r.size += 1),
        Box::new(|r| r.sha256 = None),
        Box::new(|r| r.mtime_ns += 1),
        Box::new(|r| r.ctime_ns += 1),
        Box::new(|r| r.mode ^= 1),
        Box::new(|r| r.uid ^= 1),
        Box::new(|r| r.gid ^= 1),
        Box::new(|r| r.nlink += 1),
        Box::new(|r| r.inode ^= 1),
        Box::new(|r| r.holes += 1),
        Box::new(|r| r.target = Some(vec![])),
        Box::new(|r| r.xattrs = Some(vec![])),
        Box::new(|r| r.reason = Some(String::new())),
    ];
    changes.push(Box::new(|r| r.status = Status::Changed));
    for (at, change) in changes.iter().enumerate() {
        let mut other = row(4);
        change(&mut other);
        assert_ne!(leaf::leaf_hash(&other, &salt), right, "change {at}");
    }
    assert_ne!(leaf::leaf_hash(&row(4), &key.salt_row(5)), right);
}

/// P8: an owner's proof shows one row; nothing in it opens or names another.
#[test]
fn p8_a_proof_shows_one_row_and_nothing_of_any_other() {
    let key = SnapshotKey::from_random([9; 32]);
    let rows = 300;
    let mut frontier = Frontier::new();
    let mut sieve = Sieve::new(rows, [17, 299].into_iter());
    for index in 0..rows {
        let leaf = leaf::leaf_hash(&row(index), &key.salt_row(index));
        frontier.push(leaf);
        sieve.push(leaf);
    }
    for index in [17, 299] {
        let shown = ShownRow {
            row: row(index),
            salt_row: Digest::from_bytes(key.salt_row(index).0),
            proof: sieve.proof(index).unwrap(),
        };
        assert_eq!(shown.verify(rows, &frontier.root()), Ok(()));
        let text = serde_json::to_string(&shown).unwrap();
        for other in (0..rows).filter(|other| *other != index) {
            let other_row = row(other);
            assert!(!text.contains(&other_row.sha256.unwrap().to_string()));
            assert!(!text.contains(&hex::encode(key.salt_row(other).0)));
        }
        assert!(!text.contains(&hex::encode(key.secret_bytes())));
        let mut forged = shown.clone();
        forged.row.sha256 = Some(Digest::of(b"another file"));
        assert!(forged.verify(rows, &frontier.root()).is_err());
        let mut moved = shown;
        moved.row.index = 3;
        assert!(moved.verify(rows, &frontier.root()).is_err());
    }
    assert_eq!(sieve.proof(18), None, "only what was asked for is kept");
}

proptest! {
    #[test]
    fn one_field_is_shown_without_another(index in 0_u64..1000, field in 0_usize..3, flip in 0_usize..32) {
        let key = SnapshotKey::from_random([9; 32]);
        let (row, field) = (row(index), Field::ALL[field]);
        let leaf = leaf::leaf_hash(&row, &key.salt_row(index));
        let shown = ShownField::of(&row, &key, field);
        prop_assert_eq!(shown.leaf(), leaf);
        let mut wrong = shown.clone();
        wrong.salt = Salt({ let mut salt = wrong.salt.0; salt[flip] ^= 1; salt });
        prop_assert_ne!(wrong.leaf(), leaf);
        let mut wrong = shown.clone();
        wrong.value.push(0);
        prop_assert_ne!(wrong.leaf(), leaf);
        // The salt that is shown opens no other field.
        for other in Field::ALL.into_iter().filter(|other| *other != field) {
            let guess = leaf::commit(other, &shown.salt, &leaf::value(other, &row));
            prop_assert!(!shown.others.contains(&guess));
        }
    }
}

//! The published log: it verifies, it survives a crash anywhere, and it is never written over.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::{fs, io, path::Path, sync::Arc};

use custody::{
    digest::Digest,
    house::person::Role,
    id::CommandId,
    ledger::{
        checkpoint::Checkpoint,
        note::{ED25519, NoteKey, VerifierKey},
        tile::{self, TileNodes},
        tree::{self, MemoryTree},
    },
    sign::{SecretKey, Signer as _},
    time::Time,
};
use house::{House, ORIGIN, copy};
use server::{
    config::Data,
    desk::Desk,
    journal::{Batch, Journal, NewEntry},
    ledger::{Breach, Disk, NotPublished, Publisher, Step},
    replay,
};

fn key() -> Arc<NoteKey> {
    Arc::new(NoteKey::from_seed(ORIGIN, ED25519, &[5; 32]).unwrap())
}

fn data(folder: &Path) -> Data {
    let data = Data(folder.to_owned());
    for folder in [data.log(), data.checkpoints()] {
        fs::create_dir_all(folder).unwrap();
    }
    data
}

/// Adds entries of odd lengths up to `size`, some as long as they come.
async fn fill(journal: &Journal, size: u64) {
    let first = journal.size().await.unwrap();
    for from in (first..size).step_by(500) {
        let entries = (from..size.min(from + 500)).map(|index| {
            let length = if index % 301 == 7 {
                65_535
            } else {
                (index % 97) as usize
            };
            let mut bytes = format!("entry {index}").into_bytes();
            bytes.resize(bytes.len().max(length), b'.');
            NewEntry {
                index,
                leaf: tree::leaf_hash(&bytes),
                command: CommandId::from_random(u128::from(index).to_be_bytes()),
                place: None,
                received: Time::from_millis(1),
                bytes,
            }
        });
        let batch = Batch {
            entries: entries.collect(),
            ..Batch::default()
        };
        journal.commit(&batch).await.unwrap();
    }
}

/// Reads the log as an outsider does: nothing but its folder and the verifier key.
fn verify(data: &Data, vkey: &VerifierKey) -> (Checkpoint, Vec<Vec<u8>>) {
    let note = fs::read(data.log().join("checkpoint")).unwrap();
    let checkpoint = Checkpoint::open(&note, vkey).unwrap();
    let mut memory = MemoryTree::default();
    let mut found = Vec::new();
    for tile in tile::all(checkpoint.size) {
        let hashes = fs::read(data.log().join(tile.path())).unwrap();
        assert_eq!(hashes.len() as u64, tile.width * 32);
        if tile.level == 0 {
            let bundle = fs::read(data.log().join(tile.bundle_path())).unwrap();
            for (at, entry) in tile::entries(&bundle).unwrap().into_iter().enumerate() {
                let leaf = tree::leaf_hash(entry);
                assert_eq!(leaf.as_bytes(), &hashes[at * 32..at * 32 + 32]);
                memory.push(leaf);
                found.push(entry.to_vec());
            }
        }
    }
    assert_eq!(found.len() as u64, checkpoint.size);
    assert_eq!(memory.root(checkpoint.size), Some(checkpoint.root));
    let disk = Disk::new(&data.log(), checkpoint.size);
    assert_eq!(disk.root(), Some(checkpoint.root), "the tiles above agree");
    // Every checkpoint that was ever kept is a beginning of this one.
    for file in fs::read_dir(data.checkpoints()).unwrap() {
        let old = Checkpoint::open(&fs::read(file.unwrap().path()).unwrap(), vkey).unwrap();
        assert_eq!(memory.root(old.size), Some(old.root));
        let proof = tree::consistency_proof(&TileNodes(&disk), old.size, checkpoint.size).unwrap();
        tree::verify_consistency(
            old.size,
            &old.root,
            checkpoint.size,
            &checkpoint.root,
            &proof,
        )
        .unwrap();
    }
    (checkpoint, found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_published_size_verifies_and_has_its_partial_tiles() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
    let (mut publisher, first) = Publisher::start(journal.clone(), &data, key())
        .await
        .unwrap();
    assert_eq!(first, None);
    let sizes = [1, 2, 3, 255, 256, 257, 511, 512, 700, 2304, 2305, 66_000];
    for size in sizes {
        fill(&journal, size).await;
        let published = publisher
            .publish(size, &mut |_| Ok(()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(published.checkpoint.size, size);
        let again = publisher.publish(size, &mut |_| Ok(())).await.unwrap();
        assert_eq!(again, None, "the same size is not signed twice");
    }
    verify(&data, key().verifier());
    for size in sizes {
        for tile in tile::all(size) {
            assert!(data.log().join(tile.path()).is_file(), "{size}: {tile:?}");
        }
        assert!(data.checkpoints().join(size.to_string()).is_file());
    }
    assert!(
        !house::files(&data.0)
            .iter()
            .any(|f| f.extension().is_some_and(|e| e == "part"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_after_any_step_is_taken_up_and_signs_no_second_history() {
    use Step::{Kept, Published, ReadBack, Recorded, Signed, Witnessed, Written};
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut size = 0;
    for stop in [
        Written, ReadBack, Signed, Recorded, Witnessed, Kept, Published,
    ] {
        for grow in [1, 200, 256, 77, 600] {
            let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
            size += grow;
            fill(&journal, size).await;
            let (mut publisher, _) = Publisher::start(journal.clone(), &data, key())
                .await
                .unwrap();
            let stopped = publisher
                .publish(size, &mut |step| match step == stop {
                    true => Err(io::Error::other("pulled the plug")),
                    false => Ok(()),
                })
                .await;
            assert!(stopped.is_err());
            drop(publisher);
            journal.close().await;
            // The next start, with more to publish or not.
            let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
            size += grow % 2;
            fill(&journal, size).await;
            let (mut publisher, shown) = Publisher::start(journal.clone(), &data, key())
                .await
                .unwrap();
            if stop >= Recorded {
                let recorded = journal.checkpoint().await.unwrap().unwrap();
                assert_eq!(
                    shown.unwrap().note,
                    recorded.note,
                    "what was recorded is shown"
                );
            }
            publisher.publish(size, &mut |_| Ok(())).await.unwrap();
            let (checkpoint, _) = verify(&data, key().verifier());
            assert_eq!(checkpoint.size, size, "after {stop:?}");
            journal.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_is_taken_up_by_the_same_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
    let (mut publisher, _) = Publisher::start(journal.clone(), &data, key())
        .await
        .unwrap();
    let mut size = 0;
    for stop in [
        Step::Written,
        Step::ReadBack,
        Step::Signed,
        Step::Recorded,
        Step::Kept,
    ] {
        size += 150;
        fill(&journal, size).await;
        let stopped = publisher
            .publish(size, &mut |step| match step == stop {
                true => Err(io::Error::other("no room")),
                false => Ok(()),
            })
            .await;
        assert!(stopped.is_err());
        size += 1;
        fill(&journal, size).await;
        publisher
            .publish(size, &mut |_| Ok(()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(verify(&data, key().verifier()).0.size, size);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_between_writing_and_reading_back_is_never_signed() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
    fill(&journal, 300).await;
    for name in [
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ] {
        let (mut publisher, _) = Publisher::start(journal.clone(), &data, key())
            .await
            .unwrap();
        let path = data.log().join(name);
        let broken = publisher
            .publish(300, &mut |step| {
                if step == Step::Written {
                    let mut bytes = fs::read(&path)?;
                    bytes[31] ^= 4;
                    fs::write(&path, bytes)?;
                }
                Ok(())
            })
            .await;
        assert!(
            matches!(broken, Err(NotPublished::Breach(_))),
            "{name}: {broken:?}"
        );
        assert_eq!(journal.checkpoint().await.unwrap(), None, "{name}");
        assert!(!data.log().join("checkpoint").exists());
        fs::remove_file(&path).unwrap();
    }
    let (mut publisher, _) = Publisher::start(journal.clone(), &data, key())
        .await
        .unwrap();
    publisher
        .publish(300, &mut |_| Ok(()))
        .await
        .unwrap()
        .unwrap();
    verify(&data, key().verifier());
}

/// Some people, so that the log has a few hundred entries.
async fn people(house: &House, count: usize) {
    let mut waiting = Vec::new();
    for _ in 0..count {
        let key = SecretKey::from_seed(&house::random()).public_key();
        let (_, submission) = house.add_person(key, &[Role::Auditor]);
        waiting.push(house.desk().hand_in(submission).await.unwrap());
    }
    for pending in waiting {
        pending.recorded().await.unwrap();
    }
    house.published().await;
}

fn breach(opened: anyhow::Result<()>) -> Breach {
    let error = opened.unwrap_err();
    match error.downcast_ref::<NotPublished>() {
        Some(NotPublished::Breach(breach)) => breach.clone(),
        _ => panic!("no breach: {error:#}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_gone_are_written_again_from_the_journal() {
    let mut house = House::new().await;
    people(&house, 600).await;
    let vkey = house.desk().vkey().clone();
    let before = verify(&house.data, &vkey);
    let log = house.data.log();
    for gone in ["tile", "tile/0/000", "tile/entries/001", "tile/1"] {
        house.close().await;
        let path = log.join(gone);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        house.open().await.unwrap();
        assert_eq!(verify(&house.data, &vkey), before, "{gone}");
    }
    people(&house, 10).await;
    verify(&house.data, &vkey);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_changed_is_never_signed_over() {
    let mut house = House::new().await;
    people(&house, 300).await;
    house.close().await;
    let size = 301;
    let last = tile::all(size)
        .into_iter()
        .rfind(|tile| tile.level == 0)
        .unwrap();
    for name in [last.path(), "tile/1/000.p/1".to_owned()] {
        let path = house.data.log().join(&name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[5] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert_eq!(
            breach(house.open().await),
            Breach::FileDiffers(path.clone()),
            "{name}"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            bad,
            "and it is left as it was found"
        );
        fs::write(&path, &good).unwrap();
    }
    house.open().await.unwrap();
    // Changed while it runs: found when it is read back, before anything is signed.
    let path = house.data.log().join("tile/0/000");
    let mut bad = fs::read(&path).unwrap();
    bad[5] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert!(
        house.desk().prove(3).await.is_err(),
        "no false proof is handed out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_journal_is_refused() {
    let mut house = House::new().await;
    people(&house, 20).await;
    house.close().await;
    let old = house.folder.path().join("old");
    copy(&house.data.0, &old);
    house.open().await.unwrap();
    people(&house, 300).await;
    house.close().await;
    let new = house.folder.path().join("new");
    copy(&house.data.0, &new);
    fs::copy(old.join("journal.db"), house.data.journal()).unwrap();
    let ahead = Breach::CheckpointAhead {
        checkpoint: 321,
        known: 21,
    };
    assert_eq!(breach(house.open().await), ahead);
    // Not even when the checkpoints are taken back as well: the tiles tell.
    fs::remove_dir_all(house.data.checkpoints()).unwrap();
    copy(&old.join("checkpoints"), &house.data.checkpoints());
    fs::copy(
        old.join("log/checkpoint"),
        house.data.log().join("checkpoint"),
    )
    .unwrap();
    let found = breach(house.open().await);
    assert!(
        matches!(found, Breach::TilesAhead { journal: 21, .. }),
        "{found:?}"
    );
    fs::copy(new.join("journal.db"), house.data.journal()).unwrap();
    house.open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_with_another_history_is_refused() {
    let mut house = House::new().await;
    people(&house, 5).await;
    house.close().await;
    let branch = Data(house.folder.path().join("branch"));
    copy(&house.data.0, &branch.0);
    // Two histories from one beginning, of the same length.
    house.open().await.unwrap();
    people(&house, 5).await;
    house.close().await;
    let mut other = Desk::open(&branch, &house.config).await.unwrap();
    for _ in 0..5 {
        let key = SecretKey::from_seed(&house::random()).public_key();
        let (_, submission) = house.add_person(key, &[Role::Auditor]);
        other.submit(submission).await.unwrap();
    }
    other.close().await;
    other = Desk::open(&branch, &house.config).await.unwrap();
    other.close().await;
    fs::copy(branch.journal(), house.data.journal()).unwrap();
    assert_eq!(breach(house.open().await), Breach::RootsDiffer(11));
    let report = replay::check(&house.data).await.unwrap();
    assert!(!report.is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_can_be_proved_at_once_and_the_proof_reads_back() {
    let house = House::new().await;
    people(&house, 300).await;
    let key = SecretKey::from_seed(&house::random()).public_key();
    let (_, submission) = house.add_person(key, &[Role::Auditor]);
    let entry = submission.entry.clone();
    let recorded = house.submit(submission).await.unwrap();
    // Not published yet, most likely: it waits.
    let proof = house.desk().prove(recorded.index).await.unwrap();
    let proof = custody::ledger::proof::LogProof::parse(&proof.to_string()).unwrap();
    let checkpoint = proof.verify(&entry, house.desk().vkey()).unwrap();
    assert!(checkpoint.size > recorded.index);
    assert!(proof.verify(b"another", house.desk().vkey()).is_err());
    for index in [0, 1, 255, 256, 299] {
        let entry = house.desk().entry(index).await.unwrap();
        let proof = house.desk().prove(index).await.unwrap();
        proof.verify(&entry.bytes, house.desk().vkey()).unwrap();
    }
    assert!(house.desk().prove(10_000).await.is_err());
    assert_eq!(house.desk().origin(), ORIGIN);
    assert_ne!(Digest::of(&entry), recorded.leaf);
}

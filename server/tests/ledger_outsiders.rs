//! The published log, read from its folder by implementations that we did not write.
//!
//! `signed_note` opens each checkpoint, `tlog_tiles` proves every tile that it reads against the
//! checkpoint's root, and `ct-merkle` builds the same tree from the entries alone.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use custody::{
    id::CommandId,
    ledger::{
        note::{ED25519, NoteKey},
        tree,
    },
    time::Time,
};
use server::{
    config::Data,
    journal::{Batch, Journal, NewEntry},
    ledger::Publisher,
};
use sha2::Sha256;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Error, Hash, Tile, TileHashReader, TileReader};

const ORIGIN: &str = "holdfast.test/outsiders";

fn entry(index: u64) -> Vec<u8> {
    let mut bytes = format!("entry {index}").into_bytes();
    bytes.resize(bytes.len() + (index % 61) as usize, b'.');
    bytes
}

async fn fill(journal: &Journal, from: u64, to: u64) {
    for first in (from..to).step_by(1000) {
        let entries = (first..to.min(first + 1000)).map(|index| {
            let bytes = entry(index);
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

/// The log's folder, as `tlog_tiles` asks for it.
struct Folder(PathBuf);

/// Where C2SP tlog-tiles puts a tile: the number in groups of three digits.
fn path(tile: &Tile) -> String {
    let number = tile.level_index();
    let mut digits = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        digits = format!("x{:03}/{digits}", rest % 1000);
        rest /= 1000;
    }
    let width = match tile.width() {
        256 => String::new(),
        width => format!(".p/{width}"),
    };
    format!("tile/{}/{digits}{width}", tile.level())
}

impl TileReader for Folder {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile| {
            let path = path(tile);
            Ok(fs::read(self.0.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}")))
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Size and root of a checkpoint that `signed_note` accepts under the verifier key.
fn opened(file: &Path, vkey: &str) -> (u64, Hash) {
    let note = Note::from_bytes(&fs::read(file).unwrap()).unwrap();
    let verifier = StandardVerifier::new(vkey).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let (verified, _) = note.verify(&known).unwrap();
    assert_eq!(verified.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(checkpoint.origin(), ORIGIN);
    (checkpoint.size(), *checkpoint.hash())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_to_2000_and_around_the_powers_of_256_verifies_for_outsiders() {
    // Formats are checked here, not durability: memory spares 2,000 times a dozen flushes.
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let data = Data(folder.path().to_owned());
    for folder in [data.log(), data.checkpoints()] {
        fs::create_dir_all(folder).unwrap();
    }
    let key = Arc::new(NoteKey::from_seed(ORIGIN, ED25519, &[5; 32]).unwrap());
    let vkey = key.verifier().to_string();
    let journal = Arc::new(Journal::open(&data.journal()).await.unwrap());
    let (mut publisher, _) = Publisher::start(journal.clone(), &data, key).await.unwrap();
    let reader = Folder(data.log());
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut last = (0, Hash([0; 32]));
    for size in (1..=2000).chain(65_534..=65_538) {
        fill(&journal, last.0, size).await;
        (last.0..size).for_each(|index| theirs.push(entry(index)));
        publisher.publish(size, &mut |_| Ok(())).await.unwrap();
        let (signed, root) = opened(&data.log().join("checkpoint"), &vkey);
        assert_eq!(signed, size);
        assert_eq!(root.0[..], theirs.root().as_bytes()[..], "{size}");
        let hashes = TileHashReader::new(size, root, &reader);
        assert_eq!(tlog_tiles::tree_hash(size, &hashes).unwrap(), root);
        for index in [0, size / 3, size / 2, size - 1] {
            let proof = tlog_tiles::prove_record(size, index, &hashes).unwrap();
            let hash = tlog_tiles::record_hash(&entry(index));
            tlog_tiles::check_record(&proof, size, root, index, hash).unwrap();
        }
        if last.0 > 0 {
            let proof = tlog_tiles::prove_tree(size, last.0, &hashes).unwrap();
            tlog_tiles::check_tree(&proof, size, root, last.0, last.1).unwrap();
        }
        last = (size, root);
    }
    // What was published earlier is still there, and still verifies on its own.
    for size in [1, 255, 256, 257, 1999, 65_536] {
        let (signed, root) = opened(&data.checkpoints().join(size.to_string()), &vkey);
        let hashes = TileHashReader::new(signed, root, &reader);
        let proof = tlog_tiles::prove_record(size, size - 1, &hashes).unwrap();
        let hash = tlog_tiles::record_hash(&entry(size - 1));
        tlog_tiles::check_record(&proof, size, root, size - 1, hash).unwrap();
    }
}

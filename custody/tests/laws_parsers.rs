//! Every reader of a format: no changed byte passes for what was written.
//!
//! For each format: change one byte to any other value, and what comes back is refused, or is
//! something else that does not verify.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::OnceLock;

use custody::{
    digest::Digest,
    id::CommandId,
    ledger::{
        checkpoint::Checkpoint,
        entry::Entry,
        note::{self, NoteKey, SignedNote},
        policy::Policy,
        proof::LogProof,
        tile,
        tree::{self, Frontier, MemoryTree},
    },
    manifest::{
        disclosure::ShownRow,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
    sign::{Namespace, SecretKey, Signer as _, SshSig},
    statement::{Author, Body, Refused, Statement},
    time::Time,
};
use proptest::{prelude::*, sample::Index};

struct Written {
    key: SecretKey,
    log: NoteKey,
    witness: NoteKey,
    entry: Entry,
    signature: SshSig,
    note: String,
    proof: String,
    policy: String,
    bundle: Vec<u8>,
    shown: String,
    rows: u64,
    root: Digest,
}

fn row(index: u64) -> Row {
    Row {
        kind: Kind::File,
        size: 100,
        sha256: Some(Digest::of(&[1])),
        mtime_ns: -105,
        ctime_ns: 1_700_000_000_100_000_000,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        nlink: 1,
        inode: 77,
        status: Status::Read,
        reason: None,
        ..Row::unknown(index, format!("file {index}").into_bytes(), "")
    }
}

fn shown() -> (String, u64, Digest) {
    let key = SnapshotKey::from_random([9; 32]);
    let (mut tree, mut frontier) = (MemoryTree::default(), Frontier::new());
    for index in 0..11 {
        let hash = leaf::leaf_hash(&row(index), &key.salt_row(index));
        tree.push(hash);
        frontier.push(hash);
    }
    let shown = ShownRow {
        row: row(4),
        salt_row: Digest::from_bytes(key.salt_row(4).0),
        proof: tree::inclusion_proof(&tree, 4, 11).unwrap(),
    };
    (serde_json::to_string(&shown).unwrap(), 11, frontier.root())
}

fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let key = SecretKey::from_seed(&[5; 32]);
        let statement = Statement {
            v: 1,
            log: "log.example/1".to_owned(),
            id: CommandId::from_random([3; 16]),
            author: Author::Coordinator,
            time: Time::from_millis(1_700_000_000_000),
            seen: None,
            link: None,
            body: Body::Refused(Refused {
                rule: "role".to_owned(),
                what: "hold.place".to_owned(),
                by: None,
                statement: None,
            }),
        };
        let text = statement.to_text().unwrap();
        let signature = key.sign(Namespace::Coordinator, text.as_bytes()).unwrap();
        let entry = Entry::seal(&text, &signature).unwrap();
        let log = NoteKey::from_seed("log.example/1", note::ED25519, &[3; 32]).unwrap();
        let witness = NoteKey::from_seed("court.example", note::COSIGNATURE, &[4; 32]).unwrap();
        let (mut log_tree, mut bundle) = (MemoryTree::default(), Vec::new());
        for index in 0..7 {
            let bytes = if index == 2 { entry.bytes() } else { b"other" };
            log_tree.push(tree::leaf_hash(bytes));
            tile::put_entry(&mut bundle, bytes).unwrap();
        }
        let (origin, root) = ("log.example/1".to_owned(), log_tree.root(7).unwrap());
        let checkpoint = Checkpoint {
            origin,
            size: 7,
            root,
        };
        let mut signed = checkpoint.sign(&log);
        signed.add(witness.cosign(signed.text(), 1_700_000_000));
        let proof = LogProof {
            index: 2,
            hashes: tree::inclusion_proof(&log_tree, 2, 7).unwrap(),
            checkpoint: checkpoint.sign(&log).to_string(),
        };
        let policy = format!(
            "log {}\nwitness court {}\ngroup two any court\nquorum two\n",
            log.verifier(),
            witness.verifier()
        );
        let (shown, rows, root) = shown();
        Written {
            note: signed.to_string(),
            proof: proof.to_string(),
            key,
            log,
            witness,
            entry,
            signature,
            policy,
            bundle,
            shown,
            rows,
            root,
        }
    })
}

/// The bytes with one of them changed, and where.
fn changed(bytes: &[u8], at: Index, by: u8) -> (Vec<u8>, usize) {
    let mut other = bytes.to_vec();
    let at = at.index(bytes.len());
    other[at] ^= by;
    (other, at)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn passes(w: &Written, what: usize, bytes: &[u8]) -> bool {
    let text = || text(bytes.to_vec());
    match what {
        // A note carries both signatures; what changes in either must fail that one.
        0 => SignedNote::parse(bytes).is_ok_and(|note| {
            note.verify(w.log.verifier()).is_ok() && note.verify(w.witness.verifier()).is_ok()
        }),
        1 => LogProof::parse(&text())
            .is_ok_and(|proof| proof.verify(w.entry.bytes(), w.log.verifier()).is_ok()),
        2 => Entry::parse(bytes).is_ok_and(|entry| {
            entry
                .verify(Namespace::Coordinator, &w.key.public_key())
                .is_ok()
        }),
        3 => SshSig::decode(bytes).is_ok_and(|signature| {
            let message = w.entry.text().as_bytes();
            signature
                .verify(Namespace::Coordinator, message, &w.key.public_key())
                .is_ok()
        }),
        4 => serde_json::from_slice::<ShownRow>(bytes)
            .is_ok_and(|shown| shown.verify(w.rows, &w.root).is_ok()),
        _ => Checkpoint::open(bytes, w.log.verifier()).is_ok_and(|checkpoint| checkpoint.size == 7),
    }
}

fn bytes(w: &Written, what: usize) -> Vec<u8> {
    match what {
        0 => w.note.clone().into_bytes(),
        1 => w.proof.clone().into_bytes(),
        2 => w.entry.bytes().to_vec(),
        3 => w.signature.encode(),
        4 => w.shown.clone().into_bytes(),
        _ => {
            let note = SignedNote::parse(w.note.as_bytes()).unwrap();
            let own = note.signatures()[..1].to_vec();
            SignedNote::new(note.text().to_owned(), own)
                .to_string()
                .into_bytes()
        }
    }
}

#[test]
fn what_was_written_passes_and_no_single_flipped_bit_does() {
    let w = written();
    for what in 0..6 {
        let right = bytes(w, what);
        assert!(passes(w, what, &right), "format {what}");
        for at in 0..right.len() {
            for bit in 0..8 {
                let mut other = right.clone();
                other[at] ^= 1 << bit;
                assert!(
                    !passes(w, what, &other),
                    "format {what}, byte {at}, bit {bit}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_changed_to_any_other_passes(what in 0_usize..6, at: Index, by in 1_u8..) {
        let w = written();
        let (other, at) = changed(&bytes(w, what), at, by);
        prop_assert!(!passes(w, what, &other), "format {} byte {}", what, at);
    }

    #[test]
    fn nothing_that_is_cut_off_or_longer_passes(what in 0_usize..6, at: Index, more: Vec<u8>) {
        let w = written();
        let right = bytes(w, what);
        prop_assert!(!passes(w, what, &right[..at.index(right.len())]));
        // White space after JSON says nothing; the canonical readers refuse that too.
        let blank = what == 4 && more.iter().all(u8::is_ascii_whitespace);
        let longer = [&right[..], &more].concat();
        prop_assert!(more.is_empty() || blank || !passes(w, what, &longer));
    }

    #[test]
    fn a_changed_policy_or_bundle_is_refused_or_another(at: Index, by in 1_u8..) {
        let w = written();
        let (other, place) = changed(w.policy.as_bytes(), at, by);
        let right = w.policy.as_bytes()[place];
        // One blank for another parts the same words.
        if !(right.is_ascii_whitespace() && other[place].is_ascii_whitespace()) {
            let parsed = Policy::parse(&text(other));
            prop_assert!(parsed.is_err() || parsed != Policy::parse(&w.policy));
        }
        let (other, _) = changed(&w.bundle, at, by);
        prop_assert!(tile::entries(&other) != tile::entries(&w.bundle));
    }

    /// No reader panics on bytes that nobody wrote.
    #[test]
    fn strange_bytes_are_refused_and_nothing_else_happens(strange: Vec<u8>) {
        let w = written();
        for what in 0..6 {
            prop_assert!(!passes(w, what, &strange));
        }
        let _ = Policy::parse(&text(strange.clone()));
        let _ = tile::entries(&strange);
    }
}

//! The log's formats, compared with implementations that we did not write.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    digest::Digest,
    ledger::{
        checkpoint::Checkpoint,
        note::{self, NoteKey, SignedNote, VerifierKey},
        tile::{self, Hashes, TileNodes},
        tree::{self, Frontier, MemoryTree, Nodes as _},
    },
    sign::{Namespace, PublicKey, SecretKey, Signer as _, SshSig},
};
use sha2::Sha256;

fn leaf(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn tree_of(size: u64) -> MemoryTree {
    let mut tree = MemoryTree::default();
    (0..size).for_each(|index| tree.push(tree::leaf_hash(&leaf(index))));
    tree
}

#[test]
fn roots_and_proofs_agree_with_ct_merkle_for_every_size_up_to_2000() {
    let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let (mut ours, mut frontier) = (MemoryTree::default(), Frontier::new());
    assert_eq!(frontier.root().as_bytes()[..], theirs.root().as_bytes()[..]);
    for size in 1..=2000_u64 {
        theirs.push(leaf(size - 1));
        ours.push(tree::leaf_hash(&leaf(size - 1)));
        frontier.push(tree::leaf_hash(&leaf(size - 1)));
        let root = ours.root(size).unwrap();
        assert_eq!(root.as_bytes()[..], theirs.root().as_bytes()[..], "{size}");
        assert_eq!(frontier.root(), root);
        for index in [0, size / 3, size / 2, size - 1] {
            let proof = tree::inclusion_proof(&ours, index, size).unwrap();
            let bytes: Vec<u8> = proof.iter().flat_map(|hash| *hash.as_bytes()).collect();
            assert_eq!(bytes, theirs.prove_inclusion(index as usize).as_bytes());
            let hash = tree::leaf_hash(&leaf(index));
            assert_eq!(
                tree::verify_inclusion(&hash, index, size, &proof, &root),
                Ok(())
            );
        }
        for old in [1, size / 2, size - 1]
            .into_iter()
            .filter(|old| (1..size).contains(old))
        {
            let proof = tree::consistency_proof(&ours, old, size).unwrap();
            let bytes: Vec<u8> = proof.iter().flat_map(|hash| *hash.as_bytes()).collect();
            assert_eq!(
                bytes,
                theirs.prove_consistency((size - old) as usize).as_bytes()
            );
            let old_root = ours.root(old).unwrap();
            assert_eq!(
                tree::verify_consistency(old, &old_root, size, &root, &proof),
                Ok(())
            );
        }
    }
}

struct Levels(Vec<Vec<Digest>>);

impl Hashes for Levels {
    fn hash(&self, level: u32, index: u64) -> Option<Digest> {
        self.0.get(level as usize)?.get(index as usize).copied()
    }
}

struct TheirReader<'a>(&'a MemoryTree);

impl tlog_tiles::HashReader for TheirReader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes
            .iter()
            .map(|&stored| {
                let (level, index) = tlog_tiles::split_stored_hash_index(stored);
                tlog_tiles::Hash(*self.0.node(u32::from(level), index).unwrap().as_bytes())
            })
            .collect())
    }
}

#[test]
fn tiles_and_roots_agree_with_tlog_tiles_around_every_power_of_256() {
    let big = tree_of(65_538);
    let levels: Vec<Vec<Digest>> = (0..3)
        .map(|level| {
            let count = tile::hashes(level, 65_538);
            (0..count)
                .map(|index| big.node(level * 8, index).unwrap())
                .collect()
        })
        .collect();
    let levels = Levels(levels);
    let nodes = TileNodes(&levels);
    let around = |middle: u64| middle.saturating_sub(2)..=middle + 2;
    let sizes: Vec<u64> = (0..=600).chain(around(256)).chain(around(65_536)).collect();
    for size in sizes {
        let ours = Frontier::read(&nodes, size).unwrap().root();
        let theirs = tlog_tiles::tree_hash(size, &TheirReader(&big)).unwrap();
        assert_eq!(ours.as_bytes(), &theirs.0, "{size}");
        if size == 0 {
            continue;
        }
        for index in [0, size / 2, size - 1] {
            let ours = tree::inclusion_proof(&nodes, index, size).unwrap();
            let theirs = tlog_tiles::prove_record(size, index, &TheirReader(&big)).unwrap();
            assert_eq!(ours.len(), theirs.len());
            assert!(
                ours.iter().zip(&theirs).all(|(a, b)| a.as_bytes() == &b.0),
                "{size} {index}"
            );
        }
        let old = size.div_ceil(2);
        let ours = tree::consistency_proof(&nodes, old, size).unwrap();
        let theirs = tlog_tiles::prove_tree(size, old, &TheirReader(&big)).unwrap();
        assert!(
            ours.iter().zip(&theirs).all(|(a, b)| a.as_bytes() == &b.0),
            "{size} from {old}"
        );
        assert_eq!(ours.len(), theirs.len());
    }
}

#[test]
fn every_changed_index_size_hash_or_length_is_refused() {
    let tree = tree_of(37);
    let root = tree.root(37).unwrap();
    for index in 0..37 {
        let hash = tree::leaf_hash(&leaf(index));
        let proof = tree::inclusion_proof(&tree, index, 37).unwrap();
        let check = |hash: &Digest, index, size, proof: &[Digest]| {
            tree::verify_inclusion(hash, index, size, proof, &root).is_ok()
        };
        assert!(check(&hash, index, 37, &proof));
        assert!(!check(&hash, index + 1, 37, &proof));
        assert!(!check(&Digest::of(b"other"), index, 37, &proof));
        assert!(!check(&hash, index, 37, &proof[1..]));
        let mut longer = proof.clone();
        longer.push(root);
        assert!(!check(&hash, index, 37, &longer));
        for at in 0..proof.len() {
            let mut other = proof.clone();
            other[at] = Digest::of(b"other");
            assert!(!check(&hash, index, 37, &other));
        }
    }
    // A node is not a leaf: 64 bytes that are two hashes do not pass as an entry.
    let (left, right) = (tree.node(0, 0).unwrap(), tree.node(0, 1).unwrap());
    let node = [&left.as_bytes()[..], &right.as_bytes()[..]].concat();
    assert_ne!(tree::leaf_hash(&node), tree::node_hash(&left, &right));
}

#[test]
fn the_verifier_key_of_the_specification_is_read_and_written() {
    let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert_eq!(VerifierKey::parse(text).unwrap().to_string(), text);
    assert!(VerifierKey::parse(&text.replace("530d903a", "530d903b")).is_err());
}

#[test]
fn a_checkpoint_of_ours_is_read_by_signed_note_and_no_changed_byte_passes() {
    let key = NoteKey::from_seed("log.example/1", note::ED25519, &[3; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example/1".into(),
        size: 7,
        root: Digest::of(b"root"),
    };
    let signed = checkpoint.sign(&key).to_string();
    let verifier = signed_note::StandardVerifier::new(&key.verifier().to_string()).unwrap();
    let theirs = signed_note::Note::from_bytes(signed.as_bytes()).unwrap();
    let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    assert_eq!(theirs.verify(&list).unwrap().0.len(), 1);

    assert_eq!(
        Checkpoint::open(signed.as_bytes(), key.verifier()).unwrap(),
        checkpoint
    );
    for at in 0..signed.len() {
        let mut other = signed.clone().into_bytes();
        other[at] ^= 1;
        assert!(
            Checkpoint::open(&other, key.verifier()).is_err(),
            "byte {at}"
        );
    }
    let again = NoteKey::parse(&key.to_secret_text()).unwrap();
    assert_eq!(again.verifier(), key.verifier());
}

#[test]
fn a_cosignature_tells_its_time_and_lines_of_strangers_are_ignored() {
    let log = NoteKey::from_seed("log.example/1", note::ED25519, &[3; 32]).unwrap();
    let witness = NoteKey::from_seed("witness.example", note::COSIGNATURE, &[4; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example/1".into(),
        size: 7,
        root: Digest::of(b"root"),
    };
    let mut note = checkpoint.sign(&log);
    let line = witness.cosign(note.text(), 1_700_000_000);
    note.add(line);
    for stranger in 0..16 {
        let key = NoteKey::from_seed("else.example", note::ED25519, &[40 + stranger; 32]).unwrap();
        note.add(key.sign("another text\n"));
    }
    let note = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(note.verify(witness.verifier()), Ok(Some(1_700_000_000)));
    assert_eq!(note.verify(log.verifier()), Ok(None));
}

#[test]
fn ssh_keygen_verifies_what_we_sign_and_we_verify_what_it_signs() {
    let folder = tempfile::tempdir().unwrap();
    let key = SecretKey::from_seed(&[5; 32]);
    let (statement, allowed, signature) = (
        folder.path().join("statement"),
        folder.path().join("allowed"),
        folder.path().join("signature"),
    );
    std::fs::write(&allowed, format!("who {}\n", key.public_key())).unwrap();
    let signed = key.sign(Namespace::Command, b"{\"a\":1}").unwrap();
    std::fs::write(&signature, signed.armor()).unwrap();
    let verify = |message: &[u8], namespace: &str| {
        std::fs::write(&statement, message).unwrap();
        let mut child = std::process::Command::new("ssh-keygen")
            .args(["-Y", "verify", "-I", "who", "-n", namespace, "-f"])
            .arg(&allowed)
            .arg("-s")
            .arg(&signature)
            .stdin(std::fs::File::open(&statement).unwrap())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        child.wait().unwrap().success()
    };
    assert!(verify(b"{\"a\":1}", "command@holdfast"));
    assert!(!verify(b"{\"a\":2}", "command@holdfast"));
    assert!(!verify(b"{\"a\":1}", "approval@holdfast"));

    let theirs = folder.path().join("theirs");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&theirs)
        .status()
        .unwrap();
    assert!(made.success());
    std::fs::write(&statement, b"hello").unwrap();
    let signed = std::process::Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "approval@holdfast", "-f"])
        .arg(&theirs)
        .arg(&statement)
        .status()
        .unwrap();
    assert!(signed.success());
    let public = std::fs::read_to_string(theirs.with_extension("pub")).unwrap();
    let public = PublicKey::from_openssh(&public).unwrap();
    let armor = std::fs::read_to_string(statement.with_extension("sig")).unwrap();
    let signature = SshSig::from_armor(&armor).unwrap();
    assert_eq!(
        signature.verify(Namespace::Approval, b"hello", &public),
        Ok(())
    );
    assert!(
        signature
            .verify(Namespace::Approval, b"hellO", &public)
            .is_err()
    );
    assert!(
        signature
            .verify(Namespace::Command, b"hello", &public)
            .is_err()
    );
}

/// A hardware key's signature, made in software as OpenSSH's PROTOCOL.u2f describes it.
fn hardware(flags: u8) -> (PublicKey, SshSig) {
    fn put(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    let secret = SecretKey::from_seed(&[6; 32]);
    let mut wire = Vec::new();
    put(&mut wire, b"sk-ssh-ed25519@openssh.com");
    put(&mut wire, &secret.public_key().ed25519_bytes());
    put(&mut wire, b"ssh:");
    let line = format!("sk-ssh-ed25519@openssh.com {}", STANDARD.encode(wire));
    let public = PublicKey::from_openssh(&line).unwrap();
    let mut signed = Digest::of(b"ssh:").as_bytes().to_vec();
    signed.push(flags);
    signed.extend_from_slice(&9_u32.to_be_bytes());
    let data = custody::sign::signed_data(Namespace::Approval, b"yes");
    signed.extend_from_slice(Digest::of(&data).as_bytes());
    let mut raw = Vec::new();
    put(&mut raw, b"sk-ssh-ed25519@openssh.com");
    put(&mut raw, &secret.sign_raw(&signed));
    raw.push(flags);
    raw.extend_from_slice(&9_u32.to_be_bytes());
    let signature = SshSig::from_raw(&public, Namespace::Approval, &raw).unwrap();
    (public, signature)
}

#[test]
fn a_hardware_key_must_have_been_touched_and_must_know_its_holder() {
    for (flags, passes) in [(0x05, true), (0x01, false), (0x04, false), (0x00, false)] {
        let (public, signature) = hardware(flags);
        let read = SshSig::from_base64(&signature.to_base64()).unwrap();
        let verified = read.verify(Namespace::Approval, b"yes", &public);
        assert_eq!(verified.is_ok(), passes, "flags {flags}");
    }
}

#[test]
fn no_changed_byte_of_a_signature_passes() {
    let key = SecretKey::from_seed(&[5; 32]);
    let blob = key.sign(Namespace::Agent, b"message").unwrap().encode();
    for at in 0..blob.len() {
        let mut other = blob.clone();
        other[at] ^= 1;
        let passes = SshSig::decode(&other).is_ok_and(|signature| {
            signature
                .verify(Namespace::Agent, b"message", &key.public_key())
                .is_ok()
        });
        assert!(!passes, "byte {at}");
    }
    std::io::sink().write_all(&blob).unwrap();
}

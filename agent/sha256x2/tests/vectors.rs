//! The examples and tests of the standard itself: FIPS 180-4 and its validation system (SHAVS).
#![allow(clippy::unwrap_used, missing_docs)]

use sha2::{Digest as _, Sha256};
use sha256x2::{Engine, Hasher, update_both};

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn hash(engine: Engine, message: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(engine);
    hasher.update(message);
    hasher.finish()
}

/// A message in hexadecimal digits, and its hash.
const KNOWN: [(&str, &str); 7] = [
    (
        "",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        "616263",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    // Of 448 bits, so that the length no longer fits into the block.
    (
        "6162636462636465636465666465666765666768666768696768696a68696a6b\
         696a6b6c6a6b6c6d6b6c6d6e6c6d6e6f6d6e6f706e6f7071",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    // Of 896 bits.
    (
        "61626364656667686263646566676869636465666768696a6465666768696a6b\
         65666768696a6b6c666768696a6b6c6d6768696a6b6c6d6e68696a6b6c6d6e6f\
         696a6b6c6d6e6f706a6b6c6d6e6f70716b6c6d6e6f7071726c6d6e6f70717273\
         6d6e6f70717273746e6f707172737475",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
    // Short messages of the validation system: 8, 16 and 24 bits.
    (
        "d3",
        "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    ),
    (
        "11af",
        "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98",
    ),
    (
        "b4190e",
        "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2",
    ),
];

#[test]
fn the_examples_of_the_standard_come_out() {
    for engine in [Engine::find(), Engine::portable()] {
        for (message, expected) in KNOWN {
            let message = unhex(message);
            assert_eq!(hash(engine, &message).to_vec(), unhex(expected));
            // And beside every other.
            for (beside, of_beside) in KNOWN {
                let beside = unhex(beside);
                let (mut a, mut b) = (Hasher::new(engine), Hasher::new(engine));
                update_both((&mut a, &message), (&mut b, &beside));
                assert_eq!(a.finish().to_vec(), unhex(expected));
                assert_eq!(b.finish().to_vec(), unhex(of_beside));
            }
        }
    }
}

#[test]
fn a_million_letters_come_out_alone_and_beside_a_million() {
    let expected = unhex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    let letters = vec![b'a'; 1_000_000];
    for engine in [Engine::find(), Engine::portable()] {
        assert_eq!(hash(engine, &letters).to_vec(), expected);
        let (mut a, mut b) = (Hasher::new(engine), Hasher::new(engine));
        for (left, right) in letters.chunks(1999).zip(letters.rchunks(1999)) {
            update_both((&mut a, left), (&mut b, right));
        }
        assert_eq!(
            (a.finish().to_vec(), b.finish().to_vec()),
            (expected.clone(), expected.clone())
        );
    }
}

/// One checkpoint of SHAVS 6.4: a thousand hashes, each of the three before it.
fn checkpoint(seed: [u8; 32], hash: impl Fn(&[u8]) -> [u8; 32]) -> [u8; 32] {
    let mut last = [seed; 3];
    for _ in 0..1000 {
        let next = hash(last.as_flattened());
        last = [last[1], last[2], next];
    }
    last[2]
}

#[test]
fn the_validation_systems_chain_of_a_hundred_thousand_hashes_comes_out() {
    let seed = unhex("6d1e72ad03ddeb5de891e572e2396f8da015d899ef0e79503152d6010a3fe691");
    let first = unhex("e93c330ae5447738c8aa85d71a6c80f2a58381d05872d26bdd39f1fcd4f2b788");
    let seed: [u8; 32] = seed.try_into().unwrap();
    assert_eq!(
        checkpoint(seed, |m| hash(Engine::find(), m)).to_vec(),
        first
    );
    let (mut ours, mut theirs) = (seed, seed);
    for _ in 0..100 {
        ours = checkpoint(ours, |message| hash(Engine::find(), message));
        theirs = checkpoint(theirs, |message| Sha256::digest(message).into());
        assert_eq!(ours, theirs);
    }
}

#[test]
fn two_chains_side_by_side_stay_apart() {
    let (mut a, mut b) = ([1_u8; 32], [2_u8; 32]);
    let (mut of_a, mut of_b) = (a, b);
    for round in 0..20_000_usize {
        let (mut left, mut right) = (Hasher::new(Engine::find()), Hasher::new(Engine::find()));
        let (long, short) = ([a; 9], [b; 3]);
        let cut = round % 96;
        update_both(
            (&mut left, &long.as_flattened()[..cut]),
            (&mut right, short.as_flattened()),
        );
        left.update(&long.as_flattened()[cut..]);
        (a, b) = (left.finish(), right.finish());
        of_a = Sha256::digest([of_a; 9].as_flattened()).into();
        of_b = Sha256::digest([of_b; 3].as_flattened()).into();
        assert_eq!((a, b), (of_a, of_b));
    }
}

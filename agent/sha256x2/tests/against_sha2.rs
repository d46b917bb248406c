//! Whatever is hashed, in whatever pieces and beside whatever else: it is what `sha2` says.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::{collection::vec, prelude::*};
use sha2::{Digest as _, Sha256};
use sha256x2::{Engine, Hasher, update_both};

fn expected(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes that differ everywhere and are the same each time (a linear congruential sequence).
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn engines() -> [Engine; 2] {
    [Engine::find(), Engine::portable()]
}

/// Hashes two messages side by side, in pieces of these lengths, over and over.
fn both(engine: Engine, a: &[u8], b: &[u8], pieces: &[(usize, usize)]) -> ([u8; 32], [u8; 32]) {
    let (mut left, mut right) = (Hasher::new(engine), Hasher::new(engine));
    let (mut rest_a, mut rest_b) = (a, b);
    for (of_a, of_b) in pieces.iter().cycle() {
        if rest_a.is_empty() && rest_b.is_empty() {
            break;
        }
        let (now_a, later_a) = rest_a.split_at(rest_a.len().min(*of_a));
        let (now_b, later_b) = rest_b.split_at(rest_b.len().min(*of_b));
        update_both((&mut left, now_a), (&mut right, now_b));
        (rest_a, rest_b) = (later_a, later_b);
    }
    assert_eq!(
        (left.length(), right.length()),
        (a.len() as u64, b.len() as u64)
    );
    (left.finish(), right.finish())
}

#[test]
fn this_machine_pairs_where_its_processor_says_so() {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.split_ascii_whitespace();
    let there = flags.clone().any(|flag| flag == "sha_ni");
    if cfg!(target_arch = "x86_64") && !info.is_empty() {
        assert_eq!(Engine::find().pairs(), there);
    }
    assert!(!Engine::portable().pairs());
}

#[test]
fn every_length_to_4096_is_hashed_right_alone_and_beside_another() {
    let (a, b) = (bytes(4096, 1), bytes(4096, 2));
    let hashes =
        |of: &[u8]| -> Vec<[u8; 32]> { (0..=4096).map(|length| expected(&of[..length])).collect() };
    let (of_a, of_b) = (hashes(&a), hashes(&b));
    for engine in engines() {
        for length in 0..=4096 {
            let mut alone = Hasher::new(engine);
            alone.update(&a[..length]);
            assert_eq!(alone.finish(), of_a[length], "{length} alone");
            // Beside one as long, one that is shorter or longer, and the longest.
            for other in [length, 4096 - length, length * 7919 % 4097, 4096] {
                let found = both(engine, &a[..length], &b[..other], &[(4096, 4096)]);
                assert_eq!(
                    found,
                    (of_a[length], of_b[other]),
                    "{length} beside {other}"
                );
            }
        }
    }
}

#[test]
fn every_boundary_of_two_blocks_can_lie_between_pieces() {
    let (a, b) = (bytes(128, 3), bytes(128, 4));
    for engine in engines() {
        for first in 0..=128 {
            for second in (0..=128).step_by(5) {
                let pieces = [(first, second), (128, 128)];
                let found = both(engine, &a, &b, &pieces);
                assert_eq!(found, (expected(&a), expected(&b)), "{first}, {second}");
            }
        }
    }
}

#[test]
fn odd_pieces_of_two_messages_do_not_mix() {
    let (a, b) = (bytes(100_003, 5), bytes(70_001, 6));
    let odd = [
        (1, 0),
        (0, 1),
        (63, 64),
        (64, 63),
        (65, 1),
        (7, 131),
        (1000, 999),
        (3, 3),
    ];
    for engine in engines() {
        assert_eq!(both(engine, &a, &b, &odd), (expected(&a), expected(&b)));
    }
}

#[test]
fn a_hash_goes_on_alone_and_with_another_after_that() {
    let (a, b, c) = (bytes(10_000, 7), bytes(333, 8), bytes(5000, 9));
    for engine in engines() {
        let (mut long, mut short) = (Hasher::new(engine), Hasher::new(engine));
        update_both((&mut long, &a[..2000]), (&mut short, &b));
        assert_eq!(short.finish(), expected(&b));
        long.update(&a[2000..4001]);
        let mut third = Hasher::new(engine);
        update_both((&mut third, &c), (&mut long, &a[4001..]));
        assert_eq!(
            (long.finish(), third.finish()),
            (expected(&a), expected(&c))
        );
    }
}

#[test]
fn a_hash_of_either_engine_goes_on_beside_one_of_the_other() {
    let (a, b) = (bytes(5000, 10), bytes(4000, 11));
    let (mut here, mut there) = (Hasher::new(Engine::find()), Hasher::new(Engine::portable()));
    update_both((&mut here, &a[..777]), (&mut there, &b[..3001]));
    update_both((&mut there, &b[3001..]), (&mut here, &a[777..]));
    assert_eq!(
        (here.finish(), there.finish()),
        (expected(&a), expected(&b))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_two_messages_in_any_pieces(
        a in vec(any::<u8>(), 0..6000),
        b in vec(any::<u8>(), 0..6000),
        mut pieces in vec((0_usize..400, 0_usize..400), 1..20),
    ) {
        // So that there is an end to it.
        pieces.push((1, 1));
        for engine in engines() {
            let found = both(engine, &a, &b, &pieces);
            prop_assert_eq!(found, (expected(&a), expected(&b)));
        }
    }
}

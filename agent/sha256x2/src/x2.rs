//! The compression of SHA-256 with the processor's own instructions, for one stream or for two.
//!
//! A round waits for the round before it: the instructions take four cycles and a new one could
//! begin every two. So one stream leaves half of the unit idle, and two that do not depend on each
//! other fill it. All `unsafe` of this crate stands here: one check that the processor has
//! the instructions, and loads of sixteen bytes from arrays of sixty-four.
//!
//! What the instructions do with FIPS 180-4, 6.2.2: `sha256rnds2` makes two rounds on the
//! working variables, which it wants as (a, b, e, f) and (c, d, g, h), the first named highest;
//! `sha256msg1` and `sha256msg2` make four words of the schedule, but for one term, which is added
//! between them.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi8,
    _mm_set_epi32, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::constants::ROUND;

/// One block: 64 bytes.
pub(super) type Block = [u8; 64];

/// Proof that this processor has the instructions: there is no other way to get one than to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(());

impl Unit {
    /// Asks the processor; the answer is remembered by the standard library.
    pub(super) fn find() -> Option<Self> {
        let there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        there.then_some(Self(()))
    }

    /// Compresses blocks of one stream.
    pub(super) fn one(self, state: &mut [u32; 8], blocks: &[Block]) {
        // SAFETY: a `Unit` exists only where the processor was seen to have sha, ssse3 and sse4.1.
        unsafe { one(state, blocks) }
    }

    /// Compresses as many blocks of two streams as both have.
    pub(super) fn two(self, a: (&mut [u32; 8], &[Block]), b: (&mut [u32; 8], &[Block])) {
        // SAFETY: as above.
        unsafe { two(a, b) }
    }
}

/// The working variables as the instructions want them.
#[derive(Clone, Copy)]
struct Vars {
    abef: __m128i,
    cdgh: __m128i,
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn vars(state: &[u32; 8]) -> Vars {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    Vars {
        abef: _mm_set_epi32(a, b, e, f),
        cdgh: _mm_set_epi32(c, d, g, h),
    }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn state(vars: Vars) -> [u32; 8] {
    let Vars { abef, cdgh } = vars;
    [
        _mm_extract_epi32::<3>(abef),
        _mm_extract_epi32::<2>(abef),
        _mm_extract_epi32::<3>(cdgh),
        _mm_extract_epi32::<2>(cdgh),
        _mm_extract_epi32::<1>(abef),
        _mm_extract_epi32::<0>(abef),
        _mm_extract_epi32::<1>(cdgh),
        _mm_extract_epi32::<0>(cdgh),
    ]
    .map(i32::cast_unsigned)
}

/// The sixteen words of a block, four in each, the first lowest.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn words(block: &Block) -> [__m128i; 4] {
    // Words are big-endian in the block.
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let (quads, _) = block.as_chunks::<16>();
    let load = |at: usize| {
        let quad: &[u8; 16] = &quads[at];
        // SAFETY: sixteen bytes are borrowed, and this load asks for no alignment.
        unsafe { _mm_loadu_si128(quad.as_ptr().cast()) }
    };
    [load(0), load(1), load(2), load(3)].map(|quad| _mm_shuffle_epi8(quad, swap))
}

/// Four rounds: `w` are four words of the schedule, `k` the four constants of these rounds.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn rounds(vars: Vars, w: __m128i, k: __m128i) -> Vars {
    let wk = _mm_add_epi32(w, k);
    let Vars { abef, cdgh } = vars;
    // Two rounds give (a, b, e, f) anew, and what that was is then (c, d, g, h).
    let after = _mm_sha256rnds2_epu32(cdgh, abef, wk);
    let high = _mm_shuffle_epi32::<0b00_00_11_10>(wk);
    Vars {
        cdgh: after,
        abef: _mm_sha256rnds2_epu32(abef, after, high),
    }
}

/// The four words after sixteen, of which `w` has the oldest four in its first place.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let seven_back = _mm_alignr_epi8::<4>(w3, w2);
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), seven_back), w3)
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn constants(at: usize) -> __m128i {
    let word = |n: usize| ROUND[4 * at + n].cast_signed();
    _mm_set_epi32(word(3), word(2), word(1), word(0))
}

/// Writes out the sixteen times four rounds of a block: the first twelve make words of the schedule
/// too, the last four only use them.
macro_rules! unrolled {
    ($make:ident, $use:ident) => {
        $make!(0 0 1 2 3);
        $make!(1 1 2 3 0);
        $make!(2 2 3 0 1);
        $make!(3 3 0 1 2);
        $make!(4 0 1 2 3);
        $make!(5 1 2 3 0);
        $make!(6 2 3 0 1);
        $make!(7 3 0 1 2);
        $make!(8 0 1 2 3);
        $make!(9 1 2 3 0);
        $make!(10 2 3 0 1);
        $make!(11 3 0 1 2);
        $use!(12 0);
        $use!(13 1);
        $use!(14 2);
        $use!(15 3);
    };
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn sum(before: Vars, after: Vars) -> Vars {
    Vars {
        abef: _mm_add_epi32(before.abef, after.abef),
        cdgh: _mm_add_epi32(before.cdgh, after.cdgh),
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn one(into: &mut [u32; 8], blocks: &[Block]) {
    let mut all = vars(into);
    for block in blocks {
        let (mut now, mut w) = (all, words(block));
        macro_rules! last {
            ($at:literal $i:literal) => {
                now = rounds(now, w[$i], constants($at));
            };
        }
        macro_rules! quad {
            ($at:literal $i:literal $j:literal $k:literal $l:literal) => {
                last!($at $i);
                w[$i] = next(w[$i], w[$j], w[$k], w[$l]);
            };
        }
        unrolled!(quad, last);
        all = sum(all, now);
    }
    *into = state(all);
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn two(a: (&mut [u32; 8], &[Block]), b: (&mut [u32; 8], &[Block])) {
    let (mut all_a, mut all_b) = (vars(a.0), vars(b.0));
    for (block_a, block_b) in a.1.iter().zip(b.1) {
        let (mut now_a, mut w_a) = (all_a, words(block_a));
        let (mut now_b, mut w_b) = (all_b, words(block_b));
        macro_rules! last {
            ($at:literal $i:literal) => {
                now_a = rounds(now_a, w_a[$i], constants($at));
                now_b = rounds(now_b, w_b[$i], constants($at));
            };
        }
        macro_rules! quad {
            ($at:literal $i:literal $j:literal $k:literal $l:literal) => {
                last!($at $i);
                w_a[$i] = next(w_a[$i], w_a[$j], w_a[$k], w_a[$l]);
                w_b[$i] = next(w_b[$i], w_b[$j], w_b[$k], w_b[$l]);
            };
        }
        unrolled!(quad, last);
        all_a = sum(all_a, now_a);
        all_b = sum(all_b, now_b);
    }
    (*a.0, *b.0) = (state(all_a), state(all_b));
}

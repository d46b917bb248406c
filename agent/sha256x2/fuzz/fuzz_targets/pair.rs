//! Two messages from one input, in pieces that the input chooses: each hash is what `sha2` says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use sha256x2::{Engine, Hasher, update_both};

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<(u16, u16)>)| {
    let (a, b, pieces) = input;
    for engine in [Engine::find(), Engine::portable()] {
        let (mut left, mut right) = (Hasher::new(engine), Hasher::new(engine));
        let (mut rest_a, mut rest_b) = (&a[..], &b[..]);
        for (of_a, of_b) in &pieces {
            let (now_a, later_a) = rest_a.split_at(rest_a.len().min(usize::from(*of_a)));
            let (now_b, later_b) = rest_b.split_at(rest_b.len().min(usize::from(*of_b)));
            update_both((&mut left, now_a), (&mut right, now_b));
            (rest_a, rest_b) = (later_a, later_b);
        }
        left.update(rest_a);
        update_both((&mut right, rest_b), (&mut Hasher::new(engine), &a));
        assert_eq!(left.finish(), <[u8; 32]>::from(Sha256::digest(&a)));
        assert_eq!(right.finish(), <[u8; 32]>::from(Sha256::digest(&b)));
    }
});

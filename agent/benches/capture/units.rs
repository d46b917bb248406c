//! How fast one core hashes what lies in its cache: one stream, and two side by side.

use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use sha256x2::{Engine, Hasher, update_both};

const BUFFER: usize = 128 << 10;
const TIMES: usize = 4000;

/// Prints gigabytes a second of one core, the best of some rounds.
pub(crate) fn measured() {
    let (a, b) = (vec![1_u8; BUFFER], vec![2_u8; BUFFER]);
    let engine = Engine::find();
    let one = || {
        let mut hasher = Hasher::new(engine);
        (0..TIMES).for_each(|_| hasher.update(&a));
        hasher.finish()
    };
    let two = || {
        let (mut left, mut right) = (Hasher::new(engine), Hasher::new(engine));
        for _ in 0..TIMES / 2 {
            update_both((&mut left, &a), (&mut right, &b));
        }
        assert_ne!(left.finish(), right.finish());
        [0; 32]
    };
    let theirs = || {
        let mut hasher = Sha256::new();
        (0..TIMES).for_each(|_| hasher.update(&a));
        hasher.finalize().into()
    };
    let of_theirs = best(&theirs);
    println!("\n### SHA-256 on one core\n");
    println!("| | GB/s | of sha2 |\n|---|---|---|");
    let line = |name, speed: f64| println!("| {name} | {speed:.2} | {:.2} |", speed / of_theirs);
    line("sha2, one stream", of_theirs);
    line("ours, one stream", best(&one));
    line("ours, two streams side by side", best(&two));
}

fn best(work: &dyn Fn() -> [u8; 32]) -> f64 {
    let speed = |_| {
        let begun = busy();
        std::hint::black_box(work());
        (BUFFER * TIMES) as f64 / (busy() - begun) / 1e9
    };
    (0..5).map(speed).fold(0.0, f64::max)
}

/// Seconds that this thread has had a core.
fn busy() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

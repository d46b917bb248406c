//! Chance that comes again: the same seed gives the same draws.

use std::time::Duration;

/// A SplitMix64 generator.
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A draw from all of them.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A draw from `0..end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// A moment within so many microseconds.
    pub const fn up_to_micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most + 1))
    }

    /// Bytes that look like anything.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.draw().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

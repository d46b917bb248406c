//! How much waits for the coordinator: the bytes of every statement that it has not recorded.

use std::collections::VecDeque;

/// The sizes of statements that are not recorded, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    sizes: VecDeque<u32>,
    bytes: u64,
}

impl Waiting {
    /// A statement of so many bytes was said.
    pub(super) fn add(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sizes.push_back(bytes);
        self.bytes += u64::from(bytes);
    }

    /// So many of them still wait; the older ones are recorded.
    pub(super) fn keep(&mut self, statements: u64) {
        while self.sizes.len() as u64 > statements {
            let recorded = self.sizes.pop_front().unwrap_or_default();
            self.bytes -= u64::from(recorded);
        }
    }

    /// How many bytes wait.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

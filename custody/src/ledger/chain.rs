//! Agent chains: each agent's own hash chain, written on even while it is cut off.
//!
//! An entry names its epoch, its position and SHA-256 of the entry before it. The chain adds
//! nothing to the tree's authority: it lets the coordinator see a gap or a fork at the door.

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, statement::Link};

/// Where an agent's chain stands: what its next entry must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The epoch; rises by one with each enrolment.
    pub epoch: u64,
    /// The position of the next entry.
    pub seq: u64,
    /// SHA-256 of the last entry; of nothing at the start of an epoch.
    pub prev: Digest,
}

impl ChainHead {
    /// The head of an epoch in which nothing was said yet.
    pub fn start(epoch: u64) -> Self {
        Self {
            epoch,
            seq: 0,
            prev: Digest::of(b""),
        }
    }
}

/// Why an entry does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It is the last entry again, to the byte.
    #[error("the entry is in the chain already")]
    Duplicate,
    /// Entries between are missing.
    #[error("the agent's chain has a gap: expected entry {expected}, got {got}")]
    Gap {
        /// The position that comes next.
        expected: u64,
        /// The position it claims.
        got: u64,
    },
    /// Its place is taken by an earlier entry; if the bytes differ the agent said two things.
    #[error("place {seq} of the agent's chain is taken")]
    Taken {
        /// The position it claims.
        seq: u64,
    },
    /// It follows another entry than the one before it.
    #[error("the agent's chain forks at {seq}: the entry does not follow the one before it")]
    Fork {
        /// The position.
        seq: u64,
    },
    /// It belongs to another enrolment.
    #[error("the entry is of epoch {got}; the agent is enrolled in epoch {expected}")]
    Epoch {
        /// The epoch of the enrolment.
        expected: u64,
        /// The epoch it claims.
        got: u64,
    },
}

/// Checks that an entry with this link and these bytes (by SHA-256) follows the head.
pub fn follow(head: &ChainHead, link: &Link, entry: &Digest) -> Result<(), ChainError> {
    if link.epoch != head.epoch {
        return Err(ChainError::Epoch {
            expected: head.epoch,
            got: link.epoch,
        });
    }
    if link.seq > head.seq {
        return Err(ChainError::Gap {
            expected: head.seq,
            got: link.seq,
        });
    }
    if link.seq < head.seq {
        let last = link.seq + 1 == head.seq && *entry == head.prev;
        return Err(if last {
            ChainError::Duplicate
        } else {
            ChainError::Taken { seq: link.seq }
        });
    }
    if link.prev != head.prev {
        return Err(ChainError::Fork { seq: link.seq });
    }
    Ok(())
}

/// The head after an entry that follows.
pub fn next(link: &Link, entry: Digest) -> ChainHead {
    ChainHead {
        epoch: link.epoch,
        seq: link.seq + 1,
        prev: entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(epoch: u64, seq: u64, prev: Digest) -> Link {
        Link {
            epoch,
            seq,
            prev,
            boot: Digest::of(b"boot"),
            monotonic_ns: "1".into(),
        }
    }

    #[test]
    fn a_chain_takes_the_next_entry_and_nothing_else() {
        let start = ChainHead::start(2);
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let one = link(2, 0, start.prev);
        assert_eq!(follow(&start, &one, &first), Ok(()));
        let head = next(&one, first);
        let two = link(2, 1, first);
        assert_eq!(follow(&head, &two, &second), Ok(()));
        assert_eq!(follow(&head, &one, &first), Err(ChainError::Duplicate));
        assert_eq!(
            follow(&head, &one, &second),
            Err(ChainError::Taken { seq: 0 })
        );
        let skip = link(2, 2, first);
        assert_eq!(
            follow(&head, &skip, &second),
            Err(ChainError::Gap {
                expected: 1,
                got: 2
            })
        );
        let fork = link(2, 1, second);
        assert_eq!(
            follow(&head, &fork, &second),
            Err(ChainError::Fork { seq: 1 })
        );
        let old = link(1, 1, first);
        let epoch = ChainError::Epoch {
            expected: 2,
            got: 1,
        };
        assert_eq!(follow(&head, &old, &second), Err(epoch));
    }
}

//! The welcome: does the coordinator stand where it should?
//!
//! It may be behind what it acknowledged (it was restored from a backup): then it is given
//! everything again. It may never know more of this agent's chain than this agent wrote.

use custody::{
    ledger::{
        chain::ChainHead,
        checkpoint::{Checkpoint, CheckpointError},
        note::VerifierKey,
    },
    statement::Seen,
};
use proto::v1::Welcome;

/// What a welcome comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// The first statement to send.
    pub(super) from: u64,
    /// How many statements the coordinator had acknowledged and does not have any more.
    pub(super) forgotten: u64,
}

/// Why the agent cannot go on with this coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Disagreed {
    /// It knows statements that this agent never wrote.
    #[error(
        "The coordinator has {theirs} statements of enrolment {epoch} and this agent wrote {ours}. \
         Either this folder was restored from an older copy, or somebody else uses this agent's \
         key. Nothing more is said, so that the record does not fork; what is held stays held. \
         Have an administrator retire this agent, find out which it was, and enrol anew"
    )]
    MoreThanWritten {
        /// The enrolment.
        epoch: u64,
        /// How many it has.
        theirs: u64,
        /// How many there are.
        ours: u64,
    },
    /// It knows a later enrolment.
    #[error(
        "The coordinator knows enrolment {theirs} of this agent and this folder holds \
         enrolment {ours}. Another folder was enrolled since; run the agent there, or enrol \
         this one again with a new invitation"
    )]
    LaterEpoch {
        /// Theirs.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// It does not know this enrolment.
    #[error(
        "The coordinator knows only enrolment {theirs} of this agent and this folder holds \
         enrolment {ours}. It was probably restored from an older backup. Holding goes on; have \
         the coordinator's operator look at it"
    )]
    EarlierEpoch {
        /// Theirs.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// Its checkpoint does not verify under the pinned key.
    #[error(
        "The coordinator's checkpoint does not verify ({0}). This is not the log that this agent \
         was enrolled in, or its key was changed. Holding goes on; nothing is sent"
    )]
    Checkpoint(#[from] CheckpointError),
    /// It signed two different trees of one size.
    #[error(
        "The coordinator signed two different logs of {size} entries: the record was forked. \
         Nothing is sent; what is held stays held. Keep this agent's journal and show it to \
         the auditors"
    )]
    Forked {
        /// The size.
        size: u64,
    },
}

impl Disagreed {
    /// Whether a promise is broken, so that the agent must stop speaking for good.
    pub(super) const fn is_breach(&self) -> bool {
        matches!(self, Self::MoreThanWritten { .. } | Self::Forked { .. })
    }
}

/// Compares where the coordinator stands with where this agent stands.
pub(super) fn agree(
    welcome: &Welcome,
    head: &ChainHead,
    recorded: u64,
) -> Result<Agreed, Disagreed> {
    let (theirs, ours) = (welcome.epoch, head.epoch);
    if theirs > ours {
        return Err(Disagreed::LaterEpoch { theirs, ours });
    }
    if theirs < ours {
        return Err(Disagreed::EarlierEpoch { theirs, ours });
    }
    if welcome.next_seq > head.seq {
        return Err(Disagreed::MoreThanWritten {
            epoch: ours,
            theirs: welcome.next_seq,
            ours: head.seq,
        });
    }
    Ok(Agreed {
        from: welcome.next_seq,
        forgotten: recorded.saturating_sub(welcome.next_seq),
    })
}

/// Verifies a checkpoint under the pinned key. `None` where there is none yet.
pub(super) fn checkpoint(
    note: &[u8],
    vkey: &VerifierKey,
    seen: Option<Seen>,
) -> Result<Option<Seen>, Disagreed> {
    if note.is_empty() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(note, vkey)?;
    if seen.is_some_and(|seen| seen.size == checkpoint.size && seen.root != checkpoint.root) {
        let size = checkpoint.size;
        return Err(Disagreed::Forked { size });
    }
    Ok(Some(Seen {
        size: checkpoint.size,
        root: checkpoint.root,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::{
        digest::Digest,
        ledger::note::{ED25519, NoteKey},
    };

    use super::*;

    fn head(epoch: u64, seq: u64) -> ChainHead {
        ChainHead {
            epoch,
            seq,
            prev: Digest::of(b""),
        }
    }

    fn welcome(epoch: u64, next_seq: u64) -> Welcome {
        Welcome {
            epoch,
            next_seq,
            ..Welcome::default()
        }
    }

    #[test]
    fn a_coordinator_may_be_behind_and_never_ahead() {
        let agreed = |from, forgotten| Ok(Agreed { from, forgotten });
        assert_eq!(agree(&welcome(1, 5), &head(1, 9), 5), agreed(5, 0));
        assert_eq!(agree(&welcome(1, 3), &head(1, 9), 5), agreed(3, 2));
        assert_eq!(agree(&welcome(1, 9), &head(1, 9), 5), agreed(9, 0));
        let more = agree(&welcome(1, 10), &head(1, 9), 5).unwrap_err();
        assert!(more.is_breach());
        assert!(
            !agree(&welcome(2, 0), &head(1, 9), 5)
                .unwrap_err()
                .is_breach()
        );
        assert!(
            !agree(&welcome(0, 9), &head(1, 9), 5)
                .unwrap_err()
                .is_breach()
        );
    }

    #[test]
    fn a_checkpoint_counts_only_under_the_pinned_key_and_two_of_one_size_are_a_fork() {
        let key = NoteKey::from_seed("log", ED25519, &[1; 32]).unwrap();
        let other = NoteKey::from_seed("log", ED25519, &[2; 32]).unwrap();
        let note = |key: &NoteKey, root: &[u8]| {
            let checkpoint = Checkpoint {
                origin: "log".to_owned(),
                size: 7,
                root: Digest::of(root),
            };
            checkpoint.sign(key).to_string().into_bytes()
        };
        let vkey = key.verifier();
        assert_eq!(vkey.kind(), ED25519);
        let seen = checkpoint(&note(&key, b"a"), vkey, None).unwrap().unwrap();
        assert_eq!(seen.size, 7);
        assert!(checkpoint(&note(&key, b"a"), vkey, Some(seen)).is_ok());
        let forked = checkpoint(&note(&key, b"b"), vkey, Some(seen));
        assert!(forked.unwrap_err().is_breach());
        assert!(checkpoint(&note(&other, b"a"), vkey, None).is_err());
        assert_eq!(checkpoint(b"", vkey, None), Ok(None));
    }
}

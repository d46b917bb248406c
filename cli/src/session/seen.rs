//! The newest checkpoint: verified, kept, and never smaller than the one before.

use custody::ledger::{checkpoint::Checkpoint, note::VerifierKey};
use proto::v1;
use tonic::Status;

use crate::{
    connect::{Services, patient},
    exit::Trouble,
    profile::Place,
};

/// Why there is no checkpoint.
pub(super) enum Fetch {
    Status(Box<Status>),
    Trouble(Trouble),
}

impl From<Trouble> for Fetch {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Fetches the newest checkpoint. `before` was read before the question was asked, so that
/// another tool's newer answer is not mistaken for a log that shrank.
pub(super) async fn fetch(
    services: &Services,
    place: &Place,
    verifier: &VerifierKey,
    before: Option<&Checkpoint>,
) -> Result<(Checkpoint, String), Fetch> {
    let mut ledger = services.ledger.clone();
    let answer = ledger.get_checkpoint(patient(v1::GetCheckpointRequest {}));
    let answer = answer
        .await
        .map_err(|status| Fetch::Status(Box::new(status)))?
        .into_inner();
    let checkpoint = Checkpoint::open(&answer.note, verifier).map_err(|error| {
        Trouble::breach(
            "checkpoint.wrong",
            format!(
                "The coordinator's checkpoint does not verify under the pinned key: {error}. Stop, \
                 and ask who runs it."
            ),
        )
    })?;
    if let Some(before) = before {
        if checkpoint.size < before.size {
            return Err(Trouble::breach(
                "checkpoint.went-back",
                format!(
                    "BREACH: the log has shrunk. It had {} entries when you last saw it and now \
                     says {}. Nothing was sent. Keep {} as evidence and tell your auditor.",
                    before.size,
                    checkpoint.size,
                    place.file("checkpoint").display()
                ),
            )
            .into());
        }
        if checkpoint.size == before.size && checkpoint.root != before.root {
            return Err(forked(checkpoint.size).into());
        }
    }
    place.put_seen(&answer.note, &checkpoint, verifier)?;
    Ok((
        checkpoint,
        String::from_utf8_lossy(&answer.note).into_owned(),
    ))
}

/// Two roots at one size.
pub(super) fn forked(size: u64) -> Trouble {
    Trouble::breach(
        "checkpoint.forked",
        format!(
            "BREACH: the log shows two different histories of {size} entries. Nothing was sent. \
             Keep both checkpoints as evidence and tell your auditor."
        ),
    )
}

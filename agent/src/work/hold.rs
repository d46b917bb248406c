//! Holding: raises, proves, checks and lowers, and says each step once it is so.
//!
//! What is said follows what is done, never the other way round. Trouble that was said is not
//! said again until it changes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use custody::{
    house::{finding::FindingKind, mechanism::Mechanism, regime::Holding},
    id::TargetId,
    statement::{
        Body, HoldAcknowledged, HoldLowered, HoldProof, HoldRaised, Trouble as SaidTrouble,
    },
};

use super::{Context, Done, Undone, finding::say_found, gauge::Gauge, narrow};
use crate::{
    enforce::{Found, HoldTrouble, Proof, Raised, site::Site, writers},
    journal::known::{Stage, TargetKnown},
};

/// How long it may take to find out who the writers are that a proof met.
const WHO: Duration = Duration::from_secs(5);

pub(super) fn known(context: &Context, target: TargetId) -> Option<TargetKnown> {
    context
        .book
        .known(|known| known.targets.get(&target).cloned())
}

/// Whether something that was said is still on its way to the coordinator.
pub(super) fn on_its_way(context: &Context) -> bool {
    context.book.known(|known| known.queued() > 0)
}

/// Whether a hold is still as it was proved: then nothing is done, or said, a second time.
fn stands(context: &Context, target: TargetId, gauge: &Gauge) -> bool {
    let checked = context.keeper.check(target, &gauge.hold);
    checked.is_ok_and(|found| found.is_empty())
}

/// Raises a hold and proves it.
pub(super) fn raise(
    context: &Context,
    target: TargetId,
    path: &Path,
    (holding, at_least): (Holding, Option<Mechanism>),
    left: &[PathBuf],
    gauge: &Gauge,
) -> Result<Done, Undone> {
    if let Some((what, _)) = context.watch.is_amiss(target) {
        let reason = match what {
            FindingKind::Unmounted => "unmounted",
            _ => "mounted-over",
        };
        let why = "what stands at the path is not what is held. Mount its file system as it was";
        return fail(context, target, reason, &why);
    }
    let before = known(context, target);
    let stage = before.as_ref().map(|known| known.stage);
    if stage == Some(Stage::Verified) && (on_its_way(context) || stands(context, target, gauge)) {
        // It stands, and the coordinator asked before it could know.
        return Ok(Done::All);
    }
    if stage.is_none_or(|stage| stage == Stage::Lowered) {
        let body = Body::HoldAcknowledged(HoldAcknowledged { target });
        context.book.say(body, &[])?;
    }
    let raising = context
        .keeper
        .raise_at_least(target, path, holding, at_least, &gauge.hold);
    let raised = match raising {
        Ok(raised) => raised,
        Err(trouble) => {
            if matches!(trouble, HoldTrouble::OtherAgent)
                && let Some(root) = Site::root_of(context.keeper.roots(), path)
            {
                let found = Found::at(FindingKind::SecondAgent, &root.vault);
                say_found(context, target, &found, false)?;
            }
            return failed(context, target, &trouble);
        }
    };
    // An agent whose records were lost has just raised what had left before, too.
    if let Err(trouble) = narrow::free(context, target, left, gauge) {
        tracing::error!(%target, reason = trouble.word(), "what has left is held: {trouble}");
    }
    say_raised(context, target, raised)?;
    prove(context, target, gauge)
}

pub(super) fn say_raised(
    context: &Context,
    target: TargetId,
    raised: Raised,
) -> Result<(), Undone> {
    let body = HoldRaised {
        target,
        mechanism: raised.mechanism,
        file_system: raised.file_system,
        does_not_prevent: raised.does_not_prevent,
        files: raised.files,
        folders: raised.folders,
        bytes: raised.bytes,
    };
    let known = known(context, target);
    let same = known.is_some_and(|known| {
        known.raised.as_ref() == Some(&body)
            && !matches!(known.stage, Stage::Acknowledged | Stage::Failed)
    });
    if !same {
        context.book.say(Body::HoldRaised(body), &[])?;
    }
    Ok(())
}

/// Proves a hold that is raised.
pub(super) fn prove(context: &Context, target: TargetId, gauge: &Gauge) -> Result<Done, Undone> {
    let proof = match context.keeper.prove(target, &gauge.hold) {
        Ok(proof) => proof,
        Err(trouble) => return failed(context, target, &trouble),
    };
    let body = proof_of(target, proof);
    if proof.holds() {
        context.book.say(Body::HoldVerified(body), &[])?;
        tracing::info!(%target, attempts = proof.attempts, "hold verified");
        return Ok(Done::All);
    }
    let said = known(context, target).and_then(|known| known.unproved);
    if said.as_ref() != Some(&body) {
        tracing::warn!(
            %target,
            attempts = proof.attempts,
            refused = proof.refused,
            writers = proof.writers,
            "hold not proved; it is tried again"
        );
        if proof.writers > 0 {
            say_writers(context, target, proof.writers)?;
        }
        context.book.say(Body::HoldUnproved(body), &[])?;
    }
    Ok(Done::Again)
}

/// Says who has held files open or mapped for writing, so that somebody can end them.
fn say_writers(context: &Context, target: TargetId, count: u64) -> Result<(), Undone> {
    let Ok(source) = context.keeper.source(target) else {
        return Ok(());
    };
    // In a vault there is no writer but us.
    if source.origins.is_some() {
        return Ok(());
    }
    let path = source.root_path.join(&source.relative);
    let left = writers::left(&source, &path, count, WHO);
    say_found(context, target, &left, true)?;
    Ok(())
}

const fn proof_of(target: TargetId, proof: Proof) -> HoldProof {
    HoldProof {
        target,
        attempts: proof.attempts,
        refused: proof.refused,
        writers: proof.writers,
    }
}

fn failed(context: &Context, target: TargetId, trouble: &HoldTrouble) -> Result<Done, Undone> {
    if matches!(trouble, HoldTrouble::Stopped) {
        return Ok(Done::Stopped);
    }
    fail(context, target, trouble.word(), trouble)
}

/// Says, where it was not said, that a hold could not be raised; it is tried again.
fn fail(
    context: &Context,
    target: TargetId,
    reason: &str,
    trouble: &dyn std::fmt::Display,
) -> Result<Done, Undone> {
    let said = known(context, target)
        .is_some_and(|k| k.stage == Stage::Failed && k.failed.as_deref() == Some(reason));
    if !said {
        tracing::error!(%target, reason, "hold failed: {trouble}");
        let body = SaidTrouble {
            id: target,
            reason: reason.to_owned(),
        };
        context.book.say(Body::HoldFailed(body), &[])?;
    }
    Ok(Done::Again)
}

/// Lowers a hold that the house has lifted.
pub(super) fn lower(context: &Context, target: TargetId, gauge: &Gauge) -> Result<Done, Undone> {
    let stage = known(context, target).map(|known| known.stage);
    if stage == Some(Stage::Lowered) && on_its_way(context) {
        return Ok(Done::All);
    }
    match context.keeper.lower(target, &gauge.hold) {
        Ok(lowered) => {
            let body = Body::HoldLowered(HoldLowered {
                target,
                freed: lowered.freed,
                kept: lowered.kept,
            });
            context.book.say(body, &[])?;
            tracing::info!(%target, freed = lowered.freed, kept = lowered.kept, "hold lowered");
            Ok(Done::All)
        }
        Err(HoldTrouble::Stopped) => Ok(Done::Stopped),
        Err(trouble) => {
            // It goes on holding: that is not for the ledger to call a failed hold.
            tracing::error!(%target, reason = trouble.word(), "cannot lower: {trouble}");
            Ok(Done::Again)
        }
    }
}

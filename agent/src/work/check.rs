//! Checking: looks at everything that is held, says what is not as it was, and has it made true
//! again. None of it needs the coordinator.
//!
//! Each root is checked by a hand of its own: one that does not answer keeps no other waiting,
//! nor the agent from starting.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use custody::{house::finding::FindingKind, id::TargetId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Context, Undone, finding::say_found};
use crate::{
    enforce::{Found, HoldTrouble, Phase, Progress, Record, job::path_of, site::Site},
    journal::known::Stage,
    watch,
};

/// A check in which nothing moves for so long is left to itself.
const PATIENCE: Duration = Duration::from_secs(30);

impl Context {
    /// Whether somebody raises, lowers or narrows a target now, or is about to.
    pub(crate) fn is_worked_on(&self, target: TargetId) -> bool {
        let about = target.to_string();
        let words = ["raise", "lower", "narrow"];
        words.iter().any(|word| self.queue.has(word, &about))
    }
}

/// Checks everything that is held. Returns when all is checked, or what is not does not answer.
pub async fn check_all(context: &Arc<Context>, stop: &CancellationToken) {
    let mounts = {
        let context = Arc::clone(context);
        tokio::task::spawn_blocking(move || watch::at_mounts(&context))
    };
    let _ = mounts.await;
    let mut hands = JoinSet::new();
    let mut gauges: Vec<Arc<Progress>> = Vec::new();
    for records in by_root(context).into_values() {
        let (context, gauge) = (Arc::clone(context), Arc::new(Progress::default()));
        gauges.push(Arc::clone(&gauge));
        hands.spawn_blocking(move || {
            let mut each = records.iter();
            each.try_for_each(|record| check_one(&context, record, &gauge))
        });
    }
    let done = || {
        gauges
            .iter()
            .map(|g| g.done.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let (mut before, mut moved) = (0, Instant::now());
    loop {
        tokio::select! {
            checked = hands.join_next() => match checked {
                None => return,
                Some(Ok(Err(error))) => tracing::error!("what is held could not be checked: {error}"),
                Some(_) => moved = Instant::now(),
            },
            () = stop.cancelled(), if gauges.iter().any(|g| !g.stop.load(Ordering::Relaxed)) => {
                gauges.iter().for_each(|gauge| gauge.stop.store(true, Ordering::Relaxed));
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                let now = done();
                if now != before {
                    (before, moved) = (now, Instant::now());
                } else if moved.elapsed() > PATIENCE {
                    tracing::error!(roots = hands.len(), "roots do not answer; what is held there is not checked, and the others are");
                    hands.detach_all();
                    return;
                }
            }
        }
    }
}

/// All records by the root they lie in.
fn by_root(context: &Context) -> BTreeMap<PathBuf, Vec<Record>> {
    let mut all: BTreeMap<PathBuf, Vec<Record>> = BTreeMap::new();
    for record in context.keeper.all() {
        let root = Site::root_of(context.keeper.roots(), &path_of(&record));
        let root = root.map(|root| root.path.clone()).unwrap_or_default();
        all.entry(root).or_default().push(record);
    }
    all
}

/// Checks one target. A hold that was not finished is finished.
pub fn check_one(context: &Context, record: &Record, progress: &Progress) -> Result<(), Undone> {
    let target = record.target;
    if progress.stop.load(Ordering::Relaxed) || context.is_worked_on(target) {
        return Ok(());
    }
    match record.phase {
        Phase::Lowered | Phase::Lowering => return Ok(()),
        Phase::Raised => {}
        Phase::Planned | Phase::Raising | Phase::Filling | Phase::Sealing | Phase::Narrowing => {
            tracing::info!(%target, "going on with a hold that was not finished");
            context.raise_again(record);
            return Ok(());
        }
    }
    if context.watch.is_amiss(target).is_some() {
        // What stands in its place now is not what is held; it was said.
        return Ok(());
    }
    let stage = context
        .book
        .known(|known| known.targets.get(&target).map(|known| known.stage));
    match context.keeper.check(target, progress) {
        Ok(found) => {
            for one in &found {
                say_found(context, target, one, false)?;
            }
            if !found.is_empty() || stage != Some(Stage::Verified) {
                context.raise_again(record);
            }
        }
        Err(HoldTrouble::Stopped) => {}
        Err(trouble) => {
            tracing::error!(%target, reason = trouble.word(), "cannot check: {trouble}");
            if matches!(trouble, HoldTrouble::NotFound | HoldTrouble::Symlink) {
                let path = Path::new(OsStr::from_bytes(&record.path));
                let found = Found::at(FindingKind::HeldChanged, path);
                say_found(context, target, &found, false)?;
            }
            context.raise_again(record);
        }
    }
    Ok(())
}

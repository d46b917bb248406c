//! Answers: what the coordinator asks to plan by. Nothing here changes anything, or is recorded.
//!
//! What counts walks a whole target, so it has a time of its own: then it is left unsaid, for a
//! guess would be taken for a count.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use custody::house::{mechanism::Mechanism, regime::Holding};
use proto::v1::{self, Locate, Located, Survey};

use crate::{
    config::RootConfig,
    enforce::{HoldTrouble, Keeper, Plan, Progress, after::Later},
    host,
};

/// How long counting for one question may take; the coordinator waits a little longer.
const COUNT: Duration = Duration::from_secs(15);

/// Answers a question. Blocks for as long as it takes to look.
pub fn answer(keeper: &Keeper, roots: &[RootConfig], locate: Locate) -> Located {
    let until = Instant::now() + COUNT;
    let mut located = Located {
        question: locate.question,
        ..Located::default()
    };
    if !locate.narrow.is_empty() {
        located.weighed = weigh(keeper, &locate, until);
        return located;
    }
    if !locate.after.is_empty() {
        located.later = later(keeper, &locate.after, until);
        return located;
    }
    let holding = match locate.holding() {
        v1::Holding::Freeze => Some(Holding::Freeze),
        v1::Holding::Preserve => Some(Holding::Preserve),
        v1::Holding::Unspecified => None,
    };
    for path in locate.paths {
        let bytes: &[u8] = path.as_ref();
        let there = host::is_there(roots, bytes) || keeper.is_in_store(bytes);
        if let (true, Some(holding)) = (locate.survey, holding) {
            located.surveys.push(survey(keeper, bytes, holding, until));
        }
        if there {
            located.found.push(path);
        }
    }
    located
}

/// Runs what walks until it is done or its time is over.
fn timed<T: Send>(
    until: Instant,
    work: impl FnOnce(&Progress) -> Result<T, HoldTrouble> + Send,
) -> Result<T, HoldTrouble> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let left = until.saturating_duration_since(Instant::now());
        let progress = &progress;
        scope.spawn(move || {
            if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                progress.stop.store(true, Ordering::Relaxed);
            }
        });
        let answer = work(progress);
        drop(done);
        answer
    })
}

/// How a place would be held.
fn survey(keeper: &Keeper, path: &[u8], holding: Holding, until: Instant) -> Survey {
    let place = Path::new(OsStr::from_bytes(path));
    let planned = keeper.plan(place, holding).and_then(|plan| {
        // Only a copy takes room at once, and how much only a walk can tell.
        let copies = matches!(plan.mechanism, Mechanism::SealedCopy | Mechanism::PlainCopy);
        if !copies {
            return Ok((plan, true));
        }
        match timed(until, |progress| {
            keeper.plan_counted(place, holding, progress)
        }) {
            Err(HoldTrouble::Stopped) => Ok((plan, false)),
            counted => counted.map(|counted| (counted, true)),
        }
    });
    match planned {
        Ok((plan, counted)) => said(path, plan, counted),
        Err(trouble) => Survey {
            path: path.to_vec().into(),
            refused: trouble.word().to_owned(),
            because: trouble.to_string(),
            ..Survey::default()
        },
    }
}

fn said(path: &[u8], plan: Plan, counted: bool) -> Survey {
    let room = plan.has_room();
    let mut because = plan.because;
    if !counted {
        because.push_str("; how much room it needs could not be counted in time");
    }
    Survey {
        path: path.to_vec().into(),
        mechanism: plan.mechanism.to_string(),
        file_system: plan.file_system,
        does_not_prevent: plan.does_not_prevent,
        because,
        needs_bytes: plan.needs,
        free_bytes: plan.free.unwrap_or(0),
        refused: if room { "" } else { "no-space" }.to_owned(),
    }
}

/// What came later than the moment that a target holds.
fn later(keeper: &Keeper, target: &str, until: Instant) -> Option<v1::Later> {
    let id = target.parse().ok()?;
    let after = timed(until, |progress| keeper.after(id, progress)).ok()?;
    let (word, things, all) = match after.later {
        Later::Nothing => ("nothing", 0, true),
        Later::Unchanged => ("unchanged", 0, true),
        Later::Changed {
            things: 0,
            all: true,
        } => ("unchanged", 0, true),
        Later::Changed { things, all } => ("changed", things, all),
        Later::Gone => ("gone", 0, true),
    };
    Some(v1::Later {
        target: target.to_owned(),
        as_of_unix_ms: after.as_of_ns / 1_000_000,
        word: word.to_owned(),
        things,
        all,
    })
}

/// What would leave a target, and what stays.
fn weigh(keeper: &Keeper, locate: &Locate, until: Instant) -> Option<v1::Weighed> {
    let target = locate.narrow.parse().ok()?;
    let path = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
    let leave: Vec<_> = locate.paths.iter().map(|place| path(place)).collect();
    let weighed = timed(until, |progress| keeper.weigh(target, &leave, progress));
    let weighed = weighed.inspect_err(|trouble| {
        tracing::info!(%target, reason = trouble.word(), "what would leave is not counted");
    });
    let weighed = weighed.ok()?;
    Some(v1::Weighed {
        leaving_files: weighed.leaving.files + weighed.kept.files,
        leaving_bytes: weighed.leaving.bytes + weighed.kept.bytes,
        kept_files: weighed.kept.files,
        kept_bytes: weighed.kept.bytes,
        staying_files: weighed.staying.files,
        staying_bytes: weighed.staying.bytes,
    })
}

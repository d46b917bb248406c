//! Under way: how far long work is, how fast it goes, and when it may be done, for `status` and for
//! the coordinator. None of it is evidence, and nothing depends on it.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use proto::v1::Underway;
use tokio::sync::broadcast;

use super::{
    Context,
    gauge::Gauge,
    job::{Job, Lane},
    rate::Rate,
};

/// How much may be told before somebody listens to it.
const TOLD: usize = 64;

/// Everything that is under way.
pub struct Underways {
    now: Mutex<BTreeMap<(String, String), Underway>>,
    told: broadcast::Sender<Underway>,
}

impl Default for Underways {
    fn default() -> Self {
        Self {
            now: Mutex::default(),
            told: broadcast::Sender::new(TOLD),
        }
    }
}

impl Underways {
    fn now(&self) -> MutexGuard<'_, BTreeMap<(String, String), Underway>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how far something is; with `over`, that it ended.
    pub fn tell(&self, underway: Underway) {
        let key = (underway.about.clone(), underway.task.clone());
        if underway.over {
            self.now().remove(&key);
        } else {
            self.now().insert(key, underway.clone());
        }
        // Nobody may be listening.
        let _ = self.told.send(underway);
    }

    /// All that is under way.
    pub fn all(&self) -> Vec<Underway> {
        self.now().values().cloned().collect()
    }

    /// Hears what is told from now on.
    pub fn listen(&self) -> broadcast::Receiver<Underway> {
        self.told.subscribe()
    }
}

/// How much a job will come to, as far as that is known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    things: u64,
    bytes: u64,
}

impl Total {
    fn of(context: &Context, job: &Job) -> Self {
        let file = |path: std::path::PathBuf| Self {
            things: 0,
            bytes: fs::metadata(path).map_or(0, |found| found.len()),
        };
        match job {
            Job::Capture { target, .. } => context.book.known(|known| {
                let target = known.targets.get(target);
                let raised = target.and_then(|target| target.raised.as_ref());
                raised.map_or_else(Self::default, |raised| Self {
                    things: raised.files.saturating_add(raised.folders),
                    bytes: raised.bytes,
                })
            }),
            Job::SendManifest { snapshot } => file(context.evidence.manifest(snapshot)),
            Job::SendParcel { release } => file(context.evidence.parcel(release)),
            Job::Pack { parts, .. } => Self {
                things: parts.iter().map(|part| part.rows.count()).sum(),
                bytes: 0,
            },
            _ => Self::default(),
        }
    }
}

/// Measures one job.
pub(super) struct Meter {
    about: String,
    task: &'static str,
    reads: bool,
    began: Instant,
    total: Total,
    bytes: Rate,
    things: Rate,
    told: u64,
}

impl Meter {
    /// Begins to measure.
    pub(super) fn new(context: &Context, job: &Job) -> Self {
        let mut meter = Self {
            about: job.about(),
            task: job.word(),
            reads: job.lane().0 == Lane::Read,
            began: Instant::now(),
            total: Total::of(context, job),
            bytes: Rate::default(),
            things: Rate::default(),
            told: 0,
        };
        meter.observe((0, 0));
        meter
    }

    fn observe(&mut self, (things, bytes): (u64, u64)) {
        let now = self.began.elapsed();
        self.bytes.observe(now, bytes);
        self.things.observe(now, things);
    }

    /// Says how far the job is; every so many times in the log too.
    pub(super) fn tell(&mut self, context: &Context, gauge: &Gauge, log: u64) {
        let (things, bytes) = gauge.figures();
        self.observe((things, bytes.saturating_sub(gauge.known())));
        let waits = context.guest.waits().filter(|_| self.reads);
        let left = match self.total {
            Total { bytes: total, .. } if total > 0 => {
                self.bytes.seconds_for(total.saturating_sub(bytes))
            }
            Total { things: total, .. } if total > 0 => {
                self.things.seconds_for(total.saturating_sub(things))
            }
            Total { .. } => None,
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes_per_second = self.bytes.per_second() as u64;
        let underway = Underway {
            about: self.about.clone(),
            task: self.task.to_owned(),
            things,
            bytes,
            total_bytes: self.total.bytes,
            bytes_per_second,
            seconds_left: left.unwrap_or(0),
            waits: waits.map_or_else(String::new, |why| why.word().to_owned()),
            over: false,
        };
        self.told += 1;
        if self.told.is_multiple_of(log) {
            tracing::info!(
                about = self.about,
                task = self.task,
                things,
                bytes,
                of = self.total.bytes,
                bytes_per_second,
                seconds_left = left,
                waits = underway.waits,
                seconds = self.began.elapsed().as_secs(),
                "under way"
            );
        }
        context.live.busy(&self.name(), (&underway).into());
        context.underway.tell(underway);
    }

    fn name(&self) -> String {
        format!("{} {}", self.task, self.about)
    }

    /// Says that the job ended, if it was ever said that it goes on.
    pub(super) fn over(self, context: &Arc<Context>) {
        context.live.idle(&self.name());
        if self.told > 0 {
            context.underway.tell(Underway {
                about: self.about,
                task: self.task.to_owned(),
                over: true,
                ..Underway::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_goes_on_is_there_for_late_comers_and_what_is_over_is_not() {
        let underways = Underways::default();
        let one = |over| Underway {
            about: "snap-1".to_owned(),
            task: "capture".to_owned(),
            bytes: 5,
            over,
            ..Underway::default()
        };
        underways.tell(one(false));
        let mut listening = underways.listen();
        assert_eq!(underways.all(), [one(false)]);
        underways.tell(one(true));
        assert_eq!(underways.all(), []);
        assert_eq!(listening.recv().await.unwrap(), one(true));
    }
}

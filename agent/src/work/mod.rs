//! Work: does what the coordinator asks, each thing once however often it is asked.
//!
//! Three lanes, so that holding never waits behind a long read, nor that behind an upload.
//! Everything that blocks runs on threads of its own. What is done is said in the journal;
//! how it gets to the coordinator is not known here.

pub mod check;
pub mod evidence;
pub mod finding;
pub mod gauge;
pub mod hold;
pub mod job;
mod limits;
mod narrow;
mod parcel;
pub mod queue;
mod rate;
mod snapshot;
pub mod underway;

use std::{
    collections::HashMap, io, os::unix::ffi::OsStrExt as _, path::Path, sync::Arc, time::Duration,
};

use proto::v1::{Task, task::Task as Wire};
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

use self::{
    evidence::Evidence,
    gauge::Gauge,
    job::{Job, Lane},
    queue::Queue,
    underway::{Meter, Underways},
};
use crate::{
    config::Place,
    enforce::{Keeper, Record},
    fixity::Fixity,
    guest::Guest,
    journal::{book::Book, error::JournalError, known::Stage},
    link::upload::Uploads,
    status::Live,
    watch::Watch,
};

/// How many raise and lower at a time: one that waits for a writer holds up no other.
const HOLDERS: usize = 2;
/// How often it is said how far a long job is, and how many times between two lines of the log.
const TELL: (Duration, u64) = (Duration::from_secs(2), 5);
/// The first and the longest wait before trouble is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// What every job works with.
pub struct Context {
    /// The journal.
    pub book: Book,
    /// Holds.
    pub keeper: Keeper,
    /// Snapshots and parcels.
    pub evidence: Evidence,
    /// What waits.
    pub queue: Queue,
    /// Uploads, over whatever connection there is.
    pub uploads: Uploads,
    /// What `status` shows.
    pub live: Arc<Live>,
    /// What reading asks before each read.
    pub guest: Arc<Guest>,
    /// What is under way.
    pub underway: Underways,
    /// What is read again.
    pub fixity: Arc<Fixity>,
    /// Where the agent's own files are.
    pub place: Place,
    /// What it shares with those who watch.
    pub watch: Watch,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There is nothing left to do.
    All,
    /// It is to be tried again in a while.
    Again,
    /// It was stopped; begun again it goes on.
    Stopped,
}

/// Why a job could not even say how it went. The coordinator asks again.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The agent's own files.
    #[error("the agent's own files cannot be read or written: {0}")]
    Io(#[from] io::Error),
}

/// The word for what a disk said.
fn io_word(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => "no-space",
        Some(Errno::ROFS) => "read-only",
        Some(Errno::NOENT) => "not-found",
        _ => "io-error",
    }
    .to_owned()
}

impl Context {
    /// Takes a task on. Blocks until it is noted that it was, so that an older one for the
    /// same thing is stale from here on, also after a crash.
    pub fn submit(&self, task: &Task) {
        if let Some(Wire::SetLimits(wire)) = &task.task {
            return self.set_limits(wire, task.position);
        }
        let job = match Job::from_wire(task) {
            Ok(job) => job,
            Err(error) => return tracing::warn!(%error, "a task is not understood"),
        };
        let about = job.about();
        if self.book.is_in_doubt() && job.takes_away() {
            return tracing::error!(
                about,
                task = job.word(),
                "not done: the coordinator's log is shorter than it was seen to be, and may have \
                 lost a reason to hold. It is done once the log is as long again"
            );
        }
        match self.book.took(&about, task.position) {
            Ok(true) => {
                let word = job.word();
                if self.queue.add(job) {
                    tracing::debug!(about, task = word, "task taken on");
                }
            }
            Ok(false) => tracing::info!(
                about,
                task = job.word(),
                position = task.position,
                "passed over a stale task"
            ),
            Err(error) => tracing::error!(%error, about, "a task cannot be taken on"),
        }
    }

    /// Asks for a hold to be raised and proved again.
    pub(crate) fn raise_again(&self, record: &Record) {
        self.again(Job::Raise {
            target: record.target,
            path: Path::new(std::ffi::OsStr::from_bytes(&record.path)).to_owned(),
            holding: record.holding,
            at_least: record.at_least,
            // What has left is in its own record.
            left: Vec::new(),
        });
    }

    /// Adds a job that the agent gives itself. One that was overtaken is not added: what was
    /// lifted since is not raised again.
    fn again(&self, job: Job) {
        if let Job::Raise { target, .. } = &job {
            let lowered = self.book.known(|known| {
                let target = known.targets.get(target);
                target.is_some_and(|target| target.stage == Stage::Lowered)
            });
            if lowered || self.queue.has("lower", &job.about()) {
                return;
            }
        }
        self.queue.add(job);
    }

    /// Position of the newest task about the same thing.
    fn newest(&self, job: &Job) -> Option<u64> {
        self.book
            .known(|known| known.took.get(&job.about()).copied())
    }

    fn perform(&self, job: &Job, gauge: &Arc<Gauge>) -> Result<Done, Undone> {
        match job {
            Job::Raise {
                target,
                path,
                holding,
                at_least,
                left,
            } => hold::raise(self, *target, path, (*holding, *at_least), left, gauge),
            Job::Narrow { target, leave } => narrow::narrow(self, *target, leave, gauge),
            Job::Lower { target } => hold::lower(self, *target, gauge),
            Job::Capture { snapshot, target } => snapshot::take(self, *snapshot, *target, gauge),
            Job::Pack {
                release,
                recipient,
                parts,
            } => parcel::make(self, *release, recipient, parts, gauge),
            // Sent by the lane itself, since it waits for the network.
            Job::SendManifest { .. } | Job::SendParcel { .. } => Ok(Done::All),
        }
    }
}

/// Runs all lanes until `stop`, and then until the step under way in each is done.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut lanes = JoinSet::new();
    for _ in 0..HOLDERS {
        lanes.spawn(lane(Arc::clone(&context), Lane::Hold, stop.clone()));
    }
    lanes.spawn(lane(Arc::clone(&context), Lane::Read, stop.clone()));
    lanes.spawn(lane(context, Lane::Send, stop));
    while lanes.join_next().await.is_some() {}
}

async fn lane(context: Arc<Context>, lane: Lane, stop: CancellationToken) {
    let mut tries: HashMap<String, u32> = HashMap::new();
    loop {
        let job = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            job = context.queue.take(lane) => job,
        };
        let name = format!("{} {}", job.word(), job.about());
        let position = context.newest(&job);
        let done = one(&context, &job, &stop).await;
        context.queue.done(&job);
        if lane == Lane::Hold {
            context.watch.changed();
        }
        match done {
            Ok(Done::All | Done::Stopped) => {
                tries.remove(&name);
            }
            Ok(Done::Again) => {
                let tried = tries.entry(name).or_default();
                let (first, longest) = BACK_OFF;
                let wait = first.saturating_mul(1 << (*tried).min(10)).min(longest);
                *tried += 1;
                let (context, stop) = (Arc::clone(&context), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => {
                            let lower = matches!(job, Job::Lower { .. });
                            if !lower || context.newest(&job) == position {
                                context.again(job);
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::error!(about = job.about(), task = job.word(), "not done: {error}");
            }
        }
    }
}

/// Does one job, says how far it is, and brakes it when all is to stop.
async fn one(context: &Arc<Context>, job: &Job, stop: &CancellationToken) -> Result<Done, Undone> {
    let gauge = Arc::new(Gauge::of(&context.guest));
    let working = {
        let (context, job, gauge) = (Arc::clone(context), job.clone(), Arc::clone(&gauge));
        async move {
            match &job {
                Job::SendManifest { snapshot } => {
                    let path = context.evidence.manifest(snapshot);
                    context.uploads.manifest(snapshot, &path, &gauge).await;
                    Ok(Done::All)
                }
                Job::SendParcel { release } => {
                    let path = context.evidence.parcel(release);
                    context.uploads.parcel(release, &path, &gauge).await;
                    Ok(Done::All)
                }
                _ => {
                    let work = move || context.perform(&job, &gauge);
                    let joined = tokio::task::spawn_blocking(work).await;
                    joined.unwrap_or_else(|error| Err(io::Error::other(error).into()))
                }
            }
        }
    };
    tokio::pin!(working);
    let mut meter = Meter::new(context, job);
    let mut tell = interval(TELL.0);
    tell.tick().await;
    let done = loop {
        tokio::select! {
            done = &mut working => break done,
            () = stop.cancelled(), if !gauge.is_stopped() => gauge.stop(),
            _ = tell.tick() => meter.tell(context, &gauge, TELL.1),
        }
    };
    meter.over(context);
    done
}

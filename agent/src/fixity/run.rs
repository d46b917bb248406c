//! Running: one thread of the lowest priority that reads, waits as long as the plan says, and is
//! never in the way of whoever holds.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use custody::time::Span;
use tokio::{sync::oneshot, task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::worker::{Step, Worker};
use crate::{edge::now, guest::priority, work::Context};

/// How long it waits at most before it looks whether something new is held.
const LOOK: Duration = Duration::from_secs(30);
/// What it has done is put on disk before a rest of this length.
const REST: Duration = Duration::from_secs(2);
/// The shortest wait after a step in which nothing could be done.
const NOTHING: Duration = Duration::from_secs(1);
/// How often the disks are looked at, and at most how often that is told.
const MEDIA: Duration = Duration::from_secs(60);

/// A thread that can be woken from its sleep.
#[derive(Default)]
struct Bed {
    stop: Arc<AtomicBool>,
    sleeping: Mutex<()>,
    alarm: Condvar,
}

impl Bed {
    fn sleep(&self, time: Duration) {
        let sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |_: &mut ()| !self.stop.load(Ordering::Relaxed);
        drop(self.alarm.wait_timeout_while(sleeping, time, goes_on));
    }

    fn wake(&self) {
        // Whoever is about to sleep has looked before, or sleeps by then.
        let _sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Relaxed);
        self.alarm.notify_all();
    }
}

/// Reads again what is held, and looks at the disks below `roots`, until `stop`.
pub fn start(
    context: Arc<Context>,
    roots: Vec<PathBuf>,
    period: Option<Span>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let looking = tokio::spawn(look(Arc::clone(&context), roots, stop.clone()));
        let bed = Arc::new(Bed::default());
        let (done, ended) = oneshot::channel::<()>();
        let started = {
            let (context, bed) = (Arc::clone(&context), Arc::clone(&bed));
            let read = move || {
                priority::lower();
                let fixity = Arc::clone(&context.fixity);
                let stop = Arc::clone(&bed.stop);
                let mut worker = Worker::new(context, fixity, period, Box::new(now), stop);
                work(&mut worker, &bed);
                drop(done);
            };
            // Of its own: a lowered thread must do nothing else.
            std::thread::Builder::new()
                .name("fixity".to_owned())
                .spawn(read)
        };
        if let Err(error) = started {
            tracing::error!(
                "nothing that is held is read again: no thread can be started ({error})"
            );
        }
        stop.cancelled().await;
        bed.wake();
        context.guest.wake();
        let _ = ended.await;
        let _ = looking.await;
    })
}

fn work(worker: &mut Worker, bed: &Bed) {
    let mut next = Instant::now();
    while !bed.stop.load(Ordering::Relaxed) {
        if let Some(Step::Did { work, .. }) = worker.tend() {
            if work == 0 {
                bed.sleep(NOTHING);
            }
            continue;
        }
        if Instant::now() >= next {
            next = Instant::now() + wait(worker.read_on());
        }
        let left = next.saturating_duration_since(Instant::now());
        if left >= REST {
            worker.flush();
        }
        bed.sleep(left.min(LOOK));
    }
    worker.flush();
}

/// How long a step is waited after.
fn wait(step: Step) -> Duration {
    match step {
        Step::Did { work: 0, .. } => NOTHING,
        Step::Did { work, pace } => {
            let seconds = pace.map_or(0.0, |pace| work as f64 / pace.max(1) as f64);
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
        }
        Step::Rest(until) => until.map_or(LOOK, |until| {
            let millis = (until - now()).millis().max(0).unsigned_abs();
            Duration::from_millis(millis).clamp(NOTHING, LOOK)
        }),
    }
}

async fn look(context: Arc<Context>, roots: Vec<PathBuf>, stop: CancellationToken) {
    let roots = Arc::new(roots);
    let mut tick = tokio::time::interval(MEDIA);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (context, roots) = (Arc::clone(&context), Arc::clone(&roots));
        // A disk that does not answer keeps this waiting, and nothing else.
        let looking = tokio::task::spawn_blocking(move || context.fixity.look_at_media(&roots));
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looking => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_paid_for_with_time_and_a_sleeper_wakes_at_once() {
        let did = |work, pace| Step::Did { work, pace };
        assert_eq!(wait(did(300, Some(100))), Duration::from_secs(3));
        assert_eq!(wait(did(300, None)), Duration::ZERO);
        assert_eq!(wait(did(0, Some(100))), NOTHING);
        assert!(wait(did(u64::MAX, Some(1))) > Duration::from_secs(1 << 40));
        assert_eq!(wait(Step::Rest(None)), LOOK);
        let bed = Arc::new(Bed::default());
        let began = Instant::now();
        let sleeper = {
            let bed = Arc::clone(&bed);
            std::thread::spawn(move || bed.sleep(Duration::from_secs(60)))
        };
        bed.wake();
        sleeper.join().expect("it wakes");
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

//! The publisher's task: publishes what was committed, again and again, until the writer is gone.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Failure, Published, writer::unconfirmed};
use crate::{
    journal::is_flush,
    ledger::{NotPublished, Publisher},
};

/// The shortest time between two checkpoints.
const BETWEEN: Duration = Duration::from_millis(100);
/// How long to wait after a failure, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

pub(super) async fn run(
    mut publisher: Publisher,
    mut changed: watch::Receiver<u64>,
    published: watch::Sender<Option<Published>>,
    broken: watch::Sender<Option<Failure>>,
) {
    let mut again = AGAIN.0;
    let mut last = false;
    loop {
        if broken.borrow().is_some() {
            return;
        }
        let began = Instant::now();
        let size = *changed.borrow_and_update();
        match publisher.publish(size, &mut |_| Ok(())).await {
            Ok(None) => again = AGAIN.0,
            Ok(Some(newest)) => {
                again = AGAIN.0;
                published.send_replace(Some(newest));
            }
            Err(NotPublished::Breach(breach)) => {
                tracing::error!(%breach, "publishing stopped");
                let failure = Failure::lasting(
                    format!("A promise of the log is broken: {breach}"),
                    "Stop the coordinator and read the run-book",
                );
                broken.send_replace(Some(failure));
                return;
            }
            Err(NotPublished::Journal(error)) if is_flush(&error) => {
                tracing::error!(%error, "publishing stopped");
                broken.send_replace(Some(unconfirmed(&error)));
                return;
            }
            Err(error) => {
                tracing::error!(%error, "nothing was published");
                if last {
                    return;
                }
                // Everything that was committed stands; only outsiders see it later.
                tokio::select! {
                    () = sleep(again) => {}
                    gone = writer_gone(&mut changed) => last = gone,
                }
                again = (again * 2).min(AGAIN.1);
                continue;
            }
        }
        if last {
            return;
        }
        if changed.changed().await.is_err() {
            // The writer is gone: once more, for what it committed last.
            last = true;
        } else {
            tokio::select! {
                () = sleep_until(began + BETWEEN) => {}
                gone = writer_gone(&mut changed) => last = gone,
            }
        }
    }
}

/// Waits until the writer is gone.
async fn writer_gone(changed: &mut watch::Receiver<u64>) -> bool {
    while changed.changed().await.is_ok() {}
    true
}

//! What is told of the disks, over a connection.

use std::{path::Path, time::Duration};

use agent::{
    disks,
    fixity::{media, show},
};
use custody::id::SnapshotId;
use proto::v1::{Capture, task::Task as Kind};

use crate::stage::{Host, said, target, task};

#[tokio::test(flavor = "multi_thread")]
async fn the_disks_below_a_root_are_told_when_the_agent_comes() {
    let host = Host::new().await;
    let below = disks::below(&host.root).unwrap();
    let expected = media::disks(Path::new(media::SYS), &below);
    let running = host.run();
    if expected.is_empty() {
        // On no disk of its own (in memory, over a network): there is nothing to tell.
        host.coordinator
            .until("hello", |script| !script.hellos.is_empty())
            .await;
        assert!(host.coordinator.get(|script| script.health.is_empty()));
        return running.stop().await.unwrap();
    }
    host.coordinator
        .until("health", |script| !script.health.is_empty())
        .await;
    let told = host.coordinator.get(|script| script.health[0].clone());
    let names: Vec<_> = told.disks.iter().map(|disk| disk.name.clone()).collect();
    assert_eq!(names, expected.into_iter().collect::<Vec<_>>());
    assert!(told.disks.iter().all(|disk| disk.bytes > 0), "{told:?}");
    assert!(
        told.disks.iter().all(|disk| disk.checked_unix_ms == 0),
        "nothing was read"
    );
    running.stop().await.unwrap();
    // What was counted is kept, so that a restart does not begin anew.
    assert!(host.place.0.join("fixity/disks.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_reads_again_what_it_holds_and_is_in_no_hurry() {
    let host = Host::new().await;
    let snapshot = SnapshotId::from_random([5; 16]);
    let capture = Capture {
        snapshot: snapshot.to_string(),
        target: target(1).to_string(),
    };
    host.tasks(vec![
        host.raise(1, 5, "alice"),
        task(Kind::Capture(capture), 6),
    ]);
    let running = host.run();
    host.coordinator
        .until("sealed", said("snapshot.sealed", 1))
        .await;
    running.stop().await.unwrap();
    // At its start it looks at once what there is to read.
    let running = host.run();
    let begun = || {
        let all = show::read(&host.place).unwrap();
        let state = all.into_iter().map(|shown| shown.state).next();
        state.filter(|state| state.round.rows > 0)
    };
    for _ in 0..300 {
        if begun().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let state = begun().expect("it began to read");
    assert_eq!((state.snapshot, state.target), (snapshot, target(1)));
    assert!(
        state.round.next < state.rows,
        "one file, and the next hours later"
    );
    assert_eq!((state.round.differ, state.round.unreadable), (0, 0));
    running.stop().await.unwrap();
    assert!(
        !host
            .coordinator
            .bodies()
            .iter()
            .any(|body| body.kind() == "fixity.checked")
    );
}

//! What is told of the disks, over a connection.

use std::path::Path;

use agent::{disks, fixity::media};

use crate::stage::Host;

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

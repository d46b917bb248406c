//! An agent whose own folder lies in a root: holding all of it must not silence the agent.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{fs, os::unix::ffi::OsStrExt as _};

use agent::config::Place;
use common::{
    mounted::{Mounted, can_mount},
    trees::is_flagged,
};
use coordinator::Coordinator;
use proto::v1::{Holding, Lower, Raise, task::Task as Kind};
use stage::{Host, said, target, task};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_freezes_the_root_it_lives_in_goes_on_speaking() {
    if !can_mount("an_agent_that_freezes_the_root_it_lives_in_goes_on_speaking") {
        return;
    }
    let mounted = Mounted::new("ext4", 64);
    let root = mounted.path().canonicalize().unwrap();
    fs::write(root.join("file"), b"held").unwrap();
    let host = Host {
        base: tempfile::tempdir().unwrap(),
        place: Place(root.join("agent")),
        root: root.clone(),
        coordinator: Coordinator::start().await,
    };
    host.enrol().await.unwrap();
    let raise = Raise {
        target: target(1).to_string(),
        path: root.as_os_str().as_bytes().to_vec().into(),
        holding: Holding::Freeze.into(),
        ..Default::default()
    };
    host.tasks(vec![task(Kind::Raise(raise), 5)]);
    let running = host.run();
    host.coordinator
        .until("verified", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    assert!(is_flagged(&root) && is_flagged(&root.join("file")));
    for own in ["", "journal", "journal/000000000000.seg", "agent.key"] {
        assert!(!is_flagged(&host.place.0.join(own)), "{own}");
    }
    // Also after a restart it writes, and lets go when it is told to.
    let lower = Lower {
        target: target(1).to_string(),
    };
    host.tasks(vec![task(Kind::Lower(lower), 6)]);
    let running = host.run();
    host.coordinator
        .until("lowered", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
    assert!(!is_flagged(&root.join("file")));
}

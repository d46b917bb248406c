//! Health: what an agent says of its disks is shown beside its record, and told after a restart.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Coordinator, agent::Agent, fresh};
use custody::id::TargetId;
use proto::v1::{Disk, FromAgent, Health, Reading, from_agent};

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_servers_disks_is_shown_with_it() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let other = Agent::new(&coordinator).await;
    let stream = agent.follow(&coordinator).await.unwrap();
    let target = fresh!(TargetId);
    let health = Health {
        disks: vec![Disk {
            name: "sda".to_owned(),
            model: "TURNER 3000".to_owned(),
            serial: "S1".to_owned(),
            bytes: 1 << 40,
            rotational: true,
            read_errors: 4,
            unreadable: 2,
            differ: 1,
            checked_unix_ms: 1_700_000_000_000,
        }],
        readings: vec![Reading {
            target: target.to_string(),
            round: 3,
            rows: 5,
            total_rows: 10,
            differ: 1,
            unreadable: 2,
            due_unix_ms: 1_800_000_000_000,
        }],
    };
    let message = Some(from_agent::Message::Health(health));
    stream.up.send(FromAgent { message }).await.unwrap();
    let live = loop {
        let live = coordinator.show("agents", agent.id).await["live"].clone();
        if !live["health_heard"].is_null() {
            break live;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let disk = &live["disks"][0];
    assert_eq!(disk["model"], "TURNER 3000");
    assert_eq!(disk["read_errors"], 4);
    assert_eq!(
        (&disk["unreadable"], &disk["differ"]),
        (&2.into(), &1.into())
    );
    assert_eq!(disk["checked"], "2023-11-14T22:13:20.000Z");
    let reading = &live["readings"][0];
    assert_eq!(reading["target"], target.to_string());
    assert_eq!(
        (&reading["rows"], &reading["total_rows"]),
        (&5.into(), &10.into())
    );
    let beside = coordinator.show("agents", other.id).await["live"].clone();
    assert_eq!(beside["disks"], serde_json::json!([]));
}

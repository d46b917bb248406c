//! Good guests: limits reach the agent that they are for, at once and when it comes back, and what
//! an agent says is under way is shown where it belongs.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Coordinator, agent::Agent, agent::Stream, story, until};
use custody::{
    house::{
        limits::Limits,
        scope::{Rule, Selector},
    },
    statement::{AgentLimit, Body},
};
use proto::v1::{FromAgent, SetLimits, Underway, from_agent, task};
use serde_json::json;

async fn limits_of(stream: &mut Stream) -> SetLimits {
    loop {
        if let task::Task::SetLimits(limits) = stream.task().await {
            return limits;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_reach_their_agent_when_they_change_and_when_it_comes_and_no_other() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let (agent, other) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    let limit = async |limits: Limits| {
        let body = Body::AgentLimit(AgentLimit {
            agent: agent.id,
            limits,
        });
        coordinator.say(&people.operator, body, &[]).await
    };
    let night = Limits {
        cpu_percent: Some(20),
        read_bytes: Some(100_000_000),
        from_minute: Some(1320),
        until_minute: Some(360),
        ..Limits::default()
    };
    // Set while nobody is there.
    limit(night).await.unwrap();
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let mut others = other.follow(&coordinator).await.unwrap();
    let came = limits_of(&mut stream).await;
    assert_eq!(
        (
            came.cpu_percent,
            came.read_bytes_per_second,
            came.reads_per_second
        ),
        (20, 100_000_000, 0)
    );
    assert_eq!(
        (came.from_minute, came.until_minute, came.paused),
        (1320, 360, false)
    );

    // Changed while it is there.
    let begun = std::time::Instant::now();
    let paused = Limits {
        paused: true,
        ..night
    };
    limit(paused).await.unwrap();
    assert!(limits_of(&mut stream).await.paused);
    assert!(begun.elapsed().as_secs() < 2);
    let shown = coordinator.show("agents", agent.id).await;
    assert_eq!(shown["limits"]["paused"], true);
    assert_eq!(shown["limits"]["cpu_percent"], 20);

    // Lifted: an empty word is one too, and a stream that comes later hears only the newest.
    limit(Limits::default()).await.unwrap();
    assert_eq!(limits_of(&mut stream).await, SetLimits::default());
    drop(stream);
    let mut again = agent.follow(&coordinator).await.unwrap();
    assert_eq!(limits_of(&mut again).await, SetLimits::default());

    let nonsense = Limits {
        cpu_percent: Some(0),
        ..Limits::default()
    };
    assert!(limit(nonsense).await.is_err());
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), others.next()).await;
    assert!(quiet.is_err(), "the other one is told nothing: {quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_shown_with_its_agent_and_its_target_until_the_stream_ends() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let (agent, other) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    let place = Some("/srv/data");
    let scope = story::item(Rule::Include, Selector::Path, Some(agent.id), place);
    let item = scope.0.item;
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let targets = [(item, agent.id, "/srv/data/alice")];
    let target = story::place(&coordinator, &people.operator, order, &targets).await[0];
    let (stream, others) = (
        agent.follow(&coordinator).await.unwrap(),
        other.follow(&coordinator).await.unwrap(),
    );
    let say = async |stream: &Stream, bytes: u64| {
        let underway = Underway {
            about: target.to_string(),
            task: "raise".to_owned(),
            things: 7,
            bytes,
            total_bytes: 4000,
            bytes_per_second: 100,
            seconds_left: 30,
            ..Underway::default()
        };
        let message = Some(from_agent::Message::Underway(underway));
        stream.up.send(FromAgent { message }).await.unwrap();
    };
    // Another agent's word on it counts for nothing.
    say(&others, 1).await;
    say(&stream, 1000).await;
    let live = until("it is shown", async || {
        let shown = coordinator.show("targets", target).await;
        shown.get("live").cloned()
    })
    .await;
    let expected = json!({
        "about": target.to_string(), "task": "raise", "things": 7, "bytes": 1000,
        "total_bytes": 4000, "bytes_per_second": 100, "seconds_left": 30, "waits": null,
    });
    assert_eq!(live, json!({ "underway": expected }));
    let shown = coordinator.show("agents", agent.id).await;
    assert_eq!(shown["live"]["underway"], json!([expected]));
    drop(stream);
    until("it is forgotten", async || {
        let shown = coordinator.show("targets", target).await;
        shown.get("live").is_none().then_some(())
    })
    .await;
}

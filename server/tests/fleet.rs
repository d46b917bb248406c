//! The fleet: tasks reach the agent that has them, statements are acknowledged once durable, and
//! a plan names what it found and what it did not.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Coordinator,
    agent::{Agent, Outcome},
    bearer, fresh, story,
};
use custody::{
    house::scope::{Rule, Selector},
    id::{OrderId, TargetId},
    statement::{Body, HoldAcknowledged, Trouble},
};
use proto::v1::{PlanHoldRequest, PlanHoldResponse, task};
use tonic::Code;

async fn plan(coordinator: &Coordinator, token: &str, order: OrderId) -> PlanHoldResponse {
    let request = PlanHoldRequest {
        order: order.to_string(),
        survey: false,
    };
    let mut records = coordinator.records().await;
    records
        .plan_hold(bearer(token, request))
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_agents_hold_shows_as_requested_and_is_its_first_task_when_it_comes() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let scope = story::item(
        Rule::Include,
        Selector::Path,
        Some(agent.id),
        Some("/srv/data"),
    );
    let item = scope.0.item;
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let targets = [(item, agent.id, "/srv/data/alice")];
    let target = story::place(&coordinator, &people.operator, order, &targets).await[0];
    assert_eq!(
        coordinator.show("targets", target).await["state"],
        "requested"
    );
    let live = coordinator.show("agents", agent.id).await["live"].clone();
    assert_eq!(live["connected"], false);

    let mut stream = agent.follow(&coordinator).await.unwrap();
    let task::Task::Raise(raise) = stream.task().await else {
        panic!("holds come first");
    };
    assert_eq!(
        (raise.target, raise.path.as_ref()),
        (target.to_string(), &b"/srv/data/alice"[..])
    );
    let live = coordinator.show("agents", agent.id).await["live"].clone();
    assert_eq!(
        (
            live["connected"].as_bool(),
            live["roots"][0]["path"].as_str()
        ),
        (Some(true), Some("/srv/data"))
    );

    let said = Body::HoldAcknowledged(HoldAcknowledged { target });
    let said = agent.say(&coordinator, &mut stream, said, &[]).await;
    assert!(matches!(said, Outcome::Recorded(_)));
    assert_eq!(
        coordinator.show("targets", target).await["state"],
        "acknowledged"
    );
    story::verify(&coordinator, &mut agent, &mut stream, target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_failed_is_asked_for_again() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let scope = story::item(
        Rule::Include,
        Selector::Path,
        Some(agent.id),
        Some("/srv/data"),
    );
    let item = scope.0.item;
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let targets = [(item, agent.id, "/srv/data/alice")];
    let target = story::place(&coordinator, &people.operator, order, &targets).await[0];
    assert!(matches!(stream.task().await, task::Task::Raise(_)));
    let failed = Body::HoldFailed(Trouble {
        id: target,
        reason: "no-space".to_owned(),
    });
    agent.say(&coordinator, &mut stream, failed, &[]).await;
    let begun = std::time::Instant::now();
    assert!(matches!(stream.task().await, task::Task::Raise(_)));
    let waited = begun.elapsed().as_secs_f64();
    assert!((4.0..9.0).contains(&waited), "{waited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_recorded_once_a_void_one_too_and_a_gap_is_turned() {
    let coordinator = Coordinator::new().await;
    let mut agent = Agent::new(&coordinator).await;
    let mut stream = agent.follow(&coordinator).await.unwrap();
    // About a target that is not this agent's: it stands in the log and changes nothing.
    let nonsense = || {
        Body::HoldAcknowledged(HoldAcknowledged {
            target: fresh!(TargetId),
        })
    };
    let entry = agent.seal(&coordinator, nonsense());
    stream.hand_in(&entry, &[]).await;
    let first = stream.outcome().await;
    assert!(matches!(first, Outcome::Recorded(_)));
    stream.hand_in(&entry, &[]).await;
    assert_eq!(stream.outcome().await, first, "sent twice, done once");

    let _lost = agent.seal(&coordinator, nonsense());
    let after = agent.seal(&coordinator, nonsense());
    stream.hand_in(&after, &[]).await;
    assert_eq!(
        stream.outcome().await,
        Outcome::Turned("agent.chain".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_speak_for_another() {
    let coordinator = Coordinator::new().await;
    let (one, mut two) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    let mut stream = one.follow(&coordinator).await.unwrap();
    let said = Body::HoldAcknowledged(HoldAcknowledged {
        target: fresh!(TargetId),
    });
    let entry = two.seal(&coordinator, said);
    stream.hand_in(&entry, &[]).await;
    assert_eq!(
        stream.outcome().await,
        Outcome::Turned("agent.other".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_takes_the_older_ones_place() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::new(&coordinator).await;
    let mut older = agent.follow(&coordinator).await.unwrap();
    let _newer = agent.follow(&coordinator).await.unwrap();
    let end = older.end().await;
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.message().contains("newer"), "{end}");
    let live = coordinator.show("agents", agent.id).await["live"].clone();
    assert_eq!(live["connected"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_finds_what_is_there_assumes_what_is_offline_and_names_the_rest() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let (online, offline) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    // The offline one has been here once: its roots are known.
    drop(offline.follow(&coordinator).await.unwrap());
    let mut stream = online.follow(&coordinator).await.unwrap();
    stream.there = vec![b"/srv/data/alice".to_vec(), b"/srv/data/x".to_vec()];
    let answering = tokio::spawn(async move { stream.next().await });
    common::until("the first is gone", async || {
        let live = coordinator.show("agents", offline.id).await["live"].clone();
        (live["connected"] == false).then_some(())
    })
    .await;

    let on = Some(online.id);
    let (include, exclude) = (Rule::Include, Rule::Exclude);
    let scope = vec![
        story::item(include, Selector::Account, None, Some("alice")),
        story::item(include, Selector::Account, on, Some("nobody")),
        story::item(include, Selector::Path, on, Some("/etc")),
        story::item(include, Selector::Path, on, Some("/srv/data/x")),
        story::item(include, Selector::Path, on, Some("/srv/data/y")),
        story::item(include, Selector::Hash, None, Some(&"ab".repeat(32))),
        story::item(include, Selector::Server, on, None),
        story::item(exclude, Selector::Path, on, Some("/srv/data/x")),
    ];
    let items: Vec<_> = scope
        .iter()
        .map(|(item, _)| item.item.to_string())
        .collect();
    let order = story::order(&coordinator, &people.clerk, scope).await;
    let plan = plan(&coordinator, &people.operator.token, order).await;

    let found: Vec<_> = plan
        .targets
        .iter()
        .map(|t| (t.item.clone(), t.agent.clone(), t.path.to_vec()))
        .collect();
    let alice = b"/srv/data/alice".to_vec();
    assert!(found.contains(&(items[0].clone(), online.id.to_string(), alice.clone())));
    assert!(found.contains(&(items[0].clone(), offline.id.to_string(), alice)));
    assert!(found.contains(&(
        items[6].clone(),
        online.id.to_string(),
        b"/srv/data".to_vec()
    )));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        plan.targets
            .iter()
            .all(|target| target.agent_name == "store-1")
    );

    let reason = |at: usize| {
        let found = plan.unresolved.iter().find(|u| u.item == items[at]);
        found.map(|u| u.reason.clone()).unwrap_or_default()
    };
    for (at, says) in [
        (1, "no server has such an account"),
        (2, "outside the allowed roots"),
        (3, "excluded"),
        (4, "not there"),
        (5, "no received manifest"),
    ] {
        assert!(reason(at).contains(says), "{at}: {}", reason(at));
    }
    assert_eq!(plan.unresolved.len(), 5);
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_tasks_and_the_inventory_are_still_there() {
    let mut coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let agent = Agent::new(&coordinator).await;
    let scope = story::item(
        Rule::Include,
        Selector::Path,
        Some(agent.id),
        Some("/srv/data"),
    );
    let item = scope.0.item;
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let targets = [(item, agent.id, "/srv/data")];
    let target = story::place(&coordinator, &people.operator, order, &targets).await[0];
    assert!(matches!(stream.task().await, task::Task::Raise(_)));
    coordinator.kill_and_restart();
    coordinator.admin.token = coordinator.login(&coordinator.admin.key).await.unwrap();
    let live = coordinator.show("agents", agent.id).await["live"].clone();
    assert_eq!(live["roots"][0]["accounts"], "{account}");
    let mut stream = agent.follow(&coordinator).await.unwrap();
    let task::Task::Raise(raise) = stream.task().await else {
        panic!("the task was lost");
    };
    assert_eq!(raise.target, target.to_string());
}

//! Plans that ask the agents: how a hold would stand, what a lift would free. Silence is never
//! taken for an answer, and none of it changes anything.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Coordinator, Human, agent::Agent, bearer, commit, now, story};
use custody::{
    house::scope::{Rule, Selector},
    id::{OrderId, TargetId},
    statement::{Body, OrderNarrow},
};
use proto::v1::{PlanHoldRequest, PlanLiftRequest, PlanLiftResponse, PlannedLift, Survey, Weighed};
use tonic::{Code, Status};

async fn lift(
    coordinator: &Coordinator,
    who: &Human,
    asked: PlanLiftRequest,
) -> Result<PlanLiftResponse, Status> {
    let mut records = coordinator.records().await;
    let answer = records.plan_lift(bearer(&who.token, asked)).await?;
    Ok(answer.into_inner())
}

fn of(order: OrderId) -> PlanLiftRequest {
    PlanLiftRequest {
        order: order.to_string(),
        targets: Vec::new(),
    }
}

fn places(planned: &PlannedLift) -> Vec<&[u8]> {
    planned.leave.iter().map(AsRef::as_ref).collect()
}

const WEIGHED: Weighed = Weighed {
    leaving_files: 3,
    leaving_bytes: 30,
    kept_files: 1,
    kept_bytes: 10,
    staying_files: 5,
    staying_bytes: 50,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_lets_go_is_planned_for_each_server_and_counted_where_it_answers() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let (online, offline) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    // The offline one has been here once: its roots are known.
    drop(offline.follow(&coordinator).await.unwrap());
    let mut stream = online.follow(&coordinator).await.unwrap();
    stream.there = vec![b"/srv/data/bob".to_vec(), b"/srv/data/alice".to_vec()];
    stream.weighed = Some(WEIGHED);
    let answering = tokio::spawn(async move {
        loop {
            if stream.next().await.is_err() {
                return;
            }
        }
    });
    common::until("the first is gone", async || {
        let live = coordinator.show("agents", offline.id).await["live"].clone();
        (live["connected"] == false).then_some(())
    })
    .await;

    let include = || story::item(Rule::Include, Selector::Path, None, Some("/srv/data"));
    let (scope, other) = (include(), include());
    let (item, others) = (scope.0.item, other.0.item);
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let targets = [
        (item, online.id, "/srv/data"),
        (item, offline.id, "/srv/data"),
        (item, online.id, "/srv/data/alice/mail"),
    ];
    let targets = story::place(&coordinator, &people.operator, order, &targets).await;
    // What another order holds does not leave for this one.
    let apart = story::order(&coordinator, &people.clerk, vec![other]).await;
    let there = [(others, online.id, "/srv/data/bob")];
    story::place(&coordinator, &people.operator, apart, &there).await;

    let plan = lift(&coordinator, &people.legal, of(order)).await.unwrap();
    assert_eq!((plan.targets.len(), plan.unresolved.len()), (0, 0));

    let out =
        |selector, agent, value: &str| story::item(Rule::Exclude, selector, agent, Some(value));
    let narrowed = vec![
        out(Selector::Account, None, "bob"),
        out(Selector::Path, Some(online.id), "/srv/data/alice"),
        // Below the one before: it leaves with that.
        out(Selector::Path, Some(online.id), "/srv/data/alice/x"),
        out(Selector::Path, Some(online.id), "/srv/data/never-there"),
        out(Selector::Path, None, "/elsewhere"),
    ];
    let items: Vec<_> = narrowed
        .iter()
        .map(|(item, _)| item.item.to_string())
        .collect();
    let (exclude, openings): (Vec<_>, Vec<_>) = narrowed.into_iter().unzip();
    let openings: Vec<_> = openings.into_iter().flatten().collect();
    let body = Body::OrderNarrow(OrderNarrow {
        order,
        received: now(),
        exclude,
    });
    coordinator
        .say(&people.legal, body, &openings)
        .await
        .unwrap();

    let plan = lift(&coordinator, &people.legal, of(order)).await.unwrap();
    let planned = |target: &TargetId| {
        let target = target.to_string();
        plan.targets
            .iter()
            .find(|one| one.target == target)
            .unwrap()
    };
    assert_eq!(plan.targets.len(), 3, "{plan:?}");
    let here = planned(&targets[0]);
    assert_eq!(places(here), [&b"/srv/data/alice"[..], b"/srv/data/bob"]);
    assert_eq!(here.weighed, Some(WEIGHED));
    // Who is away has not said that nothing is there, and has counted nothing.
    let away = planned(&targets[1]);
    assert_eq!(places(away), [b"/srv/data/bob"]);
    assert_eq!(away.weighed, None);
    assert_eq!(places(planned(&targets[2])), [b""; 0], "all of it");
    let said: Vec<_> = plan.unresolved.iter().map(|u| u.item.clone()).collect();
    assert_eq!(said, items[3..], "{plan:?}");

    // Named by hand, and only below the target.
    let by_hand = |leave: &[&[u8]]| PlanLiftRequest {
        order: String::new(),
        targets: vec![PlannedLift {
            target: targets[0].to_string(),
            leave: leave.iter().map(|place| place.to_vec().into()).collect(),
            weighed: None,
        }],
    };
    let plan = lift(&coordinator, &people.legal, by_hand(&[b"/srv/data/z"])).await;
    assert_eq!(places(&plan.unwrap().targets[0]), [b"/srv/data/z"]);
    for place in [&b"/srv/data"[..], b"/srv", b"/srv/data/../x", b"srv/data/x"] {
        let no = lift(&coordinator, &people.legal, by_hand(&[place]))
            .await
            .unwrap_err();
        assert_eq!(no.code(), Code::FailedPrecondition);
    }
    for nobody in [&people.claims, &people.custodian, &people.auditor] {
        let no = lift(&coordinator, nobody, of(order)).await.unwrap_err();
        assert_eq!(no.code(), Code::PermissionDenied);
    }
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_how_a_server_would_hold_a_place_and_nothing_of_one_that_is_away() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let (online, offline) = (
        Agent::new(&coordinator).await,
        Agent::new(&coordinator).await,
    );
    drop(offline.follow(&coordinator).await.unwrap());
    let mut stream = online.follow(&coordinator).await.unwrap();
    let survey = Survey {
        mechanism: "btrfs-snapshot".to_owned(),
        because: "it is there".to_owned(),
        needs_bytes: 7,
        ..Survey::default()
    };
    stream.there = vec![b"/srv/data/alice".to_vec()];
    stream.survey = Some(survey.clone());
    let answering = tokio::spawn(async move { stream.next().await });
    let scope = vec![story::item(
        Rule::Include,
        Selector::Account,
        None,
        Some("alice"),
    )];
    let order = story::order(&coordinator, &people.clerk, scope).await;
    common::until("the plan is right", async || {
        let mut surveys = Vec::new();
        for survey in [false, true] {
            let request = PlanHoldRequest {
                order: order.to_string(),
                survey,
            };
            let mut records = coordinator.records().await;
            let plan = records
                .plan_hold(bearer(&people.operator.token, request))
                .await;
            let mut targets = plan.unwrap().into_inner().targets;
            targets.sort_by_key(|target| target.agent != online.id.to_string());
            surveys.extend(targets.into_iter().map(|target| target.survey));
        }
        let path = b"/srv/data/alice".to_vec().into();
        let said = Some(Survey {
            path,
            ..survey.clone()
        });
        (surveys == [None, None, said, None]).then_some(())
    })
    .await;
    answering.abort();
}

/// What leaves in parts is opened for whoever may see where things are held, and for no one else.
#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_a_narrowing_are_opened_with_its_request_and_shown_to_who_votes() {
    use custody::{
        house::act::{Act, Narrowing},
        id::RequestId,
        statement::{Approve, RequestMake},
        time::Span,
    };
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let agent = Agent::new(&coordinator).await;
    let scope = story::item(Rule::Include, Selector::Path, None, Some("/srv/data"));
    let item = scope.0.item;
    let order = story::order(&coordinator, &people.clerk, vec![scope]).await;
    let wish = [(item, agent.id, "/srv/data")];
    let target = story::place(&coordinator, &people.operator, order, &wish).await[0];
    let (place, opening) = commit("path", "/srv/data/bob");
    let act = Act::Narrow {
        targets: vec![Narrowing {
            target,
            leave: vec![place],
        }],
    };
    let request = common::fresh!(RequestId);
    let body = || {
        Body::RequestMake(RequestMake {
            request,
            act: act.clone(),
        })
    };
    let closed = coordinator
        .say(&people.legal, body(), &[])
        .await
        .unwrap_err();
    assert_eq!(closed.code(), Code::InvalidArgument, "{closed:?}");
    coordinator
        .say(&people.legal, body(), std::slice::from_ref(&opening))
        .await
        .unwrap();
    let opened = async |who: &Human| {
        let asked = proto::v1::ShowRequest {
            kind: "requests".to_owned(),
            id: request.to_string(),
        };
        let mut records = coordinator.records().await;
        let shown = records.show(bearer(&who.token, asked)).await.unwrap();
        let shown = shown.into_inner().opened;
        shown.get(&place.to_string()).map(|place| place.to_vec())
    };
    assert_eq!(
        opened(&people.approvers[0]).await,
        Some(b"/srv/data/bob".to_vec())
    );
    assert_eq!(opened(&people.claims).await, None);
    // An approval repeats the act, and opens nothing a second time.
    let entry = coordinator.show("requests", request).await["leaf"]
        .as_str()
        .unwrap()
        .parse();
    let vote = || {
        Body::Approve(Approve {
            request,
            entry: *entry.as_ref().unwrap(),
            act: act.clone(),
            expires: now() + Span::hours(1),
        })
    };
    let twice = coordinator
        .say(&people.approvers[0], vote(), &[opening])
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Code::InvalidArgument);
    coordinator
        .say(&people.approvers[0], vote(), &[])
        .await
        .unwrap();
}

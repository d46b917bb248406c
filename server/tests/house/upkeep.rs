//! What goes on while something is held: it is read again, copied and mended, parts of it leave,
//! its server is limited, and somebody would like to wipe it.

use custody::{
    house::{
        act::{Act, Narrowing},
        clearance::{State, What},
        finding::FindingKind,
        limits::Limits,
        ranges::Ranges,
    },
    id::{ClearanceId, RequestId, SnapshotId, TargetId},
    statement::{
        AgentLimit, Body, ClearanceAsk, ClearanceUsed, CopyMade, CopyRepaired, Finding,
        FixityChecked, HoldNarrowed, RequestMake,
    },
};
use server::clock;

use super::{
    House, opening, plain, random,
    story::{Cast, approve, reports},
    with,
};

/// All of it, once.
pub async fn goes_on(house: &House, cast: &mut Cast, target: TargetId, snapshot: SnapshotId) {
    let limits = Limits {
        cpu_percent: Some(20),
        ..Limits::default()
    };
    let agent = cast.robot.id;
    let body = Body::AgentLimit(AgentLimit { agent, limits });
    house.submit(plain(cast.operator.says(body))).await.unwrap();
    found(house, cast, target).await;
    let (began, ended) = (clock::now(), clock::now());
    for body in [
        Body::FixityChecked(FixityChecked {
            target,
            snapshot,
            round: 1,
            rows: 100,
            bytes: 1000,
            differ: 1,
            unreadable: 1,
            began,
            ended,
        }),
        Body::CopyMade(CopyMade {
            target,
            snapshot,
            files: 3,
            bytes: 12,
        }),
        Body::CopyRepaired(CopyRepaired {
            target,
            snapshot,
            rows: Ranges::from_unsorted(vec![(3, 5)]),
            bytes: 4,
        }),
    ] {
        reports(house, &mut cast.robot, body).await;
    }
    narrow(house, cast, target).await;
    wipe(house, cast).await;
}

/// A finding that says where, and who.
async fn found(house: &House, cast: &mut Cast, target: TargetId) {
    let place = opening("path", "/srv/CANARY/alice/www/index");
    let process = opening("process", "CANARY 1 0");
    let body = Body::Finding(Finding {
        what: FindingKind::Appeared,
        target: Some(target),
        count: 1,
        evidence: vec![],
        entry: None,
        places: vec![place.commitment()],
        by: Some(process.commitment()),
        noticed: Some(clock::now()),
    });
    let said = with(cast.robot.says(body), vec![place, process]);
    assert_eq!(house.submit(said).await.unwrap().void, None);
}

async fn narrow(house: &House, cast: &mut Cast, target: TargetId) {
    let leaves = opening("path", "/srv/CANARY/alice/www/cache");
    let act = Act::Narrow {
        targets: vec![Narrowing {
            target,
            leave: vec![leaves.commitment()],
        }],
    };
    let request = RequestId::from_random(random());
    let make = Body::RequestMake(RequestMake {
        request,
        act: act.clone(),
    });
    let made = house
        .submit(with(cast.legal.says(make), vec![leaves]))
        .await;
    let leaf = made.unwrap().leaf;
    let [one, two] = &cast.approvers;
    approve(house, &[one, two], request, leaf, &act).await;
    let leaving = "a part of a hold leaves";
    house
        .until(leaving, |h| !h.targets[&target].leaving.is_empty())
        .await;
    let body = Body::HoldNarrowed(HoldNarrowed {
        target,
        places: 1,
        freed: 1,
        kept: 0,
    });
    reports(house, &mut cast.robot, body).await;
}

/// Asks for what is held, and is refused; asks for something else, and uses the clearance.
async fn wipe(house: &House, cast: &Cast) {
    let mut answers = Vec::new();
    for (path, disk) in [("/srv/CANARY/alice", None), ("/mnt/CANARY", Some("CANARY"))] {
        let place = opening("path", path);
        let disk = disk.map(|disk| opening("disk", disk));
        let clearance = ClearanceId::from_random(random());
        let body = Body::ClearanceAsk(ClearanceAsk {
            clearance,
            agent: cast.robot.id,
            what: if disk.is_some() {
                What::Disk
            } else {
                What::Path
            },
            disk: disk.as_ref().map(|disk| disk.commitment()),
            places: vec![place.commitment()],
        });
        let openings = std::iter::once(place).chain(disk).collect();
        house
            .submit(with(cast.operator.says(body), openings))
            .await
            .unwrap();
        house
            .until("an answer", |h| {
                h.clearances[&clearance].state != State::Asked
            })
            .await;
        answers.push(clearance);
    }
    let state = |id| house.desk().house().clearances[id].state.clone();
    assert!(matches!(state(&answers[0]), State::Refused { .. }));
    assert!(matches!(state(&answers[1]), State::Given { .. }));
    let clearance = answers[1];
    let used = Body::ClearanceUsed(ClearanceUsed { clearance });
    house.desk().say(used).await.unwrap();
}

//! What is said about wiping.

use custody::{
    commit::Commitment,
    house::{
        clearance::{State, What},
        refusal::Refusal,
        tasks::Due,
    },
    id::{AgentId, ClearanceId, PersonId},
    statement::{Body, ClearanceAsk, ClearanceGiven, ClearanceRefused, ClearanceUsed},
    time::Span,
};

use super::{Desk, Said, bytes16, world};

/// Asks, as an operator does.
pub fn ask(desk: &mut Desk, what: What, agent: AgentId, paths: &[&str]) -> ClearanceId {
    let clearance = ClearanceId::from_random(bytes16(90_000 + desk.next()));
    let places = paths.iter().map(|p| desk.commit("path", p.as_bytes()));
    let places: Vec<Commitment> = places.collect();
    let disk = (what == What::Disk).then(|| desk.commit("disk", b"sda"));
    let body = ClearanceAsk {
        clearance,
        agent,
        what,
        disk,
        places,
    };
    desk.person(world::OPERATOR, Body::ClearanceAsk(body))
        .unwrap();
    assert!(desk.house.due(desk.now).contains(&Due::Answer(clearance)));
    clearance
}

/// Answers, as the coordinator does: from what stands in the way.
pub fn answer(desk: &mut Desk, clearance: ClearanceId) -> State {
    let body = due(desk, clearance);
    desk.coordinator(body).unwrap();
    assert!(!desk.house.due(desk.now).contains(&Due::Answer(clearance)));
    desk.house.clearances[&clearance].state.clone()
}

/// The answer that is due.
pub fn due(desk: &Desk, clearance: ClearanceId) -> Body {
    let asked = desk.house.clearances[&clearance].asked.clone();
    let way = desk.house.in_the_way(&desk.openings, &asked);
    match way.is_empty() {
        true => Body::ClearanceGiven(ClearanceGiven {
            clearance,
            expires: desk.now + Span::hours(23),
        }),
        false => Body::ClearanceRefused(ClearanceRefused {
            clearance,
            holds: way.holds,
            orders: way.orders,
        }),
    }
}

/// Some step of some clearance, as `ops` plays it: asked for, answered, or used.
pub fn play(
    desk: &mut Desk,
    by: PersonId,
    agent: AgentId,
    path: &str,
    n: usize,
) -> Option<Result<Said, Refusal>> {
    let known: Vec<_> = desk.house.clearances.keys().copied().collect();
    let some = known.get(n % known.len().max(1)).copied();
    Some(match n % 3 {
        0 => {
            let clearance = ClearanceId::from_random(bytes16(desk.next()));
            let what = [What::Path, What::Server][n % 2];
            let place = (what == What::Path).then(|| desk.commit("path", path.as_bytes()));
            let body = ClearanceAsk {
                clearance,
                agent,
                what,
                disk: None,
                places: place.into_iter().collect(),
            };
            desk.person(by, Body::ClearanceAsk(body))
        }
        1 => {
            let body = due(desk, some?);
            desk.coordinator(body)
        }
        _ => desk.coordinator(Body::ClearanceUsed(ClearanceUsed { clearance: some? })),
    })
}

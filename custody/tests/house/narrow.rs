//! Narrowings: what is asked for, and what agents say they freed.

use custody::{
    house::{
        act::{Act, Narrowing},
        refusal::Refusal,
    },
    id::{AgentId, PersonId, TargetId},
    statement::{Body, HoldNarrowed},
    time::Span,
};

use super::{Desk, Said, world};

type Answer = Result<Said, Refusal>;

/// That these places leave a target.
pub fn act(desk: &mut Desk, target: TargetId, paths: &[&str]) -> Act {
    let leave = paths
        .iter()
        .map(|path| desk.commit("path", path.as_bytes()))
        .collect();
    Act::Narrow {
        targets: vec![Narrowing { target, leave }],
    }
}

pub fn narrowed(target: TargetId, places: u64) -> Body {
    Body::HoldNarrowed(HoldNarrowed {
        target,
        places,
        freed: 1,
        kept: 0,
    })
}

/// An honest agent frees all that was let go, or the first of it for now.
pub fn report(desk: &mut Desk, agent: AgentId, target: TargetId, c: usize) -> Answer {
    let known = &desk.house.targets[&target];
    let (free, out) = (known.left.len(), known.leaving.len());
    let some = if c.is_multiple_of(3) { 1 } else { out };
    desk.agent(agent, narrowed(target, (free + some) as u64))
}

/// Asks; mostly for what may leave, and mostly it then goes the whole way, since a part that never
/// leaves tests nothing.
pub fn play(
    desk: &mut Desk,
    by: PersonId,
    target: TargetId,
    paths: &[&str],
    a: usize,
) -> Option<Answer> {
    let known = &desk.house.targets[&target];
    let whole = String::from_utf8(desk.openings[&known.wish.path].clone()).unwrap();
    let below = ["b", "b/c", "a", "a/b"].map(|name| format!("{whole}/{name}"));
    let mut act = match a % 8 {
        0 => act(desk, target, paths),
        n => act(desk, target, &[below[n % 4].as_str()]),
    };
    let Act::Narrow { targets } = &mut act else {
        return None;
    };
    match a % 16 {
        1 => targets[0].leave.clear(),
        2 => {
            let again = targets[0].leave[0];
            targets[0].leave.push(again);
        }
        _ => {}
    }
    let request = match world::request(desk, by, act) {
        Ok(request) => request,
        Err(refusal) => return Some(Err(refusal)),
    };
    if a.is_multiple_of(5) {
        return None;
    }
    for voter in [world::ANNA, world::BEN] {
        if let Err(refusal) = world::vote(desk, voter, request) {
            return Some(Err(refusal));
        }
    }
    desk.wait(Span::hours(25));
    Some(world::execute(desk, request))
}

//! Plans a lift: what would leave a hold, whole or in part, counted by the agents that hold it.
//!
//! It changes nothing and decides nothing: people sign what it shows, and the law asks again. In
//! doubt a place stays: an exclusion that was erased takes nothing out, and neither does one that
//! lies nowhere that is known.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use custody::{
    house::{
        Openings as _,
        hold::HeldTarget,
        refusal::Kind,
        regime::Holding,
        scope::{self, Rule},
    },
    id::{AgentId, ItemId, OrderId, TargetId},
};
use proto::v1::{PlanLiftRequest, PlanLiftResponse, PlannedLift, Unresolved};
use tokio::time::Instant;

use super::plan::{self, Excluded};
use crate::{
    app::Coordinator,
    rpc::{
        status::{self, No, refuse},
        stream::Seat,
    },
};

/// How long the agents may count, all together.
const COUNT: Duration = Duration::from_secs(25);

/// What would leave one target.
struct Leaves {
    target: TargetId,
    agent: AgentId,
    whole: Vec<u8>,
    /// Places below it; none: all of it.
    parts: Vec<Vec<u8>>,
}

/// Plans what a request asks about. `order` is its order's whole id, if it names one.
pub(crate) async fn plan(
    coordinator: &Coordinator,
    order: Option<OrderId>,
    asked: PlanLiftRequest,
    seat: &Arc<Seat>,
) -> Result<PlanLiftResponse, No> {
    let (leaves, unresolved) = match order {
        Some(order) => by_exclusions(coordinator, &order, seat).await?,
        None => (named(coordinator, asked.targets)?, Vec::new()),
    };
    Ok(PlanLiftResponse {
        targets: weighed(coordinator, leaves).await,
        unresolved,
    })
}

/// What an order's exclusions take out of the holds that it backs.
async fn by_exclusions(
    coordinator: &Coordinator,
    order: &OrderId,
    seat: &Arc<Seat>,
) -> Result<(Vec<Leaves>, Vec<Unresolved>), No> {
    let material = plan::gather(coordinator, order)?;
    let hashes = plan::by_hash(coordinator, &material, seat).await?;
    let excluded = plan::exclusions(&material, &hashes);
    let mut leaves = apart(coordinator, order, &excluded);
    if material.holding == Holding::Freeze {
        leaves = there(coordinator, leaves).await;
    }
    let used = |item: &ItemId| {
        let mut out = excluded.iter().filter(|out| out.item == *item);
        out.any(|out| {
            leaves.iter().any(|leaves| {
                let places = std::iter::once(&leaves.whole).filter(|_| leaves.parts.is_empty());
                let mut places = places.chain(&leaves.parts);
                out.agent == leaves.agent && places.any(|place| scope::overlap(&out.path, place))
            })
        })
    };
    let items = material.items.iter();
    let items = items.filter(|(item, _)| item.rule == Rule::Exclude && !used(&item.item));
    let unresolved = items.map(|(item, value)| {
        let somewhere = excluded.iter().any(|out| out.item == item.item);
        let reason = match (somewhere, value) {
            (true, _) => "nothing that is held under this order lies there",
            (false, None) if item.value.is_some() => "what it names was erased, so all of it stays",
            (false, _) => "it lies nowhere that is known, so nothing leaves for it",
        };
        Unresolved {
            item: item.item.to_string(),
            reason: reason.to_owned(),
        }
    });
    let unresolved = unresolved.collect();
    Ok((leaves, unresolved))
}

/// What these exclusions take out of each target that the order backs.
fn apart(coordinator: &Coordinator, order: &OrderId, excluded: &[Excluded]) -> Vec<Leaves> {
    let openings = coordinator.desk.openings();
    let house = coordinator.desk.house();
    let backed = |target: &&HeldTarget| {
        let hold = house.holds.get(&target.hold);
        target.state.holds() && hold.is_some_and(|hold| hold.order == *order)
    };
    let mut leaves = Vec::new();
    for target in house.targets.values().filter(backed) {
        // What was erased cannot be told to lie in anything: it stays.
        let Some(whole) = openings.open(&target.wish.path) else {
            continue;
        };
        let agent = target.wish.agent;
        let out = excluded.iter().filter(|out| out.agent == agent);
        let mut places: Vec<_> = out.map(|out| out.path.clone()).collect();
        places.retain(|place| !target.let_go(&openings, place));
        if let Some(parts) = leaving(&whole, places) {
            leaves.push(Leaves {
                target: target.wish.target,
                agent,
                whole,
                parts,
            });
        }
    }
    leaves
}

/// Without parts of which their server says that nothing is there: where nothing can change, nothing
/// of them is held either. Who does not answer has not said so.
async fn there(coordinator: &Coordinator, leaves: Vec<Leaves>) -> Vec<Leaves> {
    let mut agents: BTreeMap<AgentId, Vec<Vec<u8>>> = BTreeMap::new();
    for one in &leaves {
        let parts = agents.entry(one.agent).or_default();
        parts.extend(one.parts.iter().cloned());
    }
    let asked = agents.into_iter().map(|(agent, parts)| async move {
        let found = coordinator.fleet.locate(&agent, &parts).await;
        (agent, found.map(HashSet::from_iter))
    });
    let found: BTreeMap<AgentId, Option<HashSet<Vec<u8>>>> =
        futures::future::join_all(asked).await.into_iter().collect();
    let left = leaves.into_iter().filter_map(|mut one| {
        let whole = one.parts.is_empty();
        if let Some(Some(found)) = found.get(&one.agent) {
            one.parts.retain(|part| found.contains(part));
        }
        (whole || !one.parts.is_empty()).then_some(one)
    });
    left.collect()
}

/// What leaves of `whole` when these places are taken out: nothing (`None`), all of it (no part),
/// or parts, none of which lies in another.
fn leaving(whole: &[u8], mut places: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    if places.iter().any(|place| scope::covers(place, whole)) {
        return Some(Vec::new());
    }
    places.sort_unstable();
    places.dedup();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for place in places {
        // Sorted, a place comes after what it lies in, though not directly.
        if scope::covers(whole, &place) && !parts.iter().any(|part| scope::covers(part, &place)) {
            parts.push(place);
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// The targets that somebody named himself.
fn named(coordinator: &Coordinator, wishes: Vec<PlannedLift>) -> Result<Vec<Leaves>, No> {
    let openings = coordinator.desk.openings();
    let house = coordinator.desk.house();
    let mut leaves = Vec::new();
    for wish in wishes {
        let id: TargetId = status::id(&wish.target)?;
        let target = house.targets.get(&id).ok_or_else(|| status::unknown(id))?;
        let whole = openings.open(&target.wish.path).unwrap_or_default();
        let parts: Vec<Vec<u8>> = wish.leave.into_iter().map(Into::into).collect();
        let below = |part: &Vec<u8>| {
            scope::is_plain_path(part)
                && !whole.is_empty()
                && scope::covers(&whole, part)
                && !scope::covers(part, &whole)
        };
        if !parts.iter().all(below) {
            return Err(refuse(
                Kind::Conflict,
                "hold.not-below",
                format!("A place that is to leave {id} does not lie below it"),
                "Name absolute paths below the target; lift the target to free the whole of it",
            )
            .into());
        }
        leaves.push(Leaves {
            target: id,
            agent: target.wish.agent,
            whole,
            parts,
        });
    }
    Ok(leaves)
}

/// Has each agent count what would leave its targets, all agents at once.
async fn weighed(coordinator: &Coordinator, leaves: Vec<Leaves>) -> Vec<PlannedLift> {
    let until = Instant::now() + COUNT;
    let mut agents: BTreeMap<AgentId, Vec<Leaves>> = BTreeMap::new();
    for one in leaves {
        agents.entry(one.agent).or_default().push(one);
    }
    let counted = agents.into_iter().map(|(agent, leaves)| async move {
        let mut planned = Vec::new();
        for one in leaves {
            let whole = std::slice::from_ref(&one.whole);
            let places = if one.parts.is_empty() {
                whole
            } else {
                &one.parts
            };
            let fleet = &coordinator.fleet;
            planned.push(PlannedLift {
                weighed: fleet.weigh(&agent, &one.target, places, until).await,
                target: one.target.to_string(),
                leave: one.parts.into_iter().map(Into::into).collect(),
            });
        }
        planned
    });
    futures::future::join_all(counted).await.concat()
}

#[cfg(test)]
mod tests {
    use super::leaving;

    fn places(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_leaves_is_the_whole_or_the_largest_parts_each_once() {
        let of = |names: &[&str]| leaving(b"/srv/a", places(names));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["/srv/b", "/srv/ab"]), None);
        assert_eq!(of(&["/srv/a/x", "/srv"]), Some(vec![]));
        assert_eq!(of(&["/srv/a"]), Some(vec![]));
        assert_eq!(
            of(&["/srv/a/x/1", "/srv/a/x-y", "/srv/a/x", "/srv/a/x", "/srv/b"]),
            Some(places(&["/srv/a/x", "/srv/a/x-y"]))
        );
    }
}

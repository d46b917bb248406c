//! Plans a hold: from what an order names to places on servers, ready to be signed.
//!
//! It changes nothing. What is named and found nowhere is said, with the reason, never dropped.
//! A server that is offline is assumed to have what it may have: in doubt a hold is asked for,
//! and the server itself says later when there is nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use custody::{
    digest::Digest,
    house::{
        regime::Holding,
        scope::{self, Rule, ScopeItem, Selector},
        snapshot::State,
    },
    id::{AgentId, ItemId, OrderId, SnapshotId},
};
use proto::v1::{PlanHoldResponse, PlannedTarget, Survey, Unresolved};
use tokio::task::spawn_blocking;

use super::inventory::Known;
use crate::{
    app::Coordinator,
    evidence::places,
    rpc::{
        status::{self, No},
        stream::Seat,
    },
};

/// A place on a server.
type Place = (AgentId, Vec<u8>);

/// A place that an item of a scope takes out.
pub(super) struct Excluded {
    pub(super) item: ItemId,
    pub(super) agent: AgentId,
    pub(super) path: Vec<u8>,
}

/// What a plan is made of, copied from the state under one look.
pub(super) struct Material {
    /// Agents that may be asked, with what they said of themselves.
    agents: BTreeMap<AgentId, Option<Known>>,
    names: BTreeMap<AgentId, String>,
    /// The scope, with what each item stands for; `None` where it was erased.
    pub(super) items: Vec<(ScopeItem, Option<Vec<u8>>)>,
    /// What its holds do.
    pub(super) holding: Holding,
    /// Received snapshots: whose, and of which place.
    snapshots: Vec<(SnapshotId, Place)>,
}

pub(super) fn gather(coordinator: &Coordinator, order: &OrderId) -> Result<Material, No> {
    use custody::house::Openings as _;
    let openings = coordinator.desk.openings();
    let house = coordinator.desk.house();
    let order = house
        .orders
        .get(order)
        .ok_or_else(|| status::unknown(order))?;
    let agents = house
        .agents
        .values()
        .filter(|a| !a.retired && a.enrolment.is_some());
    let agents: Vec<_> = agents.collect();
    let name = |agent: &custody::house::agent::Agent| {
        let name = openings.open(&agent.name).unwrap_or_default();
        String::from_utf8_lossy(&name).into_owned()
    };
    let received = house
        .snapshots
        .values()
        .filter(|s| s.state == State::Received);
    Ok(Material {
        names: agents.iter().map(|a| (a.id, name(a))).collect(),
        agents: agents
            .iter()
            .map(|a| (a.id, coordinator.fleet.inventory.of(&a.id)))
            .collect(),
        holding: order.served.holding,
        items: order
            .served
            .scope
            .iter()
            .map(|item| {
                (
                    item.clone(),
                    item.value.and_then(|value| openings.open(&value)),
                )
            })
            .collect(),
        snapshots: received
            .filter_map(|s| {
                let target = house.targets.get(&s.target)?;
                Some((s.id, (s.agent, openings.open(&target.wish.path)?)))
            })
            .collect(),
    })
}

impl Material {
    /// The agents that an item is about.
    fn of(&self, item: &ScopeItem) -> Vec<(AgentId, Option<&Known>)> {
        let named = self
            .agents
            .iter()
            .filter(|(id, _)| item.agent.is_none_or(|a| a == **id));
        named.map(|(id, known)| (*id, known.as_ref())).collect()
    }
}

/// Plans a hold under an order.
pub(crate) async fn plan(
    coordinator: &Coordinator,
    order: &OrderId,
    survey: bool,
    seat: &Arc<Seat>,
) -> Result<PlanHoldResponse, No> {
    let material = gather(coordinator, order)?;
    let hashes = by_hash(coordinator, &material, seat).await?;
    let excluded = exclusions(&material, &hashes);
    let (mut targets, mut unresolved) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let includes = material
        .items
        .iter()
        .filter(|(item, _)| item.rule == Rule::Include);
    for (item, value) in includes {
        let found = resolve(coordinator, &material, &hashes, item, value.as_deref()).await;
        let found = found.and_then(|places| {
            let total = places.len();
            let left = places.into_iter().filter(|(agent, path)| {
                !excluded
                    .iter()
                    .any(|out| out.agent == *agent && scope::covers(&out.path, path))
            });
            let left: Vec<_> = left.collect();
            match left.is_empty() && total > 0 {
                true => Err("everything it names is excluded by another item".to_owned()),
                false => Ok(left),
            }
        });
        match found {
            Err(reason) => unresolved.push(Unresolved {
                item: item.item.to_string(),
                reason,
            }),
            Ok(places) => targets.extend(
                places
                    .into_iter()
                    .filter(|place| seen.insert(place.clone()))
                    .map(|(agent, path)| PlannedTarget {
                        item: item.item.to_string(),
                        agent: agent.to_string(),
                        agent_name: material.names.get(&agent).cloned().unwrap_or_default(),
                        path: path.into(),
                        survey: None,
                    }),
            ),
        }
    }
    if survey {
        surveyed(coordinator, material.holding, &mut targets).await;
    }
    Ok(PlanHoldResponse {
        targets,
        unresolved,
    })
}

/// Has the agents say how they would hold each place. Who does not answer leaves it open.
async fn surveyed(coordinator: &Coordinator, holding: Holding, targets: &mut [PlannedTarget]) {
    let mut agents: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for target in targets.iter() {
        let paths = agents.entry(target.agent.clone()).or_default();
        paths.push(target.path.to_vec());
    }
    let asked = agents.into_iter().map(|(agent, paths)| async move {
        let id = agent.parse().ok();
        let surveys = match &id {
            Some(id) => coordinator.fleet.survey(id, &paths, holding).await,
            None => Vec::new(),
        };
        let of = |survey: Survey| ((agent.clone(), survey.path.clone()), survey);
        surveys.into_iter().map(of).collect::<Vec<_>>()
    });
    let answers = futures::future::join_all(asked).await.into_iter().flatten();
    let answers: HashMap<_, _> = answers.collect();
    for target in targets {
        let place = (target.agent.clone(), target.path.clone());
        target.survey = answers.get(&place).cloned();
    }
}

/// Where an item lies, or why it lies nowhere.
async fn resolve(
    coordinator: &Coordinator,
    material: &Material,
    hashes: &BTreeMap<Digest, Vec<Place>>,
    item: &ScopeItem,
    value: Option<&[u8]>,
) -> Result<Vec<Place>, String> {
    let agents = material.of(item);
    if agents.is_empty() {
        return Err(match item.agent {
            Some(_) => "the server it names is not enrolled, or is retired".to_owned(),
            None => "no server is enrolled".to_owned(),
        });
    }
    if item.selector == Selector::Server {
        let roots = agents.iter().flat_map(|(agent, known)| {
            let roots = known.iter().flat_map(|known| &known.roots);
            roots
                .map(|root| (*agent, root.path.clone()))
                .collect::<Vec<_>>()
        });
        return some(
            roots.collect(),
            "its server has never said which roots it has: start its agent",
        );
    }
    let value = value.ok_or("what it names was erased")?;
    match item.selector {
        Selector::Path => {
            let allowed = |known: &Known| match known.allows(value) {
                true => vec![value.to_vec()],
                false => Vec::new(),
            };
            let candidates = candidates(&agents, allowed);
            if candidates.is_empty() {
                let never = agents.iter().all(|(_, known)| known.is_none());
                return Err(match never {
                    true => "its server has never said which roots it has: start its agent",
                    false => "it lies outside the allowed roots",
                }
                .to_owned());
            }
            some(
                there(coordinator, candidates).await,
                "it is not there on any connected server",
            )
        }
        Selector::Account => {
            let account = String::from_utf8_lossy(value);
            let candidates = candidates(&agents, |known| known.places(&account));
            if candidates.is_empty() {
                return Err("no server's roots say where accounts lie".to_owned());
            }
            some(
                there(coordinator, candidates).await,
                "no server has such an account",
            )
        }
        Selector::Hash => {
            let digest = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
            let digest: Digest = digest.ok_or("it is not a SHA-256 in hex digits")?;
            let places = hashes.get(&digest).into_iter().flatten();
            let places = places.filter(|(agent, _)| item.agent.is_none_or(|a| a == *agent));
            some(
                places.cloned().collect(),
                "no received manifest has a file of this hash",
            )
        }
        Selector::Server => Err("no server is enrolled".to_owned()),
    }
}

fn some(places: Vec<Place>, reason: &str) -> Result<Vec<Place>, String> {
    match places.is_empty() {
        true => Err(reason.to_owned()),
        false => Ok(places),
    }
}

fn candidates(
    agents: &[(AgentId, Option<&Known>)],
    places: impl Fn(&Known) -> Vec<Vec<u8>>,
) -> Vec<(AgentId, Vec<Vec<u8>>)> {
    let all = agents
        .iter()
        .filter_map(|(agent, known)| Some((*agent, places((*known)?))));
    all.filter(|(_, places)| !places.is_empty()).collect()
}

/// The candidates that are there; all of those on servers that do not answer.
async fn there(coordinator: &Coordinator, candidates: Vec<(AgentId, Vec<Vec<u8>>)>) -> Vec<Place> {
    let asked = candidates.into_iter().map(|(agent, places)| async move {
        let found = coordinator.fleet.locate(&agent, &places).await;
        let found = found.unwrap_or(places).into_iter();
        found.map(|path| (agent, path)).collect::<Vec<_>>()
    });
    futures::future::join_all(asked).await.concat()
}

/// The places that other items take out.
pub(super) fn exclusions(
    material: &Material,
    hashes: &BTreeMap<Digest, Vec<Place>>,
) -> Vec<Excluded> {
    let mut all = Vec::new();
    let items = material
        .items
        .iter()
        .filter(|(item, _)| item.rule == Rule::Exclude);
    for (item, value) in items {
        let agents = material.of(item);
        let mut out = Vec::new();
        match (item.selector, value) {
            (Selector::Server, _) => out.extend(agents.iter().map(|(a, _)| (*a, b"/".to_vec()))),
            (Selector::Path, Some(path)) => {
                out.extend(agents.iter().map(|(agent, _)| (*agent, path.clone())));
            }
            (Selector::Account, Some(account)) => {
                let account = String::from_utf8_lossy(account);
                for (agent, places) in candidates(&agents, |known| known.places(&account)) {
                    out.extend(places.into_iter().map(|place| (agent, place)));
                }
            }
            (Selector::Hash, Some(hash)) => {
                let digest = std::str::from_utf8(hash)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let places = digest.and_then(|digest: Digest| hashes.get(&digest));
                out.extend(places.into_iter().flatten().cloned());
            }
            // Erased: it takes nothing out, for in doubt things are held.
            (_, None) => {}
        }
        all.extend(out.into_iter().map(|(agent, path)| Excluded {
            item: item.item,
            agent,
            path,
        }));
    }
    all
}

/// Where files of the hashes that the scope names lie, by the received manifests.
pub(super) async fn by_hash(
    coordinator: &Coordinator,
    material: &Material,
    seat: &Arc<Seat>,
) -> Result<BTreeMap<Digest, Vec<Place>>, No> {
    let wanted = material
        .items
        .iter()
        .filter(|(item, _)| item.selector == Selector::Hash);
    let wanted: HashSet<Digest> = wanted
        .filter_map(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse().ok())
        .collect();
    let mut found: BTreeMap<Digest, Vec<Place>> = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for (snapshot, (agent, target)) in &material.snapshots {
        let (path, target, wanted) = (
            coordinator.data.manifest(snapshot),
            target.clone(),
            wanted.clone(),
        );
        // A reading goes on when who asked has left: his place stays taken as long.
        let seat = Arc::clone(seat);
        let hits = spawn_blocking(move || {
            let _seat = seat;
            places(&path, &target, &wanted)
        });
        let hits = hits.await;
        let hits = hits.ok().and_then(Result::ok).ok_or_else(|| {
            No::Breach(format!(
                "The manifest of {snapshot} cannot be read. Check the coordinator's disk"
            ))
        })?;
        for (digest, path) in hits {
            found.entry(digest).or_default().push((*agent, path));
        }
    }
    Ok(found)
}

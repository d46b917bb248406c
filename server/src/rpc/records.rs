//! `Records`: what is known, as JSON, with what the reader may see opened.

use std::sync::Arc;

use custody::{
    commit::Commitment,
    house::{House, Key, refusal::Kind},
    id::{AgentId, ClaimId},
};
use proto::v1::{
    ListLaterRequest, ListLaterResponse, ListMatchesRequest, ListRequest, MatchedFile,
    PlanHoldRequest, PlanHoldResponse, PlanLiftRequest, PlanLiftResponse, Record, ShowRequest,
    records_server::Records,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::{
    caller,
    may::Read,
    opened,
    status::{self, No, invalid, refuse},
    stream::{Answer, Sink, answer, seat},
};
use crate::{
    app::Coordinator,
    evidence::matches,
    fleet::{lift, plan},
    identity::login::Caller,
};

/// Records read under one look at the state.
const PAGE: usize = 128;

/// The service.
pub struct RecordsService(pub Arc<Coordinator>);

/// A record as it was read, not yet opened.
struct Read1 {
    key: Key,
    json: Value,
    commitments: Vec<(Commitment, Read)>,
}

fn kind_of(word: &str) -> Result<&'static str, No> {
    let kind = House::KINDS.iter().find(|kind| **kind == word);
    kind.copied().ok_or_else(|| {
        invalid(
            "record.kind",
            format!(
                "There is no such kind of record; there are {}",
                House::KINDS.join(", ")
            ),
            "Use one of these",
        )
    })
}

/// The one id that begins so.
fn whole(house: &House, kind: &'static str, beginning: &str) -> Result<String, No> {
    let all = house.ids(kind);
    if all.iter().any(|id| id == beginning) {
        return Ok(beginning.to_owned());
    }
    // The prefix of the kind may be left out.
    let fits = |id: &&String| {
        let bare = id.split_once('-').map_or(id.as_str(), |(_, bare)| bare);
        !beginning.is_empty() && (id.starts_with(beginning) || bare.starts_with(beginning))
    };
    let mut fitting = all.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(one), Some(two)) => Err(invalid(
            "record.ambiguous",
            format!("More than one of the {kind} begins so, {one} and {two} among them"),
            "Give more of the id",
        )),
        (None, _) => Err(refuse(
            Kind::Unknown,
            "unknown",
            format!("None of the {kind} has this id or begins so"),
            "List what there is and use its id",
        )
        .into()),
    }
}

impl RecordsService {
    fn read(&self, house: &House, kind: &'static str, id: String) -> Option<Read1> {
        let commitments = opened::of(house, kind, &id);
        let key = Key { kind, id };
        let mut json = house.record(&key)?;
        if let (Some(live), Some(fields)) = (self.live(&key, &json), json.as_object_mut()) {
            fields.insert("live".to_owned(), live);
        }
        Some(Read1 {
            key,
            json,
            commitments,
        })
    }

    /// What is known of a record beside the ledger.
    fn live(&self, key: &Key, json: &Value) -> Option<Value> {
        // The agent that the record itself names: no other's word on it counts.
        let underway = |agent: &Value| {
            let agent: AgentId = agent.as_str()?.parse().ok()?;
            let underway = self.0.fleet.underway.about(agent, &key.id)?;
            Some(json!({ "underway": underway }))
        };
        match key.kind {
            "agents" => {
                let agent: AgentId = key.id.parse().ok()?;
                let live = self.0.fleet.live(&agent);
                let known = self.0.fleet.inventory.of(&agent).unwrap_or_default();
                let roots = known.roots.iter().map(|root| {
                    json!({
                        "path": String::from_utf8_lossy(&root.path),
                        "file_system": root.file_system,
                        "accounts": root.accounts,
                        "disks": root.disks,
                    })
                });
                let health = self.0.fleet.health.of(&agent).unwrap_or_default();
                Some(json!({
                    "connected": live.connected,
                    "last_seen": live.last_seen,
                    "version": known.version,
                    "roots": roots.collect::<Vec<_>>(),
                    "health_heard": health.heard,
                    "disks": health.disks,
                    "readings": health.readings,
                    "underway": self.0.fleet.underway.of(agent),
                }))
            }
            "targets" | "snapshots" | "releases" => underway(&json["agent"]),
            "claims" => {
                let claim: ClaimId = key.id.parse().ok()?;
                let troubles = self.0.matching.troubles(&claim).into_iter();
                let troubles: Vec<_> = troubles
                    .map(|(snapshot, why)| json!({ "snapshot": snapshot, "why": why }))
                    .collect();
                (!troubles.is_empty()).then(|| json!({ "not_matched": troubles }))
            }
            _ => None,
        }
    }

    async fn wire(&self, caller: &Caller, read: Read1) -> Result<Record, No> {
        let json = serde_json::to_vec(&read.json)
            .map_err(|error| No::Failed(format!("The record cannot be written: {error}")))?;
        Ok(Record {
            kind: read.key.kind.to_owned(),
            id: read.key.id,
            json: json.into(),
            opened: opened::open(&self.0, caller, read.commitments).await,
        })
    }

    async fn list_to(self, caller: Caller, kind: &'static str, sink: Sink<Record>) {
        let all = self.0.desk.house().ids(kind);
        for some in all.chunks(PAGE) {
            let page: Vec<_> = {
                let house = self.0.desk.house();
                let read = |id: &String| self.read(&house, kind, id.clone());
                some.iter().filter_map(read).collect()
            };
            for read in page {
                let record = self.wire(&caller, read).await;
                let over = record.is_err();
                if sink.send(record).await.is_err() || over {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Records for RecordsService {
    type ListStream = Answer<Record>;
    type ListMatchesStream = Answer<MatchedFile>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let caller = caller::person(&self.0, &request)?;
        let kind = kind_of(&request.into_inner().kind)?;
        let (sink, answer) = answer(&self.0, &caller, 64)?;
        let service = Self(Arc::clone(&self.0));
        tokio::spawn(service.list_to(caller, kind, sink));
        Ok(Response::new(answer))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<Record>, Status> {
        let caller = caller::person(&self.0, &request)?;
        let ShowRequest { kind, id } = request.into_inner();
        let kind = kind_of(&kind)?;
        let read = {
            let house = self.0.desk.house();
            let id = whole(&house, kind, &id)?;
            let read = self.read(&house, kind, id);
            read.ok_or_else(|| status::unknown("such record"))?
        };
        Ok(Response::new(self.wire(&caller, read).await?))
    }

    async fn plan_hold(
        &self,
        request: Request<PlanHoldRequest>,
    ) -> Result<Response<PlanHoldResponse>, Status> {
        let caller = caller::person(&self.0, &request)?;
        caller::check(&self.0, &caller, Read::Plan, "planning a hold").await?;
        let PlanHoldRequest { order, survey } = request.into_inner();
        let order = {
            let house = self.0.desk.house();
            whole(&house, "orders", &order)?
        };
        let seat = Arc::new(seat(&self.0, &caller)?);
        let planned = plan::plan(&self.0, &status::id(&order)?, survey, &seat).await?;
        Ok(Response::new(planned))
    }

    async fn plan_lift(
        &self,
        request: Request<PlanLiftRequest>,
    ) -> Result<Response<PlanLiftResponse>, Status> {
        let caller = caller::person(&self.0, &request)?;
        caller::check(&self.0, &caller, Read::Plan, "planning a lift").await?;
        let asked = request.into_inner();
        let order = match asked.order.as_str() {
            "" => None,
            order => {
                let house = self.0.desk.house();
                Some(status::id(&whole(&house, "orders", order)?)?)
            }
        };
        let seat = Arc::new(seat(&self.0, &caller)?);
        let planned = lift::plan(&self.0, order, asked, &seat).await?;
        Ok(Response::new(planned))
    }

    async fn list_later(
        &self,
        request: Request<ListLaterRequest>,
    ) -> Result<Response<ListLaterResponse>, Status> {
        let caller = caller::person(&self.0, &request)?;
        caller::check(&self.0, &caller, Read::Orders, "looking what came later").await?;
        let mut targets = Vec::new();
        {
            let house = self.0.desk.house();
            for id in &request.into_inner().targets {
                let id = status::id(id)?;
                let target = house.targets.get(&id).ok_or_else(|| status::unknown(id))?;
                targets.push((target.wish.agent, id));
            }
        }
        let _seat = seat(&self.0, &caller)?;
        let later = self.0.fleet.later(targets).await;
        Ok(Response::new(ListLaterResponse { later }))
    }

    async fn list_matches(
        &self,
        request: Request<ListMatchesRequest>,
    ) -> Result<Response<Self::ListMatchesStream>, Status> {
        let caller = caller::person(&self.0, &request)?;
        caller::check(
            &self.0,
            &caller,
            Read::Matches,
            "listing what a claim matches",
        )
        .await?;
        let openings = self.0.desk.openings();
        let (claim, parts) = {
            let house = self.0.desk.house();
            let id = whole(&house, "claims", &request.into_inner().claim)?;
            let claim: ClaimId = status::id(&id)?;
            (claim, matches::parts(&house, &openings, &claim)?)
        };
        let (sink, answer) = answer(&self.0, &caller, 64)?;
        let coordinator = Arc::clone(&self.0);
        tokio::spawn(async move { matches::list(&coordinator, &claim, parts, &sink).await });
        Ok(Response::new(answer))
    }
}

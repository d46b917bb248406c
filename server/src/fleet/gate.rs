//! The gate: lets a clearance be used, once, after asking every rule again.
//!
//! An agent asks just before something is wiped. In doubt the answer is no: a hold placed a
//! moment ago stands in the way, and so does a place that the clearance does not name.

use custody::{
    house::{
        House, Openings,
        clearance::What,
        refusal::{Kind, Refusal},
        scope,
    },
    id::{AgentId, ClearanceId},
    statement::{Author, Body, ClearanceUsed},
};
use proto::v1::{GateRequest, GateResponse};

use crate::{app::Coordinator, clock, desk::DeskError, rpc::status::No};

/// The most places that an agent may name.
const MOST: usize = 1000;

/// Answers an agent. A yes is durable before it is said.
pub(crate) async fn gate(
    coordinator: &Coordinator,
    agent: AgentId,
    request: GateRequest,
) -> Result<GateResponse, No> {
    let desk = &coordinator.desk;
    let checked = {
        let house = desk.house();
        check(&house, &desk.openings(), &agent, &request)
    };
    let said = match checked {
        Ok(clearance) => desk.say(Body::ClearanceUsed(ClearanceUsed { clearance })),
        Err(refusal) => return Ok(no(coordinator, agent, &refusal).await),
    };
    match said.await {
        Ok(_) => Ok(GateResponse {
            allowed: true,
            why: String::new(),
        }),
        // It came between the look and the record.
        Err(DeskError::Refused(refusal)) => Ok(no(coordinator, agent, &refusal).await),
        Err(DeskError::Failed(failure)) => Err(failure.into()),
    }
}

async fn no(coordinator: &Coordinator, agent: AgentId, refusal: &Refusal) -> GateResponse {
    let by = Some(Author::Agent(agent));
    let desk = &coordinator.desk;
    desk.say_refused(refusal, "fleet.gate", by, None).await;
    GateResponse {
        allowed: false,
        why: refusal.to_string(),
    }
}

fn check(
    house: &House,
    openings: &dyn Openings,
    agent: &AgentId,
    request: &GateRequest,
) -> Result<ClearanceId, Refusal> {
    let other = |why: &str, next| Refusal {
        rule: "clearance.other-place",
        kind: Kind::Conflict,
        why: why.to_owned(),
        next,
    };
    let id = request.clearance.parse::<ClearanceId>();
    let id = id.map_err(|error| other(&error.to_string(), "Name the clearance's whole id"))?;
    let clearance = house.may_wipe(openings, &id, clock::now())?;
    let asked = &clearance.asked;
    if asked.agent != *agent {
        return Err(other(
            "The clearance is for another server",
            "Ask for one for this server",
        ));
    }
    let whole = asked.what == What::Server || asked.places.is_empty();
    let named: Vec<_> = asked.places.iter().map(|p| openings.open(p)).collect();
    let covered = |place: &[u8]| {
        let mut named = named.iter().flatten();
        named.any(|named| scope::covers(named, place))
    };
    let places = &request.places;
    if !whole && (places.is_empty() || places.len() > MOST || !places.iter().all(|p| covered(p))) {
        return Err(other(
            "More would be wiped than the clearance names",
            "Wipe only that, or ask for a clearance for all of it",
        ));
    }
    Ok(id)
}

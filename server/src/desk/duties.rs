//! Duties: what the coordinator has to say on its own, read off the state.
//!
//! An order's clock that has run out, a question whether something may be wiped, and a request whose approvals stand, whose notice is over
//! and whose votes a published checkpoint covers. Nothing is remembered: after a crash the same
//! state gives the same duties. A duty that a rule turns down is tried again a little later, for
//! what stood in its way may pass.

use std::{collections::HashMap, sync::Weak, time::Duration};

use custody::{
    house::{House, act::Act, tasks::Due},
    id::{ClearanceId, RequestId},
    statement::{Body, ClearanceGiven, ClearanceRefused, OrderExpired, RequestExecuted},
    time::Span,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Desk, DeskError, Published, Shared};
use crate::clock;

/// Clocks are looked at this often when nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// The state is looked at no more often than this.
const REST: Duration = Duration::from_millis(100);
/// A duty that was turned down waits this long.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs until it is told to stop or the desk is gone.
pub(super) async fn run(
    desk: Weak<Shared>,
    mut changed: watch::Receiver<u64>,
    mut published: watch::Receiver<Option<Published>>,
    stop: CancellationToken,
) {
    let mut later: HashMap<RequestId, Instant> = HashMap::new();
    loop {
        later.retain(|_, until| *until > Instant::now());
        let Some(desk) = desk.upgrade().map(Desk) else {
            return;
        };
        let size = published
            .borrow_and_update()
            .as_ref()
            .map_or(0, |p| p.checkpoint.size);
        changed.mark_unchanged();
        let (bodies, waiting) = due(&desk, size, &later);
        for body in bodies {
            if stop.is_cancelled() {
                return;
            }
            let request = match &body {
                Body::RequestExecuted(said) => Some(said.request),
                _ => None,
            };
            match desk.say(body).await {
                Ok(_) => {}
                Err(DeskError::Refused(refusal)) => {
                    tracing::debug!(rule = refusal.rule, "a duty was turned down for now");
                    if let Some(request) = request {
                        later.insert(request, Instant::now() + AGAIN);
                    }
                }
                Err(DeskError::Failed(failure)) => {
                    tracing::warn!(%failure, "a duty could not be done");
                    break;
                }
            }
        }
        drop(desk);
        let rest = if waiting || !later.is_empty() {
            AGAIN
        } else {
            EVERY
        };
        let news = async {
            sleep(REST).await;
            tokio::select! {
                gone = changed.changed() => gone.is_err(),
                gone = published.changed() => gone.is_err(),
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            gone = timeout(rest, news) => if gone == Ok(true) { return },
        }
    }
}

/// What is to be said now, and whether something waits for what time alone brings.
fn due(desk: &Desk, published: u64, later: &HashMap<RequestId, Instant>) -> (Vec<Body>, bool) {
    let house = desk.house();
    let mut bodies = Vec::new();
    let mut waiting = false;
    for due in house.due(clock::now()) {
        match due {
            Due::Expire(order, ended) => {
                bodies.push(Body::OrderExpired(OrderExpired { order, ended }))
            }
            Due::Answer(clearance) => bodies.extend(answer(&house, desk, clearance)),
            Due::Execute(request) if later.contains_key(&request) => waiting = true,
            Due::Execute(request) => match covered(&house, &request, published) {
                // Asked here too, so that what cannot go ahead yet costs no turn at the desk.
                true if may(&house, desk, &request) => {
                    bodies.push(Body::RequestExecuted(RequestExecuted {
                        request,
                        checkpoint: published,
                    }));
                }
                _ => waiting = true,
            },
        }
    }
    (bodies, waiting)
}

/// The answer to whether something may be wiped, from what stands there now.
fn answer(house: &House, desk: &Desk, id: ClearanceId) -> Option<Body> {
    let asked = &house.clearances.get(&id)?.asked;
    let way = house.in_the_way(&desk.openings(), asked);
    Some(match way.is_empty() {
        true => Body::ClearanceGiven(ClearanceGiven {
            clearance: id,
            // Less than the law's day: some of it passes before this is recorded.
            expires: clock::now() + Span::hours(23),
        }),
        false => Body::ClearanceRefused(ClearanceRefused {
            clearance: id,
            holds: way.holds,
            orders: way.orders,
        }),
    })
}

/// Whether a published checkpoint covers every vote.
fn covered(house: &House, request: &RequestId, published: u64) -> bool {
    house
        .requests
        .get(request)
        .is_some_and(|request| request.votes.values().all(|vote| vote.entry < published))
}

fn may(house: &House, desk: &Desk, request: &RequestId) -> bool {
    match house.requests.get(request).map(|request| &request.act) {
        Some(Act::Release { claim, files, .. }) => {
            house.may_release(&desk.openings(), claim, files).is_ok()
        }
        other => other.is_some(),
    }
}

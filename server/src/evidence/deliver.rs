//! Delivery: every rule is asked again, and the record stands before the first byte goes. While
//! bytes go the rules are asked on.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use custody::{
    house::{refusal::Refusal, release::State},
    id::{PersonId, ReleaseId},
    statement::{Author, Body, ReleaseDelivered},
    time::{Span, Time},
};

use crate::{
    app::Coordinator,
    clock,
    desk::DeskError,
    rpc::status::{self, No, conflict},
};

/// How long a delivery may be resumed without being recorded as another one.
const RESUME: Span = Span::hours(24);

/// Who was handed what since the coordinator's start.
#[derive(Default)]
pub struct Deliveries(Mutex<HashMap<(ReleaseId, PersonId), Time>>);

impl Deliveries {
    fn may_resume(&self, release: ReleaseId, to: PersonId, now: Time) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, begun| now < *begun + RESUME);
        known.contains_key(&(release, to))
    }

    fn note(&self, release: ReleaseId, to: PersonId, now: Time) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((release, to), now);
    }
}

/// Whether a parcel may go out now: the release, and the approvals it rests on, still stand.
fn allowed(coordinator: &Coordinator, release: ReleaseId) -> Result<(), No> {
    let openings = coordinator.desk.openings();
    let house = coordinator.desk.house();
    let found = house.releases.get(&release);
    let found = found.ok_or_else(|| status::unknown(release))?;
    if !matches!(found.state, State::Spooled | State::Delivered) {
        return Err(conflict(
            "release.not-spooled",
            "The parcel is not here yet",
            "Wait until `holdfast release show` says spooled",
        ));
    }
    let request = house.requests.get(&found.request);
    let request = request.ok_or_else(|| status::unknown(found.request))?;
    house.may_release(&openings, &found.claim, &found.files)?;
    Ok(house.check_due(request, clock::now())?)
}

/// Asks again while a delivery is under way: what lands meanwhile stops it, on record.
pub(crate) fn still(
    coordinator: &Arc<Coordinator>,
    release: ReleaseId,
    to: PersonId,
) -> Result<(), No> {
    let decided = allowed(coordinator, release);
    if let Err(No::Refused(refusal)) = &decided {
        let (coordinator, refusal) = (Arc::clone(coordinator), refusal.clone());
        tokio::spawn(async move { refused(&coordinator, &refusal, to).await });
    }
    decided
}

async fn refused(coordinator: &Coordinator, refusal: &Refusal, to: PersonId) {
    let by = Some(Author::Person(to));
    let desk = &coordinator.desk;
    desk.say_refused(refusal, "release.deliver", by, None).await;
}

/// Decides whether a parcel may go to a person now, records it, and says where it lies.
pub async fn deliver(
    coordinator: &Coordinator,
    release: ReleaseId,
    to: PersonId,
    offset: u64,
) -> Result<PathBuf, No> {
    if let Err(no) = allowed(coordinator, release) {
        if let No::Refused(refusal) = &no {
            refused(coordinator, refusal, to).await;
        }
        return Err(no);
    }
    let now = clock::now();
    // From an offset nobody was brought to by a recorded delivery, it is a new one.
    if offset == 0 || !coordinator.deliveries.may_resume(release, to, now) {
        let body = Body::ReleaseDelivered(ReleaseDelivered { release, to });
        if let Err(error) = coordinator.desk.say(body).await {
            if let DeskError::Refused(refusal) = &error {
                refused(coordinator, refusal, to).await;
            }
            return Err(error.into());
        }
        coordinator.deliveries.note(release, to, now);
    }
    Ok(coordinator.data.parcel(&release))
}

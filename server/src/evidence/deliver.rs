//! Delivery: every rule is asked again, and the record stands before the first byte goes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use custody::{
    house::release::State,
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

/// Decides whether a parcel may go to a person now, records it, and says where it lies.
pub async fn deliver(
    coordinator: &Coordinator,
    release: ReleaseId,
    to: PersonId,
    offset: u64,
) -> Result<PathBuf, No> {
    let openings = coordinator.desk.openings();
    let decided = {
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
        // The approvals must still stand too: who gave them, and until when.
        let request = house.requests.get(&found.request);
        let request = request.ok_or_else(|| status::unknown(found.request))?;
        house
            .may_release(&openings, &found.claim, &found.files)
            .and_then(|_| house.check_due(request, clock::now()))
    };
    let by = Some(Author::Person(to));
    if let Err(refusal) = decided {
        coordinator
            .desk
            .say_refused(&refusal, "release.deliver", by, None)
            .await;
        return Err(refusal.into());
    }
    let now = clock::now();
    // From an offset nobody was brought to by a recorded delivery, it is a new one.
    if offset == 0 || !coordinator.deliveries.may_resume(release, to, now) {
        let body = Body::ReleaseDelivered(ReleaseDelivered { release, to });
        if let Err(error) = coordinator.desk.say(body).await {
            if let DeskError::Refused(refusal) = &error {
                coordinator
                    .desk
                    .say_refused(refusal, "release.deliver", by, None)
                    .await;
            }
            return Err(error.into());
        }
        coordinator.deliveries.note(release, to, now);
    }
    Ok(coordinator.data.parcel(&release))
}

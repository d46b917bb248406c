//! Matching: every open claim against every received manifest, under today's exclusion lists.
//!
//! What is to be matched is read off the house, so a crash loses nothing. One manifest is read
//! at a time, for up to [`MOST_CLAIMS`] claims at once; a match is recorded or the trouble is
//! shown, never a part of a match.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use custody::{
    digest::Digest,
    house::{
        House, Openings, claim::Matched, claim::Status, ranges::Ranges, snapshot::Snapshot,
        snapshot::State,
    },
    id::{ClaimId, SnapshotId},
    statement::{Body, Refused},
};
use tokio::task::spawn_blocking;

use super::scan::{self, Wish};
use crate::{app::Coordinator, desk::DeskError};

/// Claims matched in one pass over a manifest.
const MOST_CLAIMS: usize = 64;
/// How long changes are gathered before the state is looked at again.
const GATHER: Duration = Duration::from_millis(100);
/// When trouble that may pass is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// When trouble that lies in the manifest or the claim itself is tried again.
const MUCH_LATER: Duration = Duration::from_secs(3600);

struct Trouble {
    why: String,
    lists: u64,
    again: Instant,
}

/// What could not be matched, and why. Kept in memory: it is found again after a restart.
#[derive(Default)]
pub struct Matching {
    troubles: Mutex<BTreeMap<(ClaimId, SnapshotId), Trouble>>,
    /// Claims of which the ledger was told that nothing held matches them.
    nothing: Mutex<BTreeSet<ClaimId>>,
}

impl Matching {
    /// Why a claim is not matched against some snapshots.
    pub fn troubles(&self, claim: &ClaimId) -> Vec<(SnapshotId, String)> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let of = troubles.iter().filter(|((of, _), _)| of == claim);
        of.map(|((_, snapshot), trouble)| (*snapshot, trouble.why.clone()))
            .collect()
    }

    fn note(&self, pair: (ClaimId, SnapshotId), why: String, lists: u64, wait: Duration) {
        let trouble = Trouble {
            why,
            lists,
            again: Instant::now() + wait,
        };
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(pair, trouble);
    }

    fn clear(&self, pair: &(ClaimId, SnapshotId)) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.remove(pair);
    }

    fn waits(&self, pair: &(ClaimId, SnapshotId), lists: u64, now: Instant) -> bool {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = troubles.get(pair);
        trouble.is_some_and(|trouble| trouble.lists == lists && now < trouble.again)
    }
}

/// One manifest to read, and for which claims.
struct Job {
    snapshot: SnapshotId,
    target: Vec<u8>,
    wishes: Vec<Wish>,
    excluded: std::collections::HashSet<Digest>,
    lists: u64,
}

fn next(coordinator: &Coordinator) -> Option<Job> {
    let openings = coordinator.desk.openings();
    let house = coordinator.desk.house();
    let received = house
        .snapshots
        .values()
        .filter(|snapshot| snapshot.state == State::Received);
    received
        .into_iter()
        .find_map(|snapshot| job(coordinator, &house, &openings, snapshot))
}

fn job(
    coordinator: &Coordinator,
    house: &House,
    openings: &dyn Openings,
    snapshot: &Snapshot,
) -> Option<Job> {
    let (lists, now) = (house.lists_revision, Instant::now());
    let open = house.claims.values().filter(|claim| {
        let done = claim.rows(&snapshot.id).is_some_and(|m| m.lists == lists);
        claim.status == Status::Open
            && !done
            && !coordinator
                .matching
                .waits(&(claim.filed.claim, snapshot.id), lists, now)
    });
    let place = house.targets.get(&snapshot.target);
    let target = place.and_then(|target| openings.open(&target.wish.path));
    let mut wishes = Vec::new();
    for claim in open.take(MOST_CLAIMS) {
        let id = claim.filed.claim;
        let note = |why| {
            coordinator
                .matching
                .note((id, snapshot.id), why, lists, AGAIN);
        };
        if target.is_none() {
            note("where the snapshot was taken was erased".to_owned());
            continue;
        }
        let inventory = &coordinator.fleet.inventory;
        match Wish::of(openings, inventory, &snapshot.agent, id, &claim.filed.items) {
            Ok(wish) => wishes.push(wish),
            Err(why) => note(why),
        }
    }
    if wishes.is_empty() {
        return None;
    }
    Some(Job {
        snapshot: snapshot.id,
        target: target?,
        wishes,
        excluded: scan::excluded(house),
        lists,
    })
}

/// Runs until the coordinator stops.
pub async fn run(coordinator: Arc<Coordinator>) {
    let mut changed = coordinator.desk.changed();
    loop {
        changed.borrow_and_update();
        while let Some(job) = next(&coordinator) {
            if coordinator.stop.is_cancelled() {
                return;
            }
            work(&coordinator, job).await;
        }
        tokio::select! {
            () = coordinator.stop.cancelled() => return,
            more = changed.changed() => if more.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

async fn work(coordinator: &Coordinator, job: Job) {
    let (snapshot, lists) = (job.snapshot, job.lists);
    let claims: Vec<_> = job.wishes.iter().map(|wish| wish.claim).collect();
    let manifest = coordinator.data.manifest(&snapshot);
    let began = Instant::now();
    let scanned =
        spawn_blocking(move || scan::scan(&manifest, &job.target, &job.wishes, &job.excluded))
            .await;
    let hits = match scanned.map_err(|error| error.to_string()) {
        Ok(Ok(hits)) => hits,
        Ok(Err(error)) => {
            tracing::error!(%snapshot, %error, "a received manifest cannot be read");
            let why = "its manifest cannot be read; check the coordinator's disk";
            return trouble(coordinator, &claims, snapshot, why, lists, MUCH_LATER);
        }
        Err(error) => {
            tracing::error!(%snapshot, %error, "matching ended early");
            let why = "matching ended early; it is tried again";
            return trouble(coordinator, &claims, snapshot, why, lists, AGAIN);
        }
    };
    tracing::info!(
        %snapshot, claims = claims.len(), ms = began.elapsed().as_millis(), "matched"
    );
    for (claim, hits) in claims.into_iter().zip(hits) {
        if hits.too_many {
            let why = format!(
                "it matches more than {} separate runs of files here; file it anew by account or \
                 folder, or in parts",
                Ranges::MOST
            );
            trouble(coordinator, &[claim], snapshot, &why, lists, MUCH_LATER);
            continue;
        }
        let matched = Matched {
            claim,
            snapshot,
            rows: hits.rows,
            bytes: hits.bytes,
            excluded: hits.excluded,
            lists,
        };
        match coordinator.desk.say(Body::ClaimMatched(matched)).await {
            Ok(_) => {
                coordinator.matching.clear(&(claim, snapshot));
                note_nothing(coordinator, claim).await;
            }
            // The claim or the lists changed meanwhile: the next look sees that.
            Err(DeskError::Refused(refusal)) => {
                tracing::debug!(%claim, rule = refusal.rule, "a match is out of date");
            }
            Err(DeskError::Failed(failure)) => {
                let why = failure.to_string();
                trouble(coordinator, &[claim], snapshot, &why, lists, AGAIN);
            }
        }
    }
}

/// Records once, for everyone to see, that a claim is for what is not held: it was matched
/// against every received manifest and is in none.
async fn note_nothing(coordinator: &Coordinator, id: ClaimId) {
    let entry = {
        let house = coordinator.desk.house();
        let mut received = house
            .snapshots
            .values()
            .filter(|snapshot| snapshot.state == State::Received);
        let claim = house.claims.get(&id).filter(|claim| {
            received.all(|snapshot| {
                let matched = claim.rows(&snapshot.id);
                matched.is_some_and(|m| m.rows.is_empty() && m.excluded == 0)
            })
        });
        claim.map(|claim| claim.entry)
    };
    let Some(entry) = entry else { return };
    let first = {
        let nothing = &coordinator.matching.nothing;
        let mut nothing = nothing.lock().unwrap_or_else(PoisonError::into_inner);
        nothing.insert(id)
    };
    if !first {
        return;
    }
    let filed = coordinator.desk.entry(entry).await.ok();
    // Not as other refusals are: it is no attempt, and no flood of those may keep it out.
    let body = Body::Refused(Refused {
        rule: "claim.nothing-held".to_owned(),
        what: "claim.file".to_owned(),
        by: None,
        statement: filed.map(|filed| Digest::of(&filed.bytes)),
    });
    if let Err(error) = coordinator.desk.say(body).await {
        tracing::warn!(%error, "that nothing held matches a claim could not be recorded");
    }
}

fn trouble(
    coordinator: &Coordinator,
    claims: &[ClaimId],
    snapshot: SnapshotId,
    why: &str,
    lists: u64,
    wait: Duration,
) {
    for claim in claims {
        coordinator
            .matching
            .note((*claim, snapshot), why.to_owned(), lists, wait);
    }
}

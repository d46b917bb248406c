//! Receipts: everything an outsider needs to check a release offline, for ever, in one file.

use std::collections::{BTreeSet, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    commit::Commitment,
    house::{House, release::Release},
    id::{AgentId, ClaimId, ReleaseId, SnapshotId},
    ledger::entry::Entry,
    statement::Body,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    app::Coordinator,
    desk::Desk,
    rpc::status::{self, No, conflict},
};

/// Entries read at a time.
const PAGE: u64 = 500;

/// Where the log says what the house keeps no index of. Followed on demand, from where it
/// stopped: the first receipt after a start reads the whole log once.
#[derive(Default)]
pub struct Landmarks(Mutex<Marks>);

#[derive(Default)]
struct Marks {
    next: u64,
    enrolled: HashMap<AgentId, Vec<u64>>,
    received: HashMap<SnapshotId, u64>,
    matched: HashMap<(ClaimId, SnapshotId), Vec<u64>>,
    spooled: HashMap<ReleaseId, u64>,
    delivered: HashMap<ReleaseId, Vec<u64>>,
}

const KINDS: [&str; 5] = [
    "agent.enrolled",
    "snapshot.received",
    "claim.matched",
    "release.spooled",
    "release.delivered",
];

impl Marks {
    async fn follow(&mut self, desk: &Desk) -> Result<(), No> {
        loop {
            let page = desk.entries(self.next, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            let next = last.index + 1;
            for entry in &page {
                self.note(entry.index, &entry.bytes);
            }
            self.next = next;
        }
    }

    fn note(&mut self, index: u64, bytes: &[u8]) {
        // Most entries are of other kinds: they are not parsed.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if !KINDS.iter().any(|kind| text.contains(kind)) {
            return;
        }
        let Ok(statement) = Entry::parse(bytes).and_then(|entry| entry.statement()) else {
            return;
        };
        match statement.body {
            Body::AgentEnrolled(b) => self.enrolled.entry(b.agent).or_default().push(index),
            Body::SnapshotReceived(b) => drop(self.received.insert(b.snapshot, index)),
            Body::ClaimMatched(b) => {
                let at = (b.claim, b.snapshot);
                self.matched.entry(at).or_default().push(index);
            }
            Body::ReleaseSpooled(b) => drop(self.spooled.insert(b.release, index)),
            Body::ReleaseDelivered(b) => self.delivered.entry(b.release).or_default().push(index),
            _ => {}
        }
    }
}

fn last_before(marks: Option<&Vec<u64>>, end: u64) -> Option<u64> {
    marks?.iter().copied().filter(|index| *index < end).max()
}

/// The entries that a release rests on, in the order of the log.
fn entries(house: &House, marks: &Marks, release: &Release, packed: u64) -> BTreeSet<u64> {
    let mut all = BTreeSet::from([0, release.entry, packed]);
    if let Some(claim) = house.claims.get(&release.claim) {
        all.insert(claim.entry);
    }
    if let Some(request) = house.requests.get(&release.request) {
        all.insert(request.entry);
        all.extend(request.votes.values().map(|vote| vote.entry));
        let people = request.votes.keys().chain([&request.by]);
        all.extend(
            people
                .filter_map(|id| house.persons.get(id))
                .map(|p| p.entry),
        );
    }
    all.extend(last_before(marks.enrolled.get(&release.agent), packed));
    for rows in &release.files {
        let snapshot = house.snapshots.get(&rows.snapshot);
        all.extend(snapshot.and_then(|snapshot| snapshot.sealed_entry));
        all.extend(marks.received.get(&rows.snapshot));
        let matched = marks.matched.get(&(release.claim, rows.snapshot));
        all.extend(last_before(matched, release.entry));
    }
    all.extend(marks.spooled.get(&release.id));
    all.extend(marks.delivered.get(&release.id).into_iter().flatten());
    all
}

fn parts(
    house: &House,
    marks: &Marks,
    id: &ReleaseId,
) -> Result<(BTreeSet<u64>, Option<Commitment>), No> {
    let release = house.releases.get(id).ok_or_else(|| status::unknown(id))?;
    let packed = release.packed_entry.ok_or_else(|| {
        conflict(
            "release.not-packed",
            "The release is not packed, so there is nothing to receipt",
            "Wait until `holdfast release show` says packed",
        )
    })?;
    let recipient = house.claims.get(&release.claim).map(|c| c.filed.recipient);
    Ok((entries(house, marks, release, packed), recipient))
}

/// Builds a release's receipt against the newest checkpoint.
pub async fn receipt(coordinator: &Coordinator, id: &ReleaseId) -> Result<String, No> {
    let desk = &coordinator.desk;
    let (indices, recipient) = {
        let mut marks = coordinator.landmarks.0.lock().await;
        marks.follow(desk).await?;
        let house = desk.house();
        parts(&house, &marks, id)?
    };
    // One checkpoint for all: the log may grow while they are read.
    let indices: Vec<_> = indices.into_iter().collect();
    let proofs = desk.prove_all(&indices).await?;
    let checkpoint = proofs.last().map(|proof| proof.checkpoint.clone());
    let mut entries = Vec::new();
    for proof in proofs {
        let index = proof.index;
        let entry = desk.entry(index).await?;
        let text = String::from_utf8(entry.bytes)
            .map_err(|_| No::Breach(format!("Entry {index} is not UTF-8. Check the journal")))?;
        entries.push(json!({ "index": index, "entry": text, "proof": proof.to_string() }));
    }
    let mut openings: Vec<Value> = Vec::new();
    if let Some(commitment) = recipient
        && let Some(opening) = desk.opening(&commitment).await
    {
        openings.push(json!({
            "commitment": commitment.to_string(),
            "field": opening.field,
            "r": hex::encode(opening.r),
            "value": STANDARD.encode(&opening.value),
        }));
    }
    let receipt = json!({
        "format": "holdfast-receipt/1",
        "release": id.to_string(),
        "origin": desk.origin(),
        "vkey": desk.vkey().to_string(),
        "checkpoint": checkpoint,
        "entries": entries,
        "openings": openings,
    });
    serde_json::to_string_pretty(&receipt)
        .map_err(|error| No::Failed(format!("The receipt could not be written: {error}")))
}

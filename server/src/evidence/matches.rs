//! Lists the files that a claim matches, read from the manifests. Blocks: for worker threads.

use std::fs::File;

use custody::{
    house::{House, Openings, claim::Status, ranges::Ranges},
    id::{ClaimId, SnapshotId},
    manifest::file::Reader,
};
use proto::v1::MatchedFile;
use tokio::sync::mpsc::Sender;

use super::scan::full_path;
use crate::{
    app::Coordinator,
    rpc::status::{self, No, conflict},
};

/// The rows of one snapshot that a claim matches.
pub struct Part {
    snapshot: SnapshotId,
    target: Vec<u8>,
    rows: Ranges,
    others: Vec<Ranges>,
}

/// What a claim matches, snapshot by snapshot.
pub fn parts(house: &House, openings: &dyn Openings, claim: &ClaimId) -> Result<Vec<Part>, No> {
    let ours = house
        .claims
        .get(claim)
        .ok_or_else(|| status::unknown(claim))?;
    let part = |(snapshot, matched): (&SnapshotId, &custody::house::claim::Matched)| {
        let others = house
            .claims
            .values()
            .filter(|other| other.status == Status::Open && other.filed.claim != *claim);
        let target = house.snapshots.get(snapshot).map(|s| s.target);
        let target = target.and_then(|target| house.targets.get(&target));
        Part {
            snapshot: *snapshot,
            target: target
                .and_then(|target| openings.open(&target.wish.path))
                .unwrap_or_default(),
            rows: matched.rows.clone(),
            others: others
                .filter_map(|other| other.rows(snapshot))
                .map(|matched| matched.rows.intersection(&ours.matches[snapshot].rows))
                .filter(|both| !both.is_empty())
                .collect(),
        }
    };
    Ok(ours.matches.iter().map(part).collect())
}

/// Sends every file, then says what could not be matched. Ends early when nobody reads.
pub fn list(
    coordinator: &Coordinator,
    claim: &ClaimId,
    parts: Vec<Part>,
    sink: &Sender<Result<MatchedFile, No>>,
) {
    for part in parts.into_iter().filter(|part| !part.rows.is_empty()) {
        match send(coordinator, &part, sink) {
            Ok(true) => {}
            Ok(false) => return,
            Err(no) => return drop(sink.blocking_send(Err(no))),
        }
    }
    if let Some((snapshot, why)) = coordinator.matching.troubles(claim).into_iter().next() {
        let no = conflict(
            "claim.not-matched",
            format!("The claim is not matched against {snapshot}: {why}"),
            "What is listed is not everything",
        );
        drop(sink.blocking_send(Err(no)));
    }
}

fn send(
    coordinator: &Coordinator,
    part: &Part,
    sink: &Sender<Result<MatchedFile, No>>,
) -> Result<bool, No> {
    let damaged = || {
        No::Breach(format!(
            "The manifest of {} cannot be read. Check the coordinator's disk",
            part.snapshot
        ))
    };
    let file = File::open(coordinator.data.manifest(&part.snapshot)).map_err(|_| damaged())?;
    for stored in Reader::open(file).map_err(|_| damaged())? {
        let stored = stored.map_err(|_| damaged())?;
        if stored.index >= part.rows.end() {
            break;
        }
        let Some(row) = stored.row.filter(|_| part.rows.contains(stored.index)) else {
            continue;
        };
        let hash = row.sha256.map(|hash| hash.as_bytes().to_vec());
        let matched = MatchedFile {
            snapshot: part.snapshot.to_string(),
            index: stored.index,
            path: full_path(&part.target, &row.path).into(),
            size: row.size,
            sha256: hash.unwrap_or_default().into(),
            contested: part.others.iter().any(|rows| rows.contains(stored.index)),
        };
        if sink.blocking_send(Ok(matched)).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

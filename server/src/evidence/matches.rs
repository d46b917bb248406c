//! Lists the files that a claim matches, read from the manifests.

use std::{fs::File, path::Path};

use custody::{
    house::{House, Openings, claim::Status, ranges::Ranges},
    id::{ClaimId, SnapshotId},
    manifest::{file::Reader, row::Row},
};
use proto::v1::MatchedFile;
use tokio::task::spawn_blocking;

use super::scan::full_path;
use crate::{
    app::Coordinator,
    rpc::{
        status::{self, No, conflict},
        stream::Sink,
    },
};

/// Files read ahead of the reader.
const AT_ONCE: usize = 256;

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
pub(crate) async fn list(
    coordinator: &Coordinator,
    claim: &ClaimId,
    parts: Vec<Part>,
    sink: &Sink<MatchedFile>,
) {
    for part in parts.into_iter().filter(|part| !part.rows.is_empty()) {
        match send(coordinator, part, sink).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(no) => {
                let _ = sink.send(Err(no)).await;
                return;
            }
        }
    }
    if let Some((snapshot, why)) = coordinator.matching.troubles(claim).into_iter().next() {
        let no = conflict(
            "claim.not-matched",
            format!("The claim is not matched against {snapshot}: {why}"),
            "What is listed is not everything",
        );
        let _ = sink.send(Err(no)).await;
    }
}

/// Sends the files of one part. No thread waits for a slow reader.
async fn send(coordinator: &Coordinator, part: Part, sink: &Sink<MatchedFile>) -> Result<bool, No> {
    let snapshot = part.snapshot;
    let damaged = || {
        No::Breach(format!(
            "The manifest of {snapshot} cannot be read. Check the coordinator's disk"
        ))
    };
    let path = coordinator.data.manifest(&snapshot);
    let mut reading = Reading { part, reader: None };
    loop {
        let path = path.clone();
        let read = spawn_blocking(move || {
            let files = reading.some(&path)?;
            Some((reading, files))
        });
        let (back, files) = read.await.ok().flatten().ok_or_else(damaged)?;
        if files.is_empty() {
            return Ok(true);
        }
        reading = back;
        for file in files {
            if sink.send(Ok(file)).await.is_err() {
                return Ok(false);
            }
        }
    }
}

/// A manifest that is being read for a part.
struct Reading {
    part: Part,
    reader: Option<Reader>,
}

impl Reading {
    /// The next files, none at the end; `None` when the manifest cannot be read.
    fn some(&mut self, path: &Path) -> Option<Vec<MatchedFile>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::open(File::open(path).ok()?).ok()?),
        };
        let (part, mut files) = (&self.part, Vec::new());
        for stored in reader {
            let stored = stored.ok()?;
            if stored.index >= part.rows.end() {
                break;
            }
            let Some(row) = stored.row.filter(|_| part.rows.contains(stored.index)) else {
                continue;
            };
            files.push(part.file(stored.index, &row));
            if files.len() == AT_ONCE {
                break;
            }
        }
        Some(files)
    }
}

impl Part {
    fn file(&self, index: u64, row: &Row) -> MatchedFile {
        let hash = row.sha256.map(|hash| hash.as_bytes().to_vec());
        MatchedFile {
            snapshot: self.snapshot.to_string(),
            index,
            path: full_path(&self.target, &row.path).into(),
            size: row.size,
            sha256: hash.unwrap_or_default().into(),
            contested: self.others.iter().any(|rows| rows.contains(index)),
        }
    }
}

//! Tasks as they go over the wire.

use custody::{
    commit::Commitment,
    house::{House, Openings, tasks::Task},
};
use proto::v1::{
    Capture, Lower, Narrow, Pack, PackRows, Raise, RowRange, SendManifest, SendParcel,
    Task as WireTask, task::Task as Kind,
};
use tonic::codegen::Bytes;

use super::ask::wire_holding;

/// Those places that can still be opened.
fn opened(openings: &dyn Openings, places: &[Commitment]) -> Vec<Bytes> {
    let open = |place| Some(openings.open(place)?.into());
    places.iter().filter_map(open).collect()
}

/// Writes a task out. `None` when what it needs was erased since: then nobody can do it.
pub(super) fn task(house: &House, openings: &dyn Openings, task: &Task) -> Option<WireTask> {
    let open = |commitment: &Commitment| openings.open(commitment);
    let (kind, position) = match task {
        Task::Raise(id) => {
            let target = house.targets.get(id)?;
            let hold = house.holds.get(&target.hold);
            let at_least = hold.and_then(|hold| hold.at_least);
            let raise = Raise {
                target: id.to_string(),
                path: open(&target.wish.path)?.into(),
                holding: wire_holding(target.holding).into(),
                at_least: at_least.map(|least| least.to_string()).unwrap_or_default(),
                left: opened(openings, &target.left),
            };
            (Kind::Raise(raise), target.changed)
        }
        Task::Lower(id) => {
            let target = id.to_string();
            let position = house.targets.get(id)?.changed;
            (Kind::Lower(Lower { target }), position)
        }
        Task::Narrow(id) => {
            let target = house.targets.get(id)?;
            let places = target.left.iter().chain(&target.leaving);
            let narrow = Narrow {
                target: id.to_string(),
                // All that ever left, in the order of the law: the agent says how many are free.
                leave: places
                    .map(|place| Some(open(place)?.into()))
                    .collect::<Option<_>>()?,
            };
            (Kind::Narrow(narrow), target.changed)
        }
        Task::Capture(id) => {
            let snapshot = house.snapshots.get(id)?;
            let capture = Capture {
                snapshot: id.to_string(),
                target: snapshot.target.to_string(),
            };
            (Kind::Capture(capture), snapshot.entry)
        }
        Task::SendManifest(id) => {
            let position = house.snapshots.get(id)?.sealed_entry?;
            let snapshot = id.to_string();
            (Kind::SendManifest(SendManifest { snapshot }), position)
        }
        Task::Pack(id) => {
            let release = house.releases.get(id)?;
            let claim = house.claims.get(&release.claim)?;
            let rows = release.files.iter().map(|rows| {
                let target = house.snapshots.get(&rows.snapshot)?.target;
                let range = |&(first, end): &(u64, u64)| RowRange { first, end };
                Some(PackRows {
                    snapshot: rows.snapshot.to_string(),
                    target: target.to_string(),
                    ranges: rows.rows.as_slice().iter().map(range).collect(),
                })
            });
            let pack = Pack {
                release: id.to_string(),
                recipient: String::from_utf8(open(&claim.filed.recipient)?).ok()?,
                rows: rows.collect::<Option<_>>()?,
            };
            (Kind::Pack(pack), release.entry)
        }
        Task::SendParcel(id) => {
            let position = house.releases.get(id)?.packed_entry?;
            let release = id.to_string();
            (Kind::SendParcel(SendParcel { release }), position)
        }
    };
    Some(WireTask {
        task: Some(kind),
        position,
    })
}

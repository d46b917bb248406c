//! Proving and checking a snapshot: what it costs grows with the snapshots, not with the files.

use std::os::fd::{AsFd as _, OwnedFd};

use custody::{house::finding::FindingKind, manifest::row::Kind};
use rustix::io::Errno;

use super::{
    Part, TREE, ioctl, open, place,
    subvolumes::{self, FOLDER},
};
use crate::{
    capture::{place::open_below, walk::Walk},
    enforce::{
        attempt::{self, Tally},
        flag,
        found::{Found, Sightings},
        job::Job,
        record::{Proof, Record},
        trouble::{HoldTrouble, while_doing},
    },
};

/// On how many things attempts are made, over all snapshots of a target.
const TRIED: usize = 64;

fn parts(record: &Record) -> &[Part] {
    record.frozen.as_ref().map_or(&[], |frozen| &frozen.parts)
}

/// Opens one of the snapshots, if it is the one that was made.
fn part(folder: &OwnedFd, part: &Part) -> Result<Option<(OwnedFd, ioctl::Info)>, Errno> {
    let path = match part.place.as_slice() {
        b"" => TREE.as_bytes().to_vec(),
        place => [TREE.as_bytes(), place].join(&b'/'),
    };
    let fd = match open_below(folder.as_fd(), &path, FOLDER) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened?,
    };
    if !subvolumes::is_top(&fd)? {
        return Ok(None);
    }
    let info = ioctl::info(&fd)?;
    Ok((info.uuid == part.uuid).then_some((fd, info)))
}

/// Tries to change what is in each snapshot, and the snapshot's own name, with all our rights.
pub(super) fn prove(job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble> {
    let looking = while_doing("the snapshot cannot be looked at");
    let vault = job.site.vault()?.ok_or(HoldTrouble::NotFound)?;
    let folder = open(&vault, &record.target.to_string()).map_err(&looking)?;
    let tally = Tally::default();
    let each = TRIED.div_ceil(parts(record).len().max(1));
    for one in parts(record) {
        let Some((fd, info)) = part(&folder, one).map_err(&looking)? else {
            tally.count(false);
            continue;
        };
        tally.count(info.read_only);
        // What can be changed is not tried: what was changed by us could not be told apart.
        if info.read_only {
            let walk = Walk::open(fd.as_fd(), std::path::Path::new("")).map_err(&looking)?;
            for step in walk.take(each) {
                job.progress.step()?;
                attempt::on(&step, &tally);
            }
        }
    }
    if record.sealed {
        for (parent, name) in [
            (&folder, TREE),
            (&vault, record.target.to_string().as_str()),
        ] {
            tally.count(flag::is_set(parent).unwrap_or(false));
            let place = place(parent, name.as_bytes()).map_err(&looking)?;
            attempt::to_rename(&place, &tally);
            attempt::to_unlink(&place, Kind::Folder, &tally);
        }
    }
    let (attempts, refused) = tally.totals();
    Ok(Proof {
        attempts,
        refused,
        writers: 0,
    })
}

/// Looks whether each snapshot is there, is the one that was made, is read-only and unchanged.
pub(super) fn check(job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
    let looking = while_doing("the snapshot cannot be looked at");
    let base = job.site.vault_path.join(record.target.to_string());
    let all_gone = |place: &std::path::Path| {
        let count = parts(record).len().max(1) as u64;
        let gone = Found::at(FindingKind::SnapshotGone, place);
        vec![Found { count, ..gone }]
    };
    let Some(vault) = job.site.vault()? else {
        return Ok(all_gone(&job.site.vault_path));
    };
    let folder = match open(&vault, &record.target.to_string()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(all_gone(&base)),
        opened => opened.map_err(&looking)?,
    };
    let [open_to_change, changed, gone]: [Sightings; 3] = Default::default();
    let tree = base.join(TREE);
    for one in parts(record) {
        job.progress.step()?;
        match part(&folder, one).map_err(&looking)? {
            None => gone.note(&tree, &one.place),
            Some((_, info)) => {
                if !info.read_only {
                    open_to_change.note(&tree, &one.place);
                }
                if info.changed != one.changed {
                    changed.note(&tree, &one.place);
                }
            }
        }
    }
    if record.sealed {
        for (fd, path) in [(&folder, &base), (&vault, &job.site.vault_path)] {
            if !flag::is_set(fd).unwrap_or(false) {
                open_to_change.note(path, b".");
            }
        }
    }
    let all = [
        open_to_change.found(FindingKind::ProtectionGone),
        changed.found(FindingKind::HeldChanged),
        gone.found(FindingKind::SnapshotGone),
    ];
    Ok(all.into_iter().flatten().collect())
}

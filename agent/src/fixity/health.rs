//! The media health of this server: its disks, what the kernel counted on them, what is lost of
//! what is held there, and how far reading again is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proto::v1::{Disk, Health, Reading};

use super::{
    Brief, Fixity, locked,
    media::{self, Counters, Medium, Tallies},
};
use crate::disks;

/// A disk with what lies above it.
struct Seen {
    medium: Medium,
    counters: Counters,
}

/// The disks below these places.
fn look(sys: &Path, places: &[PathBuf]) -> Vec<Seen> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for place in places {
        let below = disks::below(place).unwrap_or_default();
        let above = media::counted_above(sys, &below);
        for name in media::disks(sys, &below) {
            let mut counters = media::counted(sys, &name, &below);
            // A file system over several disks does not say which of them it was.
            counters.extend(above.clone());
            let one = seen.entry(name.clone()).or_insert_with(|| Seen {
                medium: media::look(sys, &name),
                counters: Counters::new(),
            });
            one.counters.extend(counters);
        }
    }
    seen.into_values().collect()
}

/// What is told of a disk, from what is held on it.
fn disk(medium: Medium, errors: u64, briefs: &[Brief]) -> Disk {
    let on_it = || {
        briefs
            .iter()
            .filter(|brief| brief.disks.contains(&medium.name))
    };
    let checked = on_it().map(|brief| brief.last.as_ref().and_then(|last| last.ended));
    // All of it was read again only when the last of it was.
    let checked = checked.min().flatten().map_or(0, |time| time.millis());
    Disk {
        unreadable: on_it().map(|brief| brief.unreadable).sum(),
        differ: on_it().map(|brief| brief.differ).sum(),
        checked_unix_ms: checked,
        read_errors: errors,
        name: medium.name,
        model: medium.model,
        serial: medium.serial,
        bytes: medium.bytes,
        rotational: medium.rotational,
    }
}

fn reading(brief: &Brief) -> Reading {
    Reading {
        target: brief.target.to_string(),
        round: brief.round.number,
        rows: brief.round.next,
        total_rows: brief.rows,
        differ: brief.differ,
        unreadable: brief.unreadable,
        due_unix_ms: brief.due.millis(),
    }
}

impl Fixity {
    /// Looks at the disks below the roots and the second copies. Blocks.
    pub fn look_at_media(&self, roots: &[PathBuf]) {
        self.look_in(Path::new(media::SYS), roots);
    }

    fn look_in(&self, sys: &Path, roots: &[PathBuf]) {
        let copies = self.places.iter().map(|place| place.path.clone());
        let places: Vec<_> = roots.iter().cloned().chain(copies).collect();
        let kept = self.shelf.file("disks.json");
        let before = Tallies::load(&kept);
        let (mut tallies, briefs) = (before.clone(), self.briefs());
        let (mut all, mut failing) = (Vec::new(), BTreeSet::new());
        for seen in look(sys, &places) {
            let tally = tallies.of(&seen.medium);
            tally.count(&seen.counters);
            if tally.errors > 0 {
                failing.insert(seen.medium.name.clone());
            }
            all.push(disk(seen.medium, tally.errors, &briefs));
        }
        if tallies != before
            && let Err(error) = tallies.store(&kept)
        {
            tracing::warn!("what was counted of the disks cannot be kept: {error}");
        }
        *locked(&self.failing) = failing;
        let now = Health {
            disks: all,
            readings: briefs.iter().map(reading).collect(),
        };
        self.health.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::{
        id::{SnapshotId, TargetId},
        time::Time,
    };

    use super::*;
    use crate::fixity::state::Round;

    fn brief(n: u8, ended: Option<i64>, disk: &str) -> Brief {
        Brief {
            snapshot: SnapshotId::from_random([n; 16]),
            target: TargetId::from_random([n; 16]),
            round: Round::default(),
            last: ended.map(|ended| Round {
                ended: Some(Time::from_millis(ended)),
                ..Round::default()
            }),
            rows: 10,
            due: Time::from_millis(1),
            differ: 1,
            unreadable: 2,
            disks: [disk.to_owned()].into(),
            copy: None,
        }
    }

    #[test]
    fn a_disk_counts_as_checked_only_when_all_that_is_held_on_it_was() {
        let of = |briefs: &[Brief]| {
            let medium = Medium {
                name: "sda".to_owned(),
                ..Medium::default()
            };
            let disk = disk(medium, 7, briefs);
            (
                disk.checked_unix_ms,
                disk.differ,
                disk.unreadable,
                disk.read_errors,
            )
        };
        let (old, new, none) = (
            brief(1, Some(100), "sda"),
            brief(2, Some(200), "sda"),
            brief(3, None, "sda"),
        );
        assert_eq!(of(&[old.clone(), new.clone()]), (100, 2, 4, 7));
        assert_eq!(of(&[old.clone(), new, none]), (0, 3, 6, 7));
        assert_eq!(of(&[old, brief(4, None, "sdb")]), (100, 1, 2, 7));
        assert_eq!(of(&[]), (0, 0, 0, 7));
    }
}

//! Media: what the kernel says of the disks below a place, and what it has counted on them.
//!
//! Sysfs is read and nothing else: no disk is opened, and none is asked by a command of its own.
//! Counters of the kernel begin again when the machine starts; what is told is what they rose by
//! since the agent first looked, kept in its data folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::durable;

/// Where the kernel speaks of its devices.
pub const SYS: &str = "/sys";

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    /// As the kernel names it.
    pub name: String,
    /// Its maker's name for it.
    pub model: String,
    /// Its number.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it turns.
    pub rotational: bool,
}

/// Counters, by where they stand.
pub type Counters = BTreeMap<String, u64>;

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// A number as sysfs writes it: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Those of the devices below a file system that are disks themselves: no part of one, and made
/// of no others.
pub fn disks(sys: &Path, below: &BTreeSet<String>) -> BTreeSet<String> {
    let is_disk = |name: &&String| {
        let device = sys.join("class/block").join(name);
        let made_of = fs::read_dir(device.join("slaves"));
        let made_of = made_of.is_ok_and(|mut all| all.next().is_some());
        device.exists()
            && !made_of
            && !device.join("partition").exists()
            && !device.join("loop/backing_file").exists()
    };
    below.iter().filter(is_disk).cloned().collect()
}

/// What a disk is.
pub fn look(sys: &Path, name: &str) -> Medium {
    let device = sys.join("class/block").join(name);
    let first = |places: &[&str]| places.iter().find_map(|place| text(&device.join(place)));
    let sectors = first(&["size"]).and_then(|text| number(&text)).unwrap_or(0);
    Medium {
        name: name.to_owned(),
        model: first(&["device/model", "device/name"]).unwrap_or_default(),
        serial: first(&["device/serial", "serial", "device/wwid", "wwid"]).unwrap_or_default(),
        // Sysfs counts in 512 bytes, whatever the disk's own sectors are.
        bytes: sectors.saturating_mul(512),
        rotational: first(&["queue/rotational"]).as_deref() == Some("1"),
    }
}

/// Whether a device is a disk, or a part of it: `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`.
fn is_part_of(device: &str, disk: &str) -> bool {
    let number = |rest: &str| rest.chars().all(|c| c.is_ascii_digit());
    let rest = device.strip_prefix(disk);
    rest.is_some_and(|rest| number(rest.strip_prefix('p').unwrap_or(rest)))
}

/// What was counted of one disk itself: requests that it failed, and errors that its array met.
pub fn counted(sys: &Path, name: &str, below: &BTreeSet<String>) -> Counters {
    let mut counters = Counters::new();
    let mut note = |place: String| {
        if let Some(value) = text(&sys.join(&place)).and_then(|text| number(&text)) {
            counters.insert(place, value);
        }
    };
    note(format!("class/block/{name}/device/ioerr_cnt"));
    for array in below {
        for part in below {
            if is_part_of(part, name) {
                note(format!("class/block/{array}/md/dev-{part}/errors"));
            }
        }
    }
    counters
}

/// What the file systems on these devices have counted.
pub fn counted_above(sys: &Path, below: &BTreeSet<String>) -> Counters {
    let mut counters = Counters::new();
    for name in below {
        let place = format!("fs/ext4/{name}/errors_count");
        if let Some(value) = text(&sys.join(&place)).and_then(|text| number(&text)) {
            counters.insert(place, value);
        }
    }
    for system in fs::read_dir(sys.join("fs/btrfs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let has = |name: &String| system.path().join("devices").join(name).exists();
        if !below.iter().any(has) {
            continue;
        }
        for device in fs::read_dir(system.path().join("devinfo"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let stats = fs::read_to_string(device.path().join("error_stats")).unwrap_or_default();
            for line in stats.lines() {
                let Some((word, value)) = line.split_once(' ') else {
                    continue;
                };
                let value = value.trim().parse().ok();
                if let (true, Some(value)) =
                    (matches!(word, "read_errs" | "corruption_errs"), value)
                {
                    let place = format!(
                        "{}/{}/{word}",
                        system.file_name().to_string_lossy(),
                        device.file_name().to_string_lossy()
                    );
                    counters.insert(place, value);
                }
            }
        }
    }
    counters
}

/// What was counted of a disk since the agent first looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// What the counters said the last time.
    seen: Counters,
    /// What they rose by.
    pub errors: u64,
}

impl Tally {
    /// Takes a look at the counters. One that fell was set back, by a start of the machine.
    pub fn count(&mut self, now: &Counters) {
        for (place, value) in now {
            let before = self.seen.insert(place.clone(), *value);
            let rose = before.map_or(0, |before| match value.checked_sub(before) {
                Some(rose) => rose,
                None => *value,
            });
            self.errors = self.errors.saturating_add(rose);
        }
    }
}

/// The tallies of all disks, by number where a disk has one: names change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies(BTreeMap<String, Tally>);

impl Tallies {
    /// Reads what was kept; what cannot be read begins anew.
    pub fn load(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps them.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        durable::write(path, 0o600, &serde_json::to_vec(self)?)
    }

    /// That of a disk.
    pub fn of(&mut self, medium: &Medium) -> &mut Tally {
        let key = match medium.serial.as_str() {
            "" => medium.name.clone(),
            serial => format!("{} {serial}", medium.model),
        };
        self.0.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn disks_are_told_from_what_is_made_of_them_with_what_was_counted() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        let write = |place: &str, content: &str| {
            let path = sys.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for disk in ["sda", "sdb"] {
            write(&format!("class/block/{disk}/size"), "2048\n");
            write(&format!("class/block/{disk}/queue/rotational"), "1\n");
            write(
                &format!("class/block/{disk}/device/model"),
                "TURNER 3000     \n",
            );
            write(&format!("class/block/{disk}/device/ioerr_cnt"), "0x1f\n");
        }
        write("class/block/sda/device/serial", "S1\n");
        write("class/block/sda1/partition", "1\n");
        write("class/block/md0/slaves/sda1", "");
        write("class/block/md0/md/dev-sda1/errors", "4\n");
        write("fs/ext4/md0/errors_count", "2\n");
        write("fs/btrfs/u-1/devices/sdb", "");
        write(
            "fs/btrfs/u-1/devinfo/1/error_stats",
            "write_errs 9\nread_errs 3\ncorruption_errs 5\n",
        );
        let below = names(&["md0", "sda1", "sda"]);
        assert_eq!(disks(sys, &below), names(&["sda"]));
        let medium = look(sys, "sda");
        assert_eq!(
            (medium.model.as_str(), medium.serial.as_str()),
            ("TURNER 3000", "S1")
        );
        assert_eq!((medium.bytes, medium.rotational), (1 << 20, true));
        let values = |counters: Counters| counters.into_values().collect::<Vec<_>>();
        assert_eq!(values(counted(sys, "sda", &below)), [4, 31]);
        assert_eq!(values(counted_above(sys, &below)), [2]);
        assert_eq!(values(counted_above(sys, &names(&["sdb"]))), [5, 3]);
    }

    #[test]
    fn a_part_is_known_by_its_number() {
        for (device, disk, is) in [
            ("sda", "sda", true),
            ("sda1", "sda", true),
            ("sdaa1", "sda", false),
            ("nvme0n1p2", "nvme0n1", true),
            ("nvme0n12", "nvme1n1", false),
        ] {
            assert_eq!(is_part_of(device, disk), is, "{device} of {disk}");
        }
    }

    #[test]
    fn counters_are_told_from_the_first_look_on_and_through_restarts() {
        let at = |value: u64| Counters::from([("sda".to_owned(), value)]);
        let mut tally = Tally::default();
        tally.count(&at(31));
        assert_eq!(tally.errors, 0, "what was before nobody knows the time of");
        tally.count(&at(33));
        tally.count(&at(33));
        assert_eq!(tally.errors, 2);
        tally.count(&at(1));
        assert_eq!(tally.errors, 3, "the machine was started");
    }
}

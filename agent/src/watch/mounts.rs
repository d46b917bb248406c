//! Mounts: which mount a path leads into, and whether that is still the one it led into when
//! something was held there. Pure: the kernel's table is read elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    ops::Bound,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use custody::house::finding::FindingKind;
use serde::{Deserialize, Serialize};

/// One line of the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, new with each mount.
    pub id: u64,
    /// The mount that it hangs in.
    pub parent: u64,
    /// The device's number.
    pub device: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Such as `ext4`.
    pub kind: String,
}

/// All mounts, as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    mounts: Vec<Mount>,
    /// By where they are, in the order of the table.
    at: BTreeMap<PathBuf, Vec<usize>>,
}

impl Table {
    /// Reads `/proc/self/mountinfo` as proc(5) describes it. A line that is not understood is
    /// passed over.
    pub fn parse(text: &[u8]) -> Self {
        let mounts: Vec<_> = text.split(|&b| b == b'\n').filter_map(line).collect();
        let mut at: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, mount) in mounts.iter().enumerate() {
            at.entry(mount.point.clone()).or_default().push(number);
        }
        Self { mounts, at }
    }

    /// What stands at a point in a mount, with all that was put on top of it.
    fn topmost(&self, mut near: usize, point: &Path) -> usize {
        let here = self.at.get(point).map_or(&[][..], Vec::as_slice);
        // As many as there are, should the table not be a tree.
        for _ in here {
            let parent = self.mounts[near].id;
            let over = here.iter().rev();
            let mut over =
                over.filter(|over| self.mounts[**over].parent == parent && **over != near);
            match over.next() {
                Some(over) => near = *over,
                None => break,
            }
        }
        near
    }

    /// The mount that an absolute path leads into.
    pub fn covering(&self, path: &Path) -> Option<&Mount> {
        let root = Path::new("/");
        let mut near = self.topmost(*self.at.get(root)?.first()?, root);
        let above: Vec<_> = path.ancestors().collect();
        for point in above.into_iter().rev().skip(1) {
            near = self.topmost(near, point);
        }
        self.mounts.get(near)
    }

    /// Where something is mounted below a path, as far as it can be reached.
    pub fn below(&self, path: &Path) -> BTreeSet<Vec<u8>> {
        // What lies below a path comes right after it.
        let after = (Bound::Excluded(path), Bound::Unbounded);
        let points = self.at.range::<Path, _>(after).map(|(point, _)| point);
        let inside = points.take_while(|point| point.starts_with(path));
        let reached = inside.filter(|point| {
            let covering = self.covering(point);
            covering.is_some_and(|covering| covering.point == **point)
        });
        reached
            .map(|point| point.as_os_str().as_bytes().to_vec())
            .collect()
    }
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let mut next = || fields.next();
    let number = |field: &[u8]| str::from_utf8(field).ok()?.parse().ok();
    let (id, parent) = (number(next()?)?, number(next()?)?);
    let device = String::from_utf8_lossy(next()?).into_owned();
    let (root, point) = (plain(next()?), plain(next()?));
    while next()? != b"-" {}
    let kind = String::from_utf8_lossy(next()?).into_owned();
    Some(Mount {
        id,
        parent,
        device,
        root,
        point,
        kind,
    })
}

/// A path in the table has blanks, tabs, line feeds and backslashes written as `\ooo`.
fn plain(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let code = digits.and_then(|d| u8::from_str_radix(str::from_utf8(d).ok()?, 8).ok());
        path.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(path).into()
}

/// Where a path led when something was held there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The path.
    pub path: PathBuf,
    /// Where its file system was mounted.
    pub point: PathBuf,
    /// The file system's kind.
    pub kind: String,
    /// The file system, as [`Table`] numbers it until the machine starts again.
    pub device: String,
    /// The file system, by what stays with it; none for a kind that has nothing of the sort.
    pub stamp: Option<String>,
    /// The place in that file system.
    pub inside: PathBuf,
    /// Where something was mounted below it.
    pub below: BTreeSet<Vec<u8>>,
}

impl Lead {
    /// Where a path leads now. The stamp of a file system is asked for by its mount.
    pub fn now(
        table: &Table,
        path: &Path,
        stamp: impl Fn(&Mount) -> Option<String>,
    ) -> Option<Self> {
        let mount = table.covering(path)?;
        let rest = path.strip_prefix(&mount.point).ok()?;
        Some(Self {
            path: path.to_owned(),
            point: mount.point.clone(),
            kind: mount.kind.clone(),
            device: mount.device.clone(),
            stamp: stamp(mount),
            inside: mount.root.join(rest).components().collect(),
            below: table.below(path),
        })
    }

    /// What became of it, and where: nothing where it leads to the same place as before.
    /// Numbers of devices count only within one run of the machine, and where there is no better.
    pub fn became(&self, now: &Self, same_boot: bool) -> Option<(FindingKind, PathBuf)> {
        let device = || !same_boot || self.device == now.device;
        let same_system =
            self.kind == now.kind && self.stamp == now.stamp && (self.stamp.is_some() || device());
        if !same_system || self.inside != now.inside {
            let shorter = now.point != self.point && self.point.starts_with(&now.point);
            return Some(match shorter {
                true => (FindingKind::Unmounted, self.path.clone()),
                false => (FindingKind::MountedOver, self.path.clone()),
            });
        }
        let new = now.below.difference(&self.below).next();
        let new = new.map(|point| PathBuf::from(OsString::from_vec(point.clone())));
        new.map(|point| (FindingKind::MountedOver, point))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAIN: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /srv rw shared:5 master:2 - xfs /dev/sdb rw
31 22 0:40 / /a\\040b rw - tmpfs tmpfs rw
";

    fn lead(table: &str, path: &str) -> Lead {
        let table = Table::parse(table.as_bytes());
        Lead::now(&table, Path::new(path), |_| None).unwrap()
    }

    fn became(after: &str, path: &str) -> Option<(FindingKind, PathBuf)> {
        lead(PLAIN, path).became(&lead(after, path), true)
    }

    #[test]
    fn a_path_leads_into_the_topmost_mount_that_can_be_reached() {
        let table = Table::parse(PLAIN.as_bytes());
        let point = |table: &Table, path| table.covering(Path::new(path)).unwrap().id;
        assert_eq!(point(&table, "/srv/data"), 30);
        assert_eq!(point(&table, "/srvx"), 22);
        assert_eq!(point(&table, "/a b/c"), 31);
        let hidden = format!(
            "{PLAIN}40 30 8:3 / /srv/data rw - ext4 x rw\n41 30 0:9 / /srv rw - tmpfs t rw\n"
        );
        let table = Table::parse(hidden.as_bytes());
        // The one at /srv/data hangs in what lies hidden under the tmpfs.
        assert_eq!(point(&table, "/srv/data"), 41);
        assert!(table.below(Path::new("/srv")).is_empty());
        assert_eq!(table.below(Path::new("/")).len(), 2);
    }

    #[test]
    fn an_unmount_and_what_is_mounted_over_or_below_are_told_apart() {
        assert_eq!(became(PLAIN, "/srv/data"), None);
        let gone = PLAIN.replace("30 22 8:2 / /srv", "30 22 8:2 / /elsewhere");
        let path = PathBuf::from("/srv/data");
        assert_eq!(
            became(&gone, "/srv/data"),
            Some((FindingKind::Unmounted, path.clone()))
        );
        let over = |line: &str| format!("{PLAIN}{line} rw - tmpfs t rw\n");
        let covered = Some((FindingKind::MountedOver, path));
        assert_eq!(became(&over("50 30 0:9 / /srv"), "/srv/data"), covered);
        assert_eq!(became(&over("50 30 0:9 / /srv/data"), "/srv/data"), covered);
        // Of the same file system, and another part of it.
        let bind = format!("{PLAIN}50 30 8:2 /other /srv/data rw - xfs t rw\n");
        assert_eq!(became(&bind, "/srv/data"), covered);
        let inside = became(&over("50 30 0:9 / /srv/data/mail"), "/srv/data");
        assert_eq!(
            inside,
            Some((FindingKind::MountedOver, "/srv/data/mail".into()))
        );
        assert_eq!(became(&over("50 30 0:9 / /srv/other"), "/srv/data"), None);
    }

    #[test]
    fn the_same_place_by_another_mount_is_the_same_place() {
        let bind = format!("{PLAIN}50 30 8:2 /data /srv/data rw - xfs t rw\n");
        assert_eq!(became(&bind, "/srv/data"), None);
        let again = PLAIN.replace("30 22 8:2", "77 22 8:2");
        assert_eq!(became(&again, "/srv/data"), None);
    }

    #[test]
    fn a_file_system_is_known_by_its_stamp_whatever_its_device_is_called() {
        let table = Table::parse(PLAIN.as_bytes());
        let stamped = |stamp: &str, device: &str| {
            let stamp = Some(stamp.to_owned());
            let lead = Lead::now(&table, Path::new("/srv/data"), |_| stamp.clone()).unwrap();
            Lead {
                device: device.to_owned(),
                ..lead
            }
        };
        assert_eq!(stamped("a", "0:1").became(&stamped("a", "0:2"), true), None);
        let other = stamped("a", "0:1").became(&stamped("b", "0:1"), false);
        assert_eq!(other, Some((FindingKind::MountedOver, "/srv/data".into())));
    }

    #[test]
    fn after_a_restart_a_device_may_have_another_number() {
        let now = lead(&PLAIN.replace("8:2", "8:16"), "/srv/data");
        let before = lead(PLAIN, "/srv/data");
        assert_eq!(before.became(&now, false), None);
        assert!(before.became(&now, true).is_some());
    }
}

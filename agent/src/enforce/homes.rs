//! Homes: which file system each root lay on when something in it was first held.
//!
//! A disk that is not mounted leaves an empty folder behind, and a hold that looked into that would
//! say that all was destroyed, or that there was nothing left to free. So a root is looked for
//! where it was mounted, and nothing is done in it when it is not there.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use custody::house::finding::FindingKind;
use serde::{Deserialize, Serialize};

use super::{
    found::Found,
    mounts::{self, Mount},
    trouble::{HoldTrouble, own},
};
use crate::durable;

/// Where a root was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Home {
    root: Vec<u8>,
    /// Where the file system was mounted that it lay on.
    point: Vec<u8>,
    file_system: String,
    /// How many mounts there were at that point: the last one hides the others.
    mounts: usize,
}

/// Where all roots were.
#[derive(Debug)]
pub struct Homes {
    file: PathBuf,
    known: Mutex<BTreeMap<Vec<u8>, Home>>,
}

fn now(table: &[Mount], root: &Path) -> Option<Home> {
    let mount = mounts::of(table, root)?;
    let same = table.iter().filter(|other| other.point == mount.point);
    Some(Home {
        root: root.as_os_str().as_bytes().to_vec(),
        point: mount.point.as_os_str().as_bytes().to_vec(),
        file_system: mount.file_system.clone(),
        mounts: same.count(),
    })
}

/// What became of a root, by the table of mounts now; none where it is where it was.
fn became(known: &Home, table: &[Mount]) -> Option<(FindingKind, PathBuf)> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let (point, root) = (path(&known.point), path(&known.root));
    let gone = Some((FindingKind::Unmounted, point.clone()));
    let Some(now) = now(table, &root) else {
        return gone;
    };
    let here = path(&now.point);
    if here == point {
        return match (now.file_system == known.file_system, now.mounts) {
            (true, mounts) if mounts <= known.mounts => None,
            (false, mounts) if mounts <= known.mounts => gone,
            _ => Some((FindingKind::MountedOver, point)),
        };
    }
    if here.starts_with(&point) {
        return Some((FindingKind::MountedOver, here));
    }
    gone
}

impl Homes {
    /// Opens what is known, in the folder of the records.
    pub fn open(folder: &Path) -> Result<Self, HoldTrouble> {
        let reading = own("the list of the roots' file systems cannot be read");
        let file = folder.join("homes");
        let known: Vec<Home> = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(io::Error::from)
                .map_err(reading)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(reading(error)),
        };
        let known = known.into_iter().map(|home| (home.root.clone(), home));
        Ok(Self {
            file,
            known: Mutex::new(known.collect()),
        })
    }

    /// What became of a root since something in it was first held.
    pub fn became(&self, root: &Path) -> Option<Found> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(root.as_os_str().as_bytes())?;
        let (what, place) = became(known, &mounts::table())?;
        Some(Found::at(what, &place))
    }

    /// Refuses a root that is not where it was.
    pub fn require(&self, root: &Path) -> Result<(), HoldTrouble> {
        match self.became(root).map(|found| found.what) {
            None => Ok(()),
            Some(FindingKind::MountedOver) => Err(HoldTrouble::MountedOver),
            Some(_) => Err(HoldTrouble::NotMounted),
        }
    }

    /// Notes where a root is, unless that is known; `first` says that nothing in it is held yet, so
    /// that what was known of it no longer matters.
    pub fn note(&self, root: &Path, first: bool) -> Result<(), HoldTrouble> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let name = root.as_os_str().as_bytes();
        if !first && known.contains_key(name) {
            return Ok(());
        }
        let Some(home) = now(&mounts::table(), root) else {
            return Ok(());
        };
        if known.get(name) == Some(&home) {
            return Ok(());
        }
        known.insert(name.to_vec(), home);
        let writing = own("the list of the roots' file systems cannot be written");
        let all: Vec<&Home> = known.values().collect();
        let text = serde_json::to_vec(&all).map_err(io::Error::from);
        let text = text.map_err(&writing)?;
        durable::write(&self.file, 0o600, &text).map_err(writing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mounts: &[(&str, &str)]) -> Vec<Mount> {
        let mount = |(point, kind): &(&str, &str)| Mount {
            point: point.into(),
            file_system: (*kind).to_owned(),
            source: "some".into(),
        };
        mounts.iter().map(mount).collect()
    }

    #[test]
    fn a_root_is_missed_where_it_was_and_what_hides_it_is_named() {
        let root = Path::new("/srv/disk/www");
        let then = table(&[("/", "ext4"), ("/srv/disk", "xfs")]);
        let known = now(&then, root).expect("a mount");
        let became = |mounts: &[(&str, &str)]| {
            let found = became(&known, &table(mounts));
            found.map(|(what, place)| (what, place.to_string_lossy().into_owned()))
        };
        let is = |what, place: &str| Some((what, place.to_owned()));
        assert_eq!(became(&[("/", "ext4"), ("/srv/disk", "xfs")]), None);
        assert_eq!(
            became(&[("/", "ext4")]),
            is(FindingKind::Unmounted, "/srv/disk")
        );
        assert_eq!(
            became(&[("/", "ext4"), ("/srv/disk", "vfat")]),
            is(FindingKind::Unmounted, "/srv/disk"),
            "another disk in its place"
        );
        assert_eq!(
            became(&[("/", "ext4"), ("/srv/disk", "xfs"), ("/srv/disk", "tmpfs")]),
            is(FindingKind::MountedOver, "/srv/disk")
        );
        assert_eq!(
            became(&[("/", "ext4"), ("/srv/disk", "xfs"), ("/srv/disk", "xfs")]),
            is(FindingKind::MountedOver, "/srv/disk")
        );
        assert_eq!(
            became(&[
                ("/", "ext4"),
                ("/srv/disk", "xfs"),
                ("/srv/disk/www", "tmpfs")
            ]),
            is(FindingKind::MountedOver, "/srv/disk/www")
        );
        assert_eq!(
            became(&[
                ("/", "ext4"),
                ("/srv/disk", "xfs"),
                ("/srv/disk/other", "tmpfs")
            ]),
            None
        );
    }
}

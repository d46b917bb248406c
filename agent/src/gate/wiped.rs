//! Wiped: notices that a root is not the root it was.
//!
//! Each root is known by its folder's and its vault's inode and birth time: a new file system, or
//! a folder emptied with everything in it, has others. What is known is on disk
//! (`DIR/roots.json`) and looked at before a vault is made anew. A root whose file system is not
//! mounted is away, and not wiped.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use custody::time::Time;
use serde::{Deserialize, Serialize};

use super::uses::{self, Use};
use crate::{config::Place, disks, durable, enforce::Root};

/// A folder as it was: inode and birth, nanoseconds since 1970, where the file system tells.
type Born = (u64, Option<u64>);

/// A root as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    root: Born,
    #[serde(default)]
    vault: Option<Born>,
    /// Where its file system was mounted: without it the root is away, not wiped.
    #[serde(default)]
    mounted_at: PathBuf,
}

/// Roots by their path in hex.
type Known = BTreeMap<String, Seen>;

/// A root that was wiped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiped {
    /// The root.
    pub path: Vec<u8>,
    /// Whether a clearance that was used here allows it.
    pub cleared: bool,
}

fn born(path: &Path) -> Option<Born> {
    let meta = fs::symlink_metadata(path).ok()?;
    let birth = meta.created().ok();
    let birth = birth.and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
    let birth = birth.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Some((meta.ino(), birth))
}

/// Looks at a root: where its file system is mounted, and the root itself if it is there.
fn see(root: &Root, mounts: &[disks::Mount]) -> (PathBuf, Option<Seen>) {
    let mount = disks::mount_of(mounts, &root.path);
    let mounted_at = mount.map(|mount| mount.point.clone()).unwrap_or_default();
    let seen = born(&root.path).map(|born_root| Seen {
        root: born_root,
        vault: born(&root.vault),
        mounted_at: mounted_at.clone(),
    });
    (mounted_at, seen)
}

/// Compares two looks at a root: whether it was wiped between them.
fn was_wiped(before: &Seen, (mounted_at, now): &(PathBuf, Option<Seen>)) -> bool {
    if before.mounted_at != *mounted_at {
        return false;
    }
    let Some(now) = now else {
        return true;
    };
    let vault_gone = before.vault.is_some() && before.vault != now.vault;
    before.root != now.root || vault_gone
}

/// Looks at all roots, and keeps what is seen: each wipe is told once. Call it before vaults
/// are made anew, and [`note`] afterwards.
pub fn look(place: &Place, roots: &[Root], now: Time) -> io::Result<Vec<Wiped>> {
    let known = read(place)?;
    let mounts = disks::mounts(&fs::read("/proc/self/mountinfo")?);
    let mut wiped = Vec::new();
    for root in roots {
        let path = root.path.as_os_str().as_bytes();
        let before = known.get(&hex::encode(path));
        if before.is_some_and(|before| was_wiped(before, &see(root, &mounts))) {
            wiped.push(path.to_vec());
        }
    }
    if wiped.is_empty() {
        return Ok(Vec::new());
    }
    let uses: Vec<Use> = uses::all(place)?;
    let wiped = wiped.into_iter().map(|path| Wiped {
        cleared: uses.iter().any(|used| used.explains(&path, now)),
        path,
    });
    Ok(wiped.collect())
}

/// Keeps how the roots look now. One that is away keeps its place.
pub fn note(place: &Place, roots: &[Root]) -> io::Result<()> {
    let before = read(place)?;
    let mounts = disks::mounts(&fs::read("/proc/self/mountinfo")?);
    let mut known = before.clone();
    for root in roots {
        let key = hex::encode(root.path.as_os_str().as_bytes());
        let (mounted_at, seen) = see(root, &mounts);
        let is_away = before.get(&key).is_some_and(|b| b.mounted_at != mounted_at);
        match seen {
            // With its vault it is the root, wherever it is mounted now.
            Some(seen) if !is_away || seen.vault.is_some() => _ = known.insert(key, seen),
            None if !is_away => _ = known.remove(&key),
            _ => {}
        }
    }
    if known == before {
        return Ok(());
    }
    durable::write(&file(place), 0o600, &serde_json::to_vec(&known)?)
}

fn file(place: &Place) -> PathBuf {
    place.0.join("roots.json")
}

fn read(place: &Place) -> io::Result<Known> {
    match fs::read(file(place)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::id::ClearanceId;

    use super::*;

    struct Stage {
        _folder: tempfile::TempDir,
        place: Place,
        roots: [Root; 1],
    }

    fn stage() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let place = Place(base.join("agent"));
        let root = base.join("data");
        fs::create_dir_all(&place.0).unwrap();
        fs::create_dir_all(root.join(".vault")).unwrap();
        let roots = [Root {
            vault: root.join(".vault"),
            path: root,
        }];
        note(&place, &roots).unwrap();
        Stage {
            _folder: folder,
            place,
            roots,
        }
    }

    fn looked(stage: &Stage) -> Vec<Wiped> {
        look(&stage.place, &stage.roots, Time::from_millis(0)).unwrap()
    }

    #[test]
    fn a_root_that_was_emptied_or_made_anew_was_wiped_and_is_told_of_once() {
        let stage = stage();
        assert!(looked(&stage).is_empty());
        fs::write(stage.roots[0].path.join("file"), "x").unwrap();
        assert!(looked(&stage).is_empty(), "it only lives");
        // One that is emptied has lost its vault.
        fs::rename(&stage.roots[0].vault, stage.place.0.join("aside")).unwrap();
        assert_eq!(looked(&stage).len(), 1);
        fs::create_dir(&stage.roots[0].vault).unwrap();
        let wiped = looked(&stage);
        assert!(!wiped[0].cleared);
        note(&stage.place, &stage.roots).unwrap();
        assert!(looked(&stage).is_empty());
    }

    #[test]
    fn a_clearance_that_was_used_explains_the_wipe() {
        let stage = stage();
        let used = Use {
            clearance: ClearanceId::from_random([1; 16]),
            used: Time::from_millis(0),
            places: vec![hex::encode(stage.roots[0].path.as_os_str().as_bytes())],
        };
        uses::note(&stage.place, &used).unwrap();
        fs::rename(&stage.roots[0].vault, stage.place.0.join("aside")).unwrap();
        assert!(looked(&stage)[0].cleared);
    }

    #[test]
    fn a_root_that_is_gone_from_a_file_system_that_is_there_was_wiped() {
        let stage = stage();
        fs::rename(&stage.roots[0].path, stage.place.0.join("aside")).unwrap();
        assert_eq!(looked(&stage).len(), 1);
        note(&stage.place, &stage.roots).unwrap();
        assert!(looked(&stage).is_empty());
    }

    #[test]
    fn a_root_whose_file_system_is_away_was_not_wiped() {
        let stage = stage();
        let mut known = read(&stage.place).unwrap();
        for seen in known.values_mut() {
            // As if it had been a mount of its own.
            seen.mounted_at.clone_from(&stage.roots[0].path);
        }
        let text = serde_json::to_vec(&known).unwrap();
        fs::write(file(&stage.place), text).unwrap();
        fs::remove_dir(&stage.roots[0].vault).unwrap();
        assert!(looked(&stage).is_empty());
        note(&stage.place, &stage.roots).unwrap();
        assert_eq!(read(&stage.place).unwrap(), known, "what is known is kept");
        fs::remove_dir(&stage.roots[0].path).unwrap();
        assert!(looked(&stage).is_empty());
    }
}

//! What a wipe would reach: places on this host, what stands there, and whether the command
//! reaches further than it says.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
    path::{Path, PathBuf},
};

use custody::{house::scope::overlap, id::TargetId};

use crate::{
    disks,
    enforce::{Phase, Record, Root},
    exit::Trouble,
};

/// What is to be wiped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Server,
    /// One disk, as the kernel names it.
    Disk(String),
    /// Some paths.
    Paths(Vec<PathBuf>),
}

/// A target that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Which.
    pub target: TargetId,
    /// How far it is, in a word.
    pub phase: String,
}

/// The places that would be wiped, absolute and without links; none for a whole server.
pub fn places(scope: &Scope, roots: &[Root]) -> Result<Vec<Vec<u8>>, Trouble> {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    match scope {
        Scope::Server => Ok(Vec::new()),
        Scope::Paths(paths) => paths
            .iter()
            .map(|path| {
                let plain = fs::canonicalize(path);
                let plain = plain.map_err(|error| Trouble::file("find", path, error))?;
                Ok(bytes(&plain))
            })
            .collect(),
        Scope::Disk(disk) => {
            let mut places = Vec::new();
            for path in roots.iter().flat_map(|root| [&root.path, &root.vault]) {
                // What cannot be told apart may lie there.
                let lies_there = match existing(path).map(disks::below) {
                    Some(Ok(names)) if !names.is_empty() => names.contains(disk),
                    _ => true,
                };
                if lies_there {
                    places.push(bytes(path));
                }
            }
            places.sort_unstable();
            places.dedup();
            Ok(places)
        }
    }
}

/// The path itself, or the nearest folder above it that there is.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

/// The first target that is not lowered and that lies where something would be wiped, or whose
/// copies do.
pub fn stands<'a>(
    scope: &Scope,
    places: &[Vec<u8>],
    roots: &[Root],
    records: impl Iterator<Item = &'a Record>,
) -> Option<Stands> {
    let reached = |path: &[u8]| places.iter().any(|place| overlap(place, path));
    let lies_there = |record: &Record| {
        let path = Path::new(std::ffi::OsStr::from_bytes(&record.path));
        let vault = roots
            .iter()
            .filter(|root| path.starts_with(&root.path))
            .max_by_key(|root| root.path.components().count())
            .map(|root| root.vault.as_os_str().as_bytes());
        match (scope, vault) {
            (Scope::Server, _) | (_, None) => true,
            (_, Some(vault)) => reached(&record.path) || reached(vault),
        }
    };
    let mut all = records.filter(|record| record.phase != Phase::Lowered);
    all.find(|record| lies_there(record)).map(|record| Stands {
        target: record.target,
        phase: format!("{:?}", record.phase).to_lowercase(),
    })
}

/// The first argument of the command that names something of ours, or a disk, outside what is to
/// be wiped.
pub fn strays(
    scope: &Scope,
    places: &[Vec<u8>],
    roots: &[Root],
    command: &[OsString],
) -> Option<PathBuf> {
    if *scope == Scope::Server {
        return None;
    }
    let arguments = command.iter().skip(1).flat_map(|argument| {
        // Also `of=/dev/sda` and `--target=/srv`.
        let tail = argument.as_bytes().split(|&b| b == b'=').next_back();
        [Some(argument.as_bytes()), tail]
    });
    let named = arguments.flatten().filter(|bytes| bytes.starts_with(b"/"));
    let mut paths = named.filter_map(|bytes| {
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
        // Of what is not there yet, the folder that is.
        existing(path).and_then(|path| fs::canonicalize(path).ok())
    });
    paths.find(|path| is_outside(scope, places, roots, path))
}

fn is_outside(scope: &Scope, places: &[Vec<u8>], roots: &[Root], path: &Path) -> bool {
    let is_device = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device());
    if is_device {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Scope::Disk(disk) = scope else {
            return true;
        };
        // The disk itself or one of its partitions, whose folder lies in the disk's own.
        let partition = Path::new("/sys/class/block").join(&*name);
        let partition = fs::canonicalize(partition).unwrap_or_default();
        let parent = partition.parent().and_then(Path::file_name);
        return name != disk.as_str() && parent != Some(std::ffi::OsStr::new(disk));
    }
    let bytes = path.as_os_str().as_bytes();
    let ours = roots.iter().any(|root| {
        let (root, vault) = (&root.path, &root.vault);
        path.starts_with(root) || path.starts_with(vault) || root.starts_with(path)
    });
    ours && !places
        .iter()
        .any(|place| custody::house::scope::covers(place, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::house::{mechanism::Mechanism, regime::Holding};

    use super::*;

    fn roots() -> Vec<Root> {
        vec![Root {
            path: "/srv/data".into(),
            vault: "/srv/vault".into(),
        }]
    }

    fn record(path: &str, phase: Phase) -> Record {
        let mut record = Record::planned(
            TargetId::from_random([7; 16]),
            path.as_bytes().to_vec(),
            Holding::Freeze,
            Mechanism::ImmutableFlag,
        );
        record.phase = phase;
        record
    }

    fn stands_at(path: &str, phase: Phase, place: &str) -> bool {
        let places = [place.as_bytes().to_vec()];
        let scope = Scope::Paths(vec![place.into()]);
        let records = [record(path, phase)];
        stands(&scope, &places, &roots(), records.iter()).is_some()
    }

    #[test]
    fn a_target_stands_in_the_way_from_when_it_is_planned_until_it_is_lowered() {
        let path = "/srv/data/alice";
        for phase in [
            Phase::Planned,
            Phase::Raising,
            Phase::Raised,
            Phase::Lowering,
        ] {
            assert!(stands_at(path, phase, "/srv/data/alice/mail"));
            assert!(stands_at(path, phase, "/srv"));
            assert!(!stands_at(path, phase, "/srv/data/alicette"));
        }
        assert!(!stands_at(path, Phase::Lowered, "/srv/data/alice"));
        assert!(stands_at(path, Phase::Raised, "/srv/vault"), "its copies");
        let nowhere = "/elsewhere/x";
        assert!(
            stands_at(nowhere, Phase::Raised, "/tmp"),
            "in no root: in doubt"
        );
        let records = [record(path, Phase::Raised)];
        assert!(stands(&Scope::Server, &[], &roots(), records.iter()).is_some());
    }

    #[test]
    fn a_command_that_names_more_of_ours_than_it_says_strays() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let root = base.join("data");
        fs::create_dir_all(root.join("alice")).unwrap();
        fs::create_dir_all(root.join("bob")).unwrap();
        let roots = [Root {
            vault: root.join(".vault"),
            path: root.clone(),
        }];
        let scope = Scope::Paths(vec![root.join("alice")]);
        let places = places(&scope, &roots).unwrap();
        let strays = |arguments: &[&Path]| {
            let command: Vec<OsString> = std::iter::once(OsString::from("rm"))
                .chain(arguments.iter().map(|path| path.as_os_str().to_owned()))
                .collect();
            strays(&scope, &places, &roots, &command)
        };
        assert_eq!(strays(&[Path::new("-rf"), &root.join("alice")]), None);
        assert_eq!(strays(&[Path::new("/etc/hostname")]), None);
        let bob = root.join("bob");
        assert_eq!(strays(&[&root.join("alice"), &bob]), Some(bob.clone()));
        assert_eq!(strays(&[&root]), Some(root.clone()));
        assert_eq!(strays(&[&base]), Some(base));
        let hidden = format!("--target={}", bob.display());
        assert_eq!(strays(&[Path::new(&hidden)]), Some(bob));
    }
}

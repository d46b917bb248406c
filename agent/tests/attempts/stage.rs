//! The stage: a tree with a hold on it, on every file system that has the mechanism.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent::enforce::Keeper;
use custody::house::{
    finding::FindingKind,
    mechanism::Mechanism,
    regime::Holding::{self, Freeze, Preserve},
};
use rustix::fs::XattrFlags;

use crate::common::trees::{keeper, on, plant, target};

/// What comes of an attempt.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The kernel says no, with this answer, and nothing is changed.
    Refused(i32),
    /// A program fails, and nothing is changed.
    Fails,
    /// It goes through, for whoever is root, and is found as this.
    Found(FindingKind),
    /// There is nothing of the kind here.
    Absent,
}

/// A mechanism on a file system, and whether the root is a plain folder in it.
pub const HOLDS: [(&str, u64, Holding, Mechanism, bool); 7] = [
    ("ext4", 64, Freeze, Mechanism::ImmutableFlag, false),
    ("xfs", 320, Freeze, Mechanism::ImmutableFlag, false),
    ("btrfs", 192, Freeze, Mechanism::ImmutableFlag, false),
    ("ext4", 64, Preserve, Mechanism::SealedCopy, false),
    ("xfs", 320, Preserve, Mechanism::ReflinkVault, false),
    ("btrfs", 192, Preserve, Mechanism::ReflinkVault, true),
    ("btrfs", 192, Preserve, Mechanism::BtrfsSnapshot, false),
];

/// A hold that is under attack.
pub struct Stage {
    pub keeper: Keeper,
    /// The root that the agent was given.
    pub root: PathBuf,
    /// The living tree.
    pub living: PathBuf,
    /// What is held: the living tree itself, its copy or its snapshot.
    pub held: PathBuf,
    /// The folder in the vault; the held tree itself where there is none.
    pub folder: PathBuf,
    /// Outside of everything.
    pub outside: PathBuf,
}

pub type Act = fn(&Stage) -> io::Result<()>;

/// What is tried, what comes of it in place, in a vault and in a snapshot, and how it is undone.
pub type Attempt = (&'static str, Act, [Outcome; 3]);

pub fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null());
    let done = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    done.success()
        .then_some(())
        .ok_or_else(|| io::Error::other(program.to_owned()))
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn shell(script: &str, stage: &Stage) -> io::Result<()> {
    run(
        "sh",
        &["-ec", script, "sh", text(&stage.held), text(&stage.outside)],
    )
}

/// Content, mode, owner and times of all that is held.
pub fn looks(path: &Path) -> BTreeMap<PathBuf, (String, u32, u32, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut content = String::new();
        if stat.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
        } else if stat.is_file() {
            File::open(&path)
                .unwrap()
                .read_to_string(&mut content)
                .unwrap();
        }
        let seen = (
            content,
            stat.mode(),
            stat.uid(),
            stat.nlink(),
            stat.mtime(),
            stat.mtime_nsec(),
        );
        all.insert(path, seen);
    }
    all
}

/// A tree with a hold on it, and what the hold is about.
pub fn stage(
    root: &Path,
    state: &Path,
    holding: Holding,
    mechanism: Mechanism,
    at: usize,
) -> Stage {
    let home = root.join(format!("home {at}"));
    fs::create_dir_all(home.join("beside")).unwrap();
    let living = plant(&home);
    rustix::fs::setxattr(living.join("a"), "user.kept", b"x", XattrFlags::empty()).unwrap();
    let outside = root.join(format!("outside {at}"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("new"), "new").unwrap();
    let keeper = keeper(state, root);
    let raised = keeper.raise(target(1), &living, holding, &on()).unwrap();
    assert_eq!(raised.mechanism, mechanism);
    let folder = root.join(format!(".holdfast-vault/{}", target(1)));
    let (held, folder) = match mechanism {
        Mechanism::ImmutableFlag => (living.clone(), living.clone()),
        Mechanism::BtrfsSnapshot => {
            let inside = living.strip_prefix(root).unwrap();
            (folder.join("tree").join(inside), folder)
        }
        _ => (folder.join("tree"), folder),
    };
    Stage {
        keeper,
        root: root.to_owned(),
        living,
        held,
        folder,
        outside,
    }
}

pub fn column(mechanism: Mechanism) -> usize {
    match mechanism {
        Mechanism::ImmutableFlag => 0,
        Mechanism::BtrfsSnapshot => 2,
        _ => 1,
    }
}

//! Attempts by programs that run on hosts, by root with force, and by the agent's own paths.

use std::{fs, io, path::PathBuf};

use custody::house::{
    finding::FindingKind::{Appeared, HeldChanged, MountedOver, ProtectionGone, SnapshotGone},
    regime::Holding::{Freeze, Preserve},
};
use std::{os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    calls::a,
    common::trees::{keeper, on, target},
    stage::{
        Attempt,
        Outcome::{self, Absent, Fails, Found},
        Stage, run, shell, text,
    },
};

const FAILS: [Outcome; 3] = [Fails, Fails, Fails];

pub const MAP: &str = "
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(f, 5)
m[0:5] = b'WRONG'
m.flush()
";

/// By programs that run on hosts, as root.
pub const PROGRAMS: [Attempt; 15] = [
    (
        "a store through a shared mapping",
        |s| run("python3", &["-c", MAP, text(&a(s))]),
        FAILS,
    ),
    (
        "a hole punched",
        |s| run("fallocate", &["-p", "-o", "0", "-l", "4", text(&a(s))]),
        FAILS,
    ),
    (
        "a range zeroed",
        |s| run("fallocate", &["-z", "-o", "0", "-l", "4", text(&a(s))]),
        FAILS,
    ),
    ("rm -rf", |s| run("rm", &["-rf", text(&s.held)]), FAILS),
    (
        "rm -rf of the folder around it",
        |s| run("rm", &["-rf", text(&s.folder)]),
        FAILS,
    ),
    (
        "find -delete",
        |s| run("find", &[text(&s.held), "-mindepth", "1", "-delete"]),
        FAILS,
    ),
    (
        "mv",
        |s| run("mv", &[text(&s.held), text(&s.outside.join("moved"))]),
        FAILS,
    ),
    (
        "truncate",
        |s| run("truncate", &["-s", "1", text(&a(s))]),
        FAILS,
    ),
    ("shred", |s| run("shred", &["-u", text(&a(s))]), FAILS),
    (
        "dd over it",
        |s| shell("dd if=/dev/zero of=\"$1/a\" bs=1 count=5 conv=notrunc", s),
        FAILS,
    ),
    (
        "log rotation by copy and truncate",
        |s| shell("cp \"$1/a\" \"$2/a.1\"; : > \"$1/a\"", s),
        FAILS,
    ),
    (
        "log rotation by rename",
        |s| shell("mv \"$1/a\" \"$1/a.1\"; : > \"$1/a\"", s),
        FAILS,
    ),
    (
        "removal by age",
        |s| {
            shell(
                "find \"$1\" -type f -mtime -1 -exec rm -f {} +; test ! -e \"$1/a\"",
                s,
            )
        },
        FAILS,
    ),
    (
        "sed in place",
        |s| run("sed", &["-i", "s/a/b/", text(&a(s))]),
        FAILS,
    ),
    (
        "deleting the subvolume",
        |s| run("btrfs", &["subvolume", "delete", text(&whole(s))]),
        [Absent, Absent, Fails],
    ),
];

/// The snapshot's own folder, above the target in it.
fn whole(stage: &Stage) -> PathBuf {
    stage.folder.join("tree")
}

fn chattr(flag: &str, path: &Path) -> io::Result<()> {
    run("chattr", &[flag, text(path)])
}

fn writable(stage: &Stage, on: bool) -> io::Result<()> {
    let on = if on { "false" } else { "true" };
    run(
        "btrfs",
        &[
            "property",
            "set",
            "-f",
            "-t",
            "subvol",
            text(&whole(stage)),
            "ro",
            on,
        ],
    )
}

/// By force, as root: the protection is taken away first.
pub const FORCE: [Attempt; 10] = [
    (
        "the flag off a file",
        |s| chattr("-i", &a(s)),
        [Found(ProtectionGone), Found(ProtectionGone), Absent],
    ),
    (
        "the flag off, changed, and on again",
        |s| {
            chattr("-i", &a(s))?;
            fs::set_permissions(a(s), fs::Permissions::from_mode(0o600))?;
            fs::write(a(s), "WRONG")?;
            chattr("+i", &a(s))
        },
        [Found(HeldChanged), Found(HeldChanged), Absent],
    ),
    (
        "the flag off, removed, and on again",
        |s| {
            chattr("-i", &s.held)?;
            chattr("-i", &s.held.join("b"))?;
            fs::remove_file(s.held.join("b"))?;
            chattr("+i", &s.held)
        },
        [Found(HeldChanged), Found(HeldChanged), Absent],
    ),
    (
        "the flag off, something added, and on again",
        |s| {
            chattr("-i", &s.held)?;
            fs::write(s.held.join("planted"), "x")?;
            chattr("+i", &s.held.join("planted"))?;
            chattr("+i", &s.held)
        },
        [Found(Appeared), Found(Appeared), Absent],
    ),
    (
        "the flag off the folder around it",
        |s| chattr("-i", &s.folder),
        [
            Found(ProtectionGone),
            Found(ProtectionGone),
            Found(ProtectionGone),
        ],
    ),
    (
        "the snapshot made writable",
        |s| writable(s, true),
        [Absent, Absent, Found(ProtectionGone)],
    ),
    (
        "the snapshot changed and read-only again",
        |s| {
            writable(s, true)?;
            fs::write(a(s), "WRONG")?;
            writable(s, false)
        },
        [Absent, Absent, Found(HeldChanged)],
    ),
    (
        "the snapshot deleted",
        |s| {
            chattr("-i", &s.folder)?;
            run("btrfs", &["subvolume", "delete", text(&whole(s))])
        },
        [Absent, Absent, Found(SnapshotGone)],
    ),
    (
        "the vault's folder removed",
        |s| {
            run("chattr", &["-R", "-f", "-i", text(&s.folder)]).ok();
            chattr("-i", s.folder.parent().unwrap())?;
            run("btrfs", &["subvolume", "delete", text(&whole(s))]).ok();
            fs::remove_dir_all(&s.folder)
        },
        [Absent, Found(HeldChanged), Found(SnapshotGone)],
    ),
    (
        "something mounted over it",
        |s| run("mount", &["-t", "tmpfs", "over", text(&s.folder)]),
        [Found(MountedOver), Found(MountedOver), Found(MountedOver)],
    ),
];

/// By the agent's own paths: what a hold is not about does not touch it.
pub const AGENT: [Attempt; 5] = [
    (
        "lowering another target",
        |s| {
            s.keeper
                .raise(target(2), &s.living.with_file_name("beside"), Freeze, &on())
                .unwrap();
            s.keeper
                .lower(target(2), &on())
                .map(drop)
                .map_err(io::Error::other)
        },
        FAILS,
    ),
    (
        "lowering one that lies above",
        |s| {
            let above = s.living.parent().unwrap();
            s.keeper.raise(target(2), above, Freeze, &on()).unwrap();
            s.keeper
                .lower(target(2), &on())
                .map(drop)
                .map_err(io::Error::other)
        },
        FAILS,
    ),
    (
        "lowering one that lies below",
        |s| {
            s.keeper
                .raise(target(2), &s.living.join("sub"), Preserve, &on())
                .unwrap();
            s.keeper
                .lower(target(2), &on())
                .map(drop)
                .map_err(io::Error::other)
        },
        FAILS,
    ),
    (
        "narrowing another target",
        |s| {
            s.keeper
                .raise(target(2), &s.living, Preserve, &on())
                .unwrap();
            let leave = [s.living.join("a"), s.living.join("sub")];
            s.keeper.narrow(target(2), &leave, &on()).unwrap();
            s.keeper
                .lower(target(2), &on())
                .map(drop)
                .map_err(io::Error::other)
        },
        FAILS,
    ),
    (
        "another agent on the same root",
        |s| {
            let state = tempfile::tempdir().unwrap();
            let other = keeper(state.path(), &s.root);
            other.lower(target(1), &on()).unwrap();
            other
                .raise(target(2), &s.living, Freeze, &on())
                .map(drop)
                .map_err(io::Error::other)
        },
        FAILS,
    ),
];

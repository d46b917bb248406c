//! Attempts by calls, each as root.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::PathBuf,
};

use rustix::fs::{RenameFlags, XattrFlags};

use crate::stage::{
    Attempt,
    Outcome::{self, Refused},
    Stage,
};

const EPERM: i32 = 1;
const EXDEV: i32 = 18;
const EROFS: i32 = 30;

pub fn a(stage: &Stage) -> PathBuf {
    stage.held.join("a")
}

fn rename(stage: &Stage, from: &str, to: &str, flags: RenameFlags) -> io::Result<()> {
    let folder = File::open(&stage.held)?;
    Ok(rustix::fs::renameat_with(
        &folder, from, &folder, to, flags,
    )?)
}

const NO: [Outcome; 3] = [Refused(EPERM), Refused(EPERM), Refused(EROFS)];
/// By calls, as root.
pub const CALLS: [Attempt; 26] = [
    ("unlink", |s| fs::remove_file(a(s)), NO),
    ("rmdir", |s| fs::remove_dir(s.held.join("sub/empty")), NO),
    ("rename", |s| rename(s, "b", "b2", RenameFlags::empty()), NO),
    (
        "rename over",
        |s| rename(s, "sub/c", "a", RenameFlags::empty()),
        NO,
    ),
    (
        "exchange",
        |s| rename(s, "a", "b", RenameFlags::EXCHANGE),
        NO,
    ),
    ("rename away", |s| fs::rename(a(s), s.outside.join("a")), NO),
    (
        "rename in",
        |s| fs::rename(s.outside.join("new"), s.held.join("new")),
        NO,
    ),
    (
        "open for writing",
        |s| File::options().write(true).open(a(s)).map(drop),
        NO,
    ),
    (
        "open to append",
        |s| File::options().append(true).open(a(s)).map(drop),
        NO,
    ),
    ("open to truncate", |s| File::create(a(s)).map(drop), NO),
    (
        "chmod",
        |s| fs::set_permissions(a(s), Permissions::from_mode(0o777)),
        NO,
    ),
    (
        "chmod of a folder",
        |s| fs::set_permissions(s.held.join("sub"), Permissions::from_mode(0o777)),
        NO,
    ),
    ("chown", |s| chown(a(s), Some(65534), Some(65534)), NO),
    (
        "setxattr",
        |s| {
            Ok(rustix::fs::setxattr(
                a(s),
                "user.note",
                b"x",
                XattrFlags::empty(),
            )?)
        },
        NO,
    ),
    (
        "removexattr",
        |s| Ok(rustix::fs::removexattr(a(s), "user.kept")?),
        NO,
    ),
    (
        "setxattr of a folder",
        |s| {
            Ok(rustix::fs::setxattr(
                s.held.join("sub"),
                "user.note",
                b"x",
                XattrFlags::empty(),
            )?)
        },
        NO,
    ),
    (
        "utimes",
        |s| {
            let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            File::open(a(s))?.set_times(time)
        },
        NO,
    ),
    (
        "link within",
        |s| fs::hard_link(a(s), s.held.join("second")),
        NO,
    ),
    (
        "link to the outside",
        |s| fs::hard_link(a(s), s.outside.join("second")),
        [Refused(EPERM), Refused(EPERM), Refused(EXDEV)],
    ),
    (
        "link from the outside",
        |s| fs::hard_link(s.outside.join("new"), s.held.join("second")),
        NO,
    ),
    (
        "create",
        |s| File::create_new(s.held.join("new")).map(drop),
        NO,
    ),
    (
        "create below",
        |s| File::create_new(s.held.join("sub/new")).map(drop),
        NO,
    ),
    ("mkdir", |s| fs::create_dir(s.held.join("sub/more")), NO),
    ("symlink", |s| symlink("a", s.held.join("sub/link")), NO),
    (
        "unlink of a symlink",
        |s| fs::remove_file(s.held.join("link")),
        NO,
    ),
    // Its own name: the flag is on it, or on the folder around it.
    (
        "rename of the whole",
        |s| fs::rename(&s.folder, s.outside.join("whole")),
        [Refused(EPERM), Refused(EPERM), Refused(EPERM)],
    ),
];

//! Trees to hold, and every way to change one.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{PermissionsExt as _, chown, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use agent::{
    capture::seal::{self, Capture, capture},
    enforce::{Found, Keeper, Progress, Root},
};
use custody::{
    house::finding::FindingKind,
    id::{SnapshotId, TargetId},
    manifest::{file::Reader, leaf::SnapshotKey, row::Row},
};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// A target's id by number.
pub fn target(number: u8) -> TargetId {
    TargetId::from_random([number; 16])
}

/// Work that is not stopped.
pub fn on() -> Progress {
    Progress::default()
}

/// A keeper of one root, with its records beside the file system.
pub fn keeper(state: &Path, root: &Path) -> Keeper {
    let root = Root {
        path: root.to_owned(),
        vault: root.join(".holdfast-vault"),
    };
    Keeper::open(&state.join("holds"), vec![root]).unwrap()
}

/// A folder `data` that everybody may write to, with a few files.
pub fn plant(root: &Path) -> PathBuf {
    let data = root.join("data");
    for folder in ["data", "data/sub", "data/sub/empty", "data/other"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for (name, text) in [
        ("a", "alpha"),
        ("b", "beta"),
        ("sub/c", "gamma"),
        ("other/d", "delta"),
    ] {
        fs::write(data.join(name), text).unwrap();
    }
    symlink("a", data.join("link")).unwrap();
    open_to_all(&data);
    data
}

/// Gives everybody every right on a tree, so that only the hold can refuse.
pub fn open_to_all(path: &Path) {
    super::tool("chmod", &["-R", "a+rwX", path.to_str().unwrap()]);
}

/// What `lsattr` says of a tree, sorted.
pub fn flags(path: &Path) -> Vec<String> {
    let out = Command::new("lsattr")
        .args(["-R", "-a"])
        .arg(path)
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter(|line| !line.ends_with("/.."))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// Whether a file or folder carries the immutable flag.
pub fn is_flagged(path: &Path) -> bool {
    agent::enforce::flag::is_set(File::open(path).unwrap()).unwrap()
}

/// What was found, and how much of it.
pub fn counts(found: Vec<Found>) -> Vec<(FindingKind, u64)> {
    found.iter().map(|one| (one.what, one.count)).collect()
}

/// Runs something as a user with no rights.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Captures a target from where the keeper says that it is to be read.
pub fn captured(keeper: &Keeper, number: u8) -> BTreeMap<Vec<u8>, Row> {
    let source = keeper.source(target(number)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let manifest = out.path().join("manifest.parquet");
    let what = Capture {
        root: source.root.as_fd(),
        relative: &source.relative,
        exclude: source.exclude,
        origins: source.origins,
        snapshot: SnapshotId::from_random([2; 16]),
        key: &SnapshotKey::from_random([1; 32]),
        out: &manifest,
        threads: 2,
    };
    capture(&what, &seal::Progress::default()).unwrap();
    let rows = Reader::open(File::open(&manifest).unwrap()).unwrap();
    let rows = rows.map(|stored| stored.unwrap().row.unwrap());
    rows.map(|row| (row.path.clone(), row)).collect()
}

type Change = (&'static str, fn(&Path) -> io::Result<()>);

fn xattr(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::setxattr(path, "user.note", b"x", flags)?)
}

fn touch(path: &Path) -> io::Result<()> {
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::open(path)?.set_times(time)
}

/// Every way to change a planted tree, in an order in which all of them work on a free one.
pub const CHANGES: [Change; 22] = [
    ("overwrite", |d| fs::write(d.join("a"), "changed")),
    ("append", |d| {
        File::options()
            .append(true)
            .open(d.join("a"))?
            .write_all(b"more")
    }),
    ("truncate", |d| {
        Ok(rustix::fs::ftruncate(
            File::options().write(true).open(d.join("a"))?,
            1,
        )?)
    }),
    ("overwrite through a link", |d| {
        fs::write(d.join("link"), "changed")
    }),
    ("setxattr", |d| xattr(&d.join("a"))),
    ("setxattr of a folder", |d| xattr(&d.join("sub"))),
    ("chmod", |d| {
        fs::set_permissions(d.join("a"), Permissions::from_mode(0o777))
    }),
    ("chmod of a folder", |d| {
        fs::set_permissions(d.join("sub"), Permissions::from_mode(0o777))
    }),
    ("chown", |d| chown(d.join("b"), Some(65534), None)),
    ("utimes", |d| touch(&d.join("a"))),
    ("utimes of a folder", |d| touch(&d.join("sub"))),
    ("link", |d| fs::hard_link(d.join("a"), d.join("second"))),
    ("link to the outside", |d| {
        fs::hard_link(d.join("a"), d.with_file_name("outside"))
    }),
    ("create", |d| fs::write(d.join("new"), "new")),
    ("create below", |d| fs::write(d.join("sub/new"), "new")),
    ("mkdir", |d| fs::create_dir(d.join("sub/more"))),
    ("symlink", |d| symlink("a", d.join("sub/link"))),
    ("rmdir", |d| fs::remove_dir(d.join("sub/empty"))),
    ("rename", |d| fs::rename(d.join("b"), d.join("b2"))),
    ("rename over", |d| fs::rename(d.join("sub/c"), d.join("a"))),
    ("unlink", |d| fs::remove_file(d.join("other/d"))),
    ("rename of the whole", |d| {
        let aside = d.with_file_name("aside");
        fs::rename(d, &aside)?;
        fs::rename(aside, d)
    }),
];

/// Asserts that every change is refused.
pub fn assert_held(data: &Path, who: &str) {
    for (name, change) in CHANGES {
        let refused = change(data).expect_err(&format!("{name} by {who} went through"));
        let kind = refused.raw_os_error();
        assert!(matches!(kind, Some(1 | 13)), "{name} by {who}: {refused}");
    }
}

/// Asserts that every change works, and makes them.
pub fn assert_free(data: &Path) {
    for (name, change) in CHANGES {
        change(data).unwrap_or_else(|error| panic!("{name} on what is free: {error}"));
    }
}

/// A name that is not UTF-8 and has a line feed.
pub fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"odd \n\xff; $(touch x) --help")
}

/// Numbers that look random and are the same each time (SplitMix64).
pub struct Seeded(pub u64);

impl Seeded {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

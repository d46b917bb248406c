//! Releases: what is in the parcel is what was sealed, for its owner alone, or there is none.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::Ordering,
};

use age::secrecy::ExposeSecret as _;
use agent::{
    capture::seal::{Capture, Progress, capture, digest_of},
    release::{
        pack::{PackError, Packed, Packing, pack},
        reread::Base,
        rows::{Part, RowsError},
    },
};
use custody::{
    digest::Digest,
    house::ranges::Ranges,
    id::{ReleaseId, SnapshotId},
    manifest::{
        disclosure::ShownRow,
        file::{Reader, Writer},
        leaf::SnapshotKey,
        row::Row,
    },
};

fn key() -> SnapshotKey {
    SnapshotKey::from_random([4; 32])
}

/// A tree, its manifest, and where parcels go.
struct Scene {
    tree: tempfile::TempDir,
    out: tempfile::TempDir,
    rows: Vec<Row>,
    root: Digest,
}

impl Scene {
    fn new(make: impl FnOnce(&Path)) -> Self {
        let (tree, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(tree.path());
        let manifest = out.path().join("manifest");
        let root = File::open(tree.path()).unwrap();
        let what = Capture {
            root: root.as_fd(),
            relative: Path::new(""),
            exclude: Vec::new(),
            origins: None,
            snapshot: SnapshotId::from_random([2; 16]),
            key: &key(),
            out: &manifest,
            threads: 2,
        };
        let sealed = capture(&what, &Progress::default()).unwrap();
        let rows = Reader::open(File::open(&manifest).unwrap()).unwrap();
        Self {
            rows: rows.map(|stored| stored.unwrap().row.unwrap()).collect(),
            root: sealed.root,
            tree,
            out,
        }
    }

    fn part(&self, chosen: Vec<(u64, u64)>) -> (Part, Base) {
        let part = Part {
            snapshot: SnapshotId::from_random([2; 16]),
            manifest: self.out.path().join("manifest"),
            root: self.root,
            rows: self.rows.len() as u64,
            key: key(),
            chosen: Ranges::from_unsorted(chosen),
        };
        let root = OwnedFd::from(File::open(self.tree.path()).unwrap());
        (part, Base::below(&root, Path::new("")).unwrap())
    }

    fn pack(&self, recipient: &str, chosen: Vec<(u64, u64)>) -> Result<Packed, PackError> {
        self.pack_with(recipient, chosen, &Progress::default())
    }

    fn pack_with(
        &self,
        recipient: &str,
        chosen: Vec<(u64, u64)>,
        progress: &Progress,
    ) -> Result<Packed, PackError> {
        let what = Packing {
            release: ReleaseId::from_random([3; 16]),
            recipient,
            parts: &[self.part(chosen)],
            out: &self.parcel(),
            pace: &|_| {},
        };
        pack(&what, progress, |_| Ok(()))
    }

    fn parcel(&self) -> PathBuf {
        self.out.path().join("parcel.tar.age")
    }

    fn all(&self) -> Vec<(u64, u64)> {
        vec![(0, self.rows.len() as u64)]
    }

    fn row(&self, path: &[u8]) -> &Row {
        self.rows.iter().find(|row| row.path == path).unwrap()
    }

    /// There is no parcel, and nothing half-done either.
    fn nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(self.out.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["manifest"]);
    }
}

fn owner() -> (age::x25519::Identity, String) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    (identity, recipient)
}

fn odd_tree(tree: &Path) {
    let at = |name: &str| tree.join(name);
    fs::create_dir_all(at("alice/mail")).unwrap();
    fs::write(at("alice/mail/one.eml"), b"hello").unwrap();
    fs::write(at("alice/empty"), b"").unwrap();
    fs::write(at("alice/big"), vec![7; 3 << 20]).unwrap();
    fs::write(at("alice/umlaut-\u{e4}"), b"utf-8").unwrap();
    let odd = std::ffi::OsString::from_vec(b"alice/odd \n\xff".to_vec());
    fs::write(tree.join(odd), b"odd").unwrap();
    let mut long = b"alice/".to_vec();
    long.extend([b"\n\xfe"[..].to_vec(), vec![b'x'; 200]].concat());
    fs::write(
        tree.join(std::ffi::OsString::from_vec(long)),
        b"long and odd",
    )
    .unwrap();
    std::os::unix::fs::symlink("z".repeat(150), at("alice/far")).unwrap();
    let deep = at(&format!("alice/{}/{}", "d".repeat(200), "e".repeat(200)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f".repeat(200)), b"deep").unwrap();
    std::os::unix::fs::symlink("mail/one.eml", at("alice/inside")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("alice/outside")).unwrap();
    std::os::unix::fs::symlink("../../../etc/passwd", at("alice/climbs")).unwrap();
    common::tool("mkfifo", &[at("alice/pipe").to_str().unwrap()]);
    fs::create_dir_all(at("bob")).unwrap();
    fs::write(at("bob/secret"), b"bob's own").unwrap();
}

fn range_of(scene: &Scene, prefix: &[u8]) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    for row in scene.rows.iter().filter(|row| row.path.starts_with(prefix)) {
        ranges.push((row.index, row.index + 1));
    }
    ranges
}

#[test]
fn a_parcel_holds_the_released_bytes_and_their_proofs_and_nothing_else() {
    let scene = Scene::new(odd_tree);
    let (identity, recipient) = owner();
    let chosen = range_of(&scene, b"alice");
    let packed = scene.pack(&recipient, chosen.clone()).unwrap();
    assert_eq!(
        digest_of(&scene.parcel()).unwrap(),
        (packed.parcel, packed.bytes)
    );

    let file = File::open(scene.parcel()).unwrap();
    let plain = age::Decryptor::new(file).unwrap();
    let plain = plain.decrypt(std::iter::once(&identity as _)).unwrap();
    let mut archive = tar::Archive::new(plain);
    let (mut files, mut links, mut folders) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let (mut about, mut lines, mut order) = (String::new(), String::new(), Vec::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path_bytes().into_owned();
        order.push(name.clone());
        match name.as_slice() {
            b"holdfast/parcel.json" => drop(entry.read_to_string(&mut about).unwrap()),
            b"holdfast/rows.jsonl" => drop(entry.read_to_string(&mut lines).unwrap()),
            _ => {
                let path = name.strip_prefix(b"files/0/").unwrap().to_vec();
                match entry.header().entry_type() {
                    tar::EntryType::Regular => {
                        let mut bytes = Vec::new();
                        entry.read_to_end(&mut bytes).unwrap();
                        files.insert(path, bytes);
                    }
                    tar::EntryType::Symlink => {
                        links.insert(path, entry.link_name_bytes().unwrap().into_owned());
                    }
                    tar::EntryType::Directory => folders.push(path),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(&order[0], b"holdfast/parcel.json");
    assert_eq!(&order[1], b"holdfast/rows.jsonl");
    assert_eq!(files.len() as u64, packed.files);
    assert_eq!(files.len(), 7);
    for (path, bytes) in &files {
        let at = scene.tree.path().join(std::ffi::OsStr::from_bytes(path));
        assert_eq!(*bytes, fs::read(at).unwrap());
    }
    assert_eq!(
        links,
        BTreeMap::from([
            (b"alice/far".to_vec(), vec![b'z'; 150]),
            (b"alice/inside".to_vec(), b"mail/one.eml".to_vec()),
        ])
    );
    assert_eq!(folders.len(), 4);

    let rows = chosen.len() as u64;
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["format"], "holdfast-parcel/1");
    assert_eq!(about["rows"], rows);
    let mut shown = Vec::new();
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["root"], scene.root.to_string());
        let count = line["rows"].as_u64().unwrap();
        let row: ShownRow = serde_json::from_value(line["shown"].clone()).unwrap();
        row.verify(count, &scene.root).unwrap();
        let mut other = row.clone();
        other.row.size += 1;
        assert!(other.verify(count, &scene.root).is_err());
        let member = format!("files/0/{}", String::from_utf8_lossy(&row.row.path));
        assert_eq!(line["member"], member);
        shown.push(row.row);
    }
    assert_eq!(shown.len() as u64, rows);
    assert!(shown.iter().any(|row| row.path == b"alice/pipe"));
    assert!(shown.iter().all(|row| row.path.starts_with(b"alice")));
}

#[test]
fn the_stock_age_and_tar_open_a_parcel() {
    let name = "the_stock_age_and_tar_open_a_parcel";
    if Command::new("age").arg("--version").output().is_err() {
        return common::skipped(name, "needs Debian's package age");
    }
    let scene = Scene::new(odd_tree);
    let (identity, recipient) = owner();
    scene.pack(&recipient, scene.all()).unwrap();
    let secret = scene.out.path().join("identity");
    let mut file = File::create(&secret).unwrap();
    writeln!(file, "{}", identity.to_string().expose_secret()).unwrap();
    let opened = tempfile::tempdir().unwrap();
    let mut age = Command::new("age")
        .args(["--decrypt", "-i"])
        .args([&secret, &scene.parcel()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let tar = Command::new("tar")
        .args(["-x", "--no-same-owner", "-C"])
        .arg(opened.path())
        .stdin(age.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(tar.success() && age.wait().unwrap().success());
    for row in scene.rows.iter().filter(|row| row.sha256.is_some()) {
        let path = std::ffi::OsStr::from_bytes(&row.path);
        let at = opened.path().join("files/0").join(path);
        assert_eq!(Some(digest_of(&at).unwrap().0), row.sha256, "{path:?}");
    }
    let link = opened.path().join("files/0/alice/inside");
    assert_eq!(fs::read(link).unwrap(), b"hello");
    assert!(!opened.path().join("files/0/alice/climbs").is_symlink());
}

#[test]
fn bytes_that_changed_since_the_snapshot_make_no_parcel() {
    let scene = Scene::new(odd_tree);
    let (_, recipient) = owner();
    fs::write(scene.tree.path().join("alice/mail/one.eml"), b"hellO").unwrap();
    fs::remove_file(scene.tree.path().join("alice/empty")).unwrap();
    let error = scene.pack(&recipient, scene.all()).unwrap_err();
    let PackError::Differ { count, leaves, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((count, leaves.len()), (2, 2));
    scene.nothing_is_left();
    // What did not change is still released.
    let row = scene.row(b"bob/secret").index;
    scene.pack(&recipient, vec![(row, row + 1)]).unwrap();
}

#[test]
fn a_file_that_grew_or_shrank_or_became_a_link_or_a_pipe_makes_no_parcel() {
    let (_, recipient) = owner();
    type Change = fn(&Path);
    let changes: [Change; 5] = [
        |file| fs::write(file, b"hello and more").unwrap(),
        |file| fs::write(file, b"hell").unwrap(),
        |file| {
            // The same bytes, but reached through a link.
            let other = file.with_file_name("other");
            fs::rename(file, &other).unwrap();
            std::os::unix::fs::symlink(other, file).unwrap();
        },
        |file| {
            fs::remove_file(file).unwrap();
            common::tool("mkfifo", &[file.to_str().unwrap()]);
        },
        |file| {
            // Its folder is a link now, to a folder with the same bytes.
            let folder = file.parent().unwrap();
            let other = folder.with_file_name("elsewhere");
            fs::rename(folder, &other).unwrap();
            std::os::unix::fs::symlink(other, folder).unwrap();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let scene = Scene::new(odd_tree);
        change(&scene.tree.path().join("alice/mail/one.eml"));
        let row = scene.row(b"alice/mail/one.eml").index;
        let error = scene.pack(&recipient, vec![(row, row + 1)]).unwrap_err();
        assert!(
            matches!(error, PackError::Differ { count: 1, .. }),
            "{at}: {error}"
        );
        scene.nothing_is_left();
    }
}

#[test]
fn a_file_that_changes_between_the_two_readings_makes_no_parcel() {
    let size = 64_u64 << 20;
    let scene = Scene::new(|tree| fs::write(tree.join("big"), vec![1; size as usize]).unwrap());
    let (_, recipient) = owner();
    let progress = Progress::default();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The first reading is over once all of its bytes were seen.
            while progress.bytes.load(Ordering::Relaxed) < size {
                std::thread::yield_now();
            }
            let file = File::options()
                .write(true)
                .open(scene.tree.path().join("big"));
            std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), b"x", size - 1).unwrap();
        });
        scene
            .pack_with(&recipient, scene.all(), &progress)
            .unwrap_err()
    });
    assert!(
        progress.bytes.load(Ordering::Relaxed) > size,
        "it was read twice"
    );
    assert!(
        matches!(error, PackError::Differ { count: 1, .. }),
        "{error}"
    );
    scene.nothing_is_left();
}

#[test]
fn a_manifest_that_is_not_the_sealed_one_makes_no_parcel() {
    let scene = Scene::new(odd_tree);
    let (_, recipient) = owner();
    let manifest = scene.out.path().join("manifest");
    let stored: Vec<_> = Reader::open(File::open(&manifest).unwrap())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // Somebody makes the manifest say what he put into the tree, with fitting leaves.
    let mut writer = Writer::new(File::create(&manifest).unwrap(), &[]).unwrap();
    for stored in stored {
        let mut row = stored.row.unwrap();
        if row.path == b"bob/secret" {
            row.sha256 = Some(Digest::of(b"planted"));
            row.size = 7;
        }
        let salt = key().salt_row(row.index);
        let leaf = custody::manifest::leaf::leaf_hash(&row, &salt);
        writer.push(row, leaf).unwrap();
    }
    writer.finish().unwrap();
    fs::write(scene.tree.path().join("bob/secret"), b"planted").unwrap();
    let error = scene.pack(&recipient, scene.all()).unwrap_err();
    let differs = matches!(
        &error,
        PackError::Rows {
            error: RowsError::Differs,
            ..
        }
    );
    assert!(differs, "{error}");
    scene.nothing_is_left();
}

#[test]
fn a_bad_key_or_a_row_that_is_not_there_makes_no_parcel() {
    let scene = Scene::new(odd_tree);
    let (_, recipient) = owner();
    let refused = scene.pack("age1nonsense", scene.all()).unwrap_err();
    assert!(matches!(refused, PackError::Recipient));
    let end = scene.rows.len() as u64;
    let missing = scene.pack(&recipient, vec![(0, end + 1)]).unwrap_err();
    let missing = matches!(
        &missing,
        PackError::Rows {
            error: RowsError::Missing(_),
            ..
        }
    );
    assert!(missing);
    scene.nothing_is_left();
}

#[test]
fn packing_that_is_stopped_leaves_nothing_behind() {
    let scene = Scene::new(odd_tree);
    let (_, recipient) = owner();
    let progress = Progress::default();
    progress.stop.store(true, Ordering::Relaxed);
    let stopped = scene.pack_with(&recipient, scene.all(), &progress);
    assert!(matches!(stopped, Err(PackError::Stopped)));
    scene.nothing_is_left();
}

//! A capture that was killed goes on: what it had sealed is not hashed again, what has changed since
//! is, and the sealed root is that of a capture that nothing interrupted.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use agent::{
    capture::{
        seal::{Capture, CaptureError, Progress, Sealed, capture_with},
        shared::Shared,
    },
    enforce::Source,
    guest::Guest,
};
use common::trees;
use custody::{
    house::{limits::Limits, regime::Holding},
    id::SnapshotId,
    manifest::leaf::SnapshotKey,
};

/// Files, and bytes in each: enough to be killed in between.
const FILES: u64 = 960;
const EACH: u64 = 64 << 10;
/// Files that two readers may have read and that are not sealed yet.
const UNSEALED: u64 = 2 * 64 + 16;

fn plant(root: &Path) {
    for n in 0..FILES {
        let folder = root.join(format!("{:02}", n / 80));
        fs::create_dir_all(&folder).unwrap();
        let byte = u8::try_from(n % 251).unwrap();
        fs::write(folder.join(format!("file-{n}")), vec![byte; EACH as usize]).unwrap();
    }
    // Other names of a file are not hashed twice either.
    fs::hard_link(root.join("00/file-0"), root.join("11/zz-again")).unwrap();
    // What was changed within a second before the start is not believed.
    std::thread::sleep(Duration::from_millis(1100));
}

struct Taken {
    sealed: Result<Sealed, CaptureError>,
    /// Bytes that were read and hashed.
    hashed: u64,
}

/// Captures; stops after so many bytes were read, if that is given.
fn take(source: &Source, out: &Path, stop_after: Option<u64>) -> Taken {
    let progress = Arc::new(Progress::default());
    let shared = match stop_after {
        None => Shared::default(),
        Some(most) => {
            let (progress, read) = (Arc::clone(&progress), std::sync::atomic::AtomicU64::new(0));
            Shared::asking(Box::new(move |bytes| {
                // So slowly that the sealing keeps up.
                std::thread::sleep(Duration::from_micros(300));
                if read.fetch_add(bytes as u64, Ordering::Relaxed) > most {
                    progress.stop.store(true, Ordering::Relaxed);
                }
            }))
        }
    };
    let what = Capture {
        root: source.root.as_fd(),
        relative: &source.relative,
        exclude: source.exclude.clone(),
        origins: source.origins.clone(),
        snapshot: SnapshotId::from_random([2; 16]),
        key: &SnapshotKey::from_random([1; 32]),
        out,
        threads: 2,
    };
    let sealed = capture_with(&what, &shared, &progress);
    let known = progress.known.load(Ordering::Relaxed);
    Taken {
        sealed,
        hashed: progress.bytes.load(Ordering::Relaxed) - known,
    }
}

fn plain(root: &Path) -> Source {
    Source {
        root: File::open(root).unwrap().into(),
        root_path: root.to_owned(),
        relative: PathBuf::new(),
        exclude: Vec::new(),
        origins: None,
    }
}

fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".parts.")).collect()
}

/// Stops a capture in the middle, twice, and lets it end; it must come to what one that nobody
/// stopped came to.
fn goes_on(source: &Source, state: &Path, files: u64) {
    let (out, other) = (state.join("snap.parquet"), state.join("other.parquet"));
    let whole = take(source, &other, None);
    let expected = whole.sealed.unwrap();
    assert_eq!(whole.hashed, files * EACH);
    let third = FILES * EACH / 3;
    let first = take(source, &out, Some(third));
    assert!(matches!(first.sealed, Err(CaptureError::Stopped)));
    let second = take(source, &out, Some(third));
    assert!(matches!(second.sealed, Err(CaptureError::Stopped)));
    assert_eq!(left_over(state).len(), 2, "a log for each start");
    let last = take(source, &out, None);
    let sealed = last.sealed.unwrap();
    assert_eq!(
        (sealed.root, sealed.rows, sealed.bytes),
        (expected.root, expected.rows, expected.bytes)
    );
    assert_eq!(sealed.manifest, expected.manifest, "to the byte");
    let all = first.hashed + second.hashed + last.hashed;
    // What was under way at each stop is read again, and what waited for it to be sealed.
    assert!(all < (files + 2 * UNSEALED) * EACH, "{all}");
    assert!(
        last.hashed < 2 * third,
        "{} of {}",
        last.hashed,
        FILES * EACH
    );
    assert_eq!(
        left_over(state),
        Vec::<String>::new(),
        "removed once it is sealed"
    );
}

#[test]
fn a_capture_that_was_stopped_goes_on_from_what_was_sealed() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(tree.path());
    goes_on(&plain(tree.path()), state.path(), FILES);
}

#[test]
fn a_capture_of_a_vault_goes_on_too() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root.path().canonicalize().unwrap();
    let data = root.join("data");
    plant(&data);
    let keeper = trees::keeper(state.path(), &root);
    let raised = keeper.raise(trees::target(1), &data, Holding::Preserve, &trees::on());
    raised.unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let source = keeper.source(trees::target(1)).unwrap();
    // Each name of a file has a copy of its own.
    goes_on(&source, state.path(), FILES + 1);
    keeper.lower(trees::target(1), &trees::on()).unwrap();
}

#[test]
fn what_changed_between_two_starts_is_hashed_again() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(tree.path());
    let out = state.path().join("snap.parquet");
    let first = take(&plain(tree.path()), &out, Some(FILES * EACH / 2));
    assert!(first.hashed > 0);
    // The same length and the same time of change, as a forger would; and one that is gone.
    let forged = tree.path().join("00/file-1");
    let before = fs::metadata(&forged).unwrap().modified().unwrap();
    fs::write(&forged, vec![99; EACH as usize]).unwrap();
    File::open(&forged).unwrap().set_modified(before).unwrap();
    fs::remove_file(tree.path().join("00/file-2")).unwrap();
    let again = take(&plain(tree.path()), &out, None);
    let fresh = take(
        &plain(tree.path()),
        &state.path().join("fresh.parquet"),
        None,
    );
    assert_eq!(again.sealed.unwrap().root, fresh.sealed.unwrap().root);
    assert!(again.hashed < fresh.hashed, "the rest was known");
}

#[test]
#[ignore = "the child of another test"]
fn child_that_captures_until_it_is_killed() {
    let Ok(folder) = std::env::var("HOLDFAST_RESUME_CHILD") else {
        return;
    };
    let folder = Path::new(&folder);
    // The whole takes about four seconds.
    let limits = Limits {
        read_bytes: Some(FILES * EACH / 4),
        ..Limits::default()
    };
    let guest = Guest::new(limits, 0);
    let shared = Shared::asking(Box::new(move |bytes| {
        guest.before_read(bytes, || false).unwrap();
    }));
    let source = plain(&folder.join("tree"));
    let what = Capture {
        root: source.root.as_fd(),
        relative: Path::new(""),
        exclude: Vec::new(),
        origins: None,
        snapshot: SnapshotId::from_random([2; 16]),
        key: &SnapshotKey::from_random([1; 32]),
        out: &folder.join("snap.parquet"),
        threads: 2,
    };
    capture_with(&what, &shared, &Progress::default()).unwrap();
}

#[test]
fn a_capture_that_was_killed_reads_only_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "child_that_captures_until_it_is_killed",
        ])
        .env("HOLDFAST_RESUME_CHILD", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let log = folder.path().join("snap.parts.1");
    let long = || fs::metadata(&log).is_ok_and(|found| found.len() > 3000);
    while !long() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(long(), "nothing was kept");
    assert!(!folder.path().join("snap.parquet").exists());
    let out = folder.path().join("snap.parquet");
    let rest = take(&plain(&tree), &out, None);
    let whole = take(&plain(&tree), &folder.path().join("whole.parquet"), None);
    assert_eq!(rest.sealed.unwrap().root, whole.sealed.unwrap().root);
    assert_eq!(whole.hashed, FILES * EACH);
    assert!(rest.hashed + 20 * EACH < whole.hashed, "{}", rest.hashed);
    assert_eq!(left_over(folder.path()), Vec::<String>::new());
}

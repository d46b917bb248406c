//! Captures and releases of what is held in an object store, against a real S3-compatible server.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/s3.rs"]
mod s3;
#[path = "common/stage.rs"]
mod stage;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::OnceLock,
};

use agent::{
    capture::{
        objects::{ObjectCapture, StoreSource, capture_objects},
        seal::{CaptureError, Progress as Reading, Sealed},
        shared::Shared,
    },
    config::Config,
    enforce::{Keeper, Progress, objects::Objects},
    release::{
        pack::{PackError, Packed, Packing, pack},
        reread::Base,
        rows::Part,
    },
};
use custody::{
    digest::Digest,
    house::{mechanism::Mechanism, ranges::Ranges, regime::Holding},
    id::{ReleaseId, SnapshotId, TargetId},
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
        row::{Kind, Row, Status},
    },
    statement::Body,
};
use proto::v1::{
    Capture, Holding as WireHolding, Lower, Pack, PackRows, Raise, RowRange, task::Task as Wire,
};
use s3::{Bucket, S3};
use serde_json::json;
use stage::{Host, said, task};

fn store(test: &str) -> Option<&'static S3> {
    static STORE: OnceLock<Option<S3>> = OnceLock::new();
    STORE.get_or_init(|| S3::start(test, &[])).as_ref()
}

fn key() -> SnapshotKey {
    SnapshotKey::from_random([4; 32])
}

/// A held target, and where its manifest and parcels go.
struct Scene {
    folder: tempfile::TempDir,
    keeper: Keeper,
}

const TARGET: TargetId = TargetId::from_random([1; 16]);

impl Scene {
    fn new(s3: &S3, bucket: &Bucket<'_>, path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(&folder.path().join("holds"), Vec::new()).unwrap();
        let config = s3.config(&bucket.name, "", 0);
        keeper.with_objects(Objects::new(vec![config]).with_page(4));
        let progress = Progress::default();
        keeper
            .raise(TARGET, Path::new(path), Holding::Preserve, &progress)
            .unwrap();
        Self { folder, keeper }
    }

    fn source(&self) -> StoreSource {
        self.keeper.store_source(TARGET).unwrap().unwrap()
    }

    fn capture(&self) -> Result<(Sealed, Vec<Row>), CaptureError> {
        self.capture_with(&Shared::default(), &Reading::default())
    }

    fn capture_with(
        &self,
        shared: &Shared,
        reading: &Reading,
    ) -> Result<(Sealed, Vec<Row>), CaptureError> {
        let out = self.folder.path().join("manifest");
        let _ = std::fs::remove_file(&out);
        let what = ObjectCapture {
            source: &self.source(),
            snapshot: SnapshotId::from_random([2; 16]),
            key: &key(),
            out: &out,
        };
        let sealed = capture_objects(&what, shared, reading)?;
        let open = || Reader::open(File::open(&out).unwrap()).unwrap();
        let checked = check(open(), Some(&key()), &sealed.root).unwrap();
        assert_eq!((checked.rows, checked.bytes), (sealed.rows, sealed.bytes));
        assert!(checked.recomputed && checked.unreadable == sealed.unreadable);
        let rows = open().map(|stored| stored.unwrap().row.unwrap());
        Ok((sealed, rows.collect()))
    }

    fn pack(&self, root: Digest, rows: u64, chosen: Vec<(u64, u64)>) -> Result<Packed, PackError> {
        let part = Part {
            snapshot: SnapshotId::from_random([2; 16]),
            manifest: self.folder.path().join("manifest"),
            root,
            rows,
            key: key(),
            chosen: Ranges::from_unsorted(chosen),
        };
        let identity = age::x25519::Identity::generate();
        let what = Packing {
            release: ReleaseId::from_random([3; 16]),
            recipient: &identity.to_public().to_string(),
            parts: &[(part, Base::store(self.source()).unwrap())],
            out: &self.folder.path().join("parcel"),
            pace: &|_| {},
        };
        let packed = pack(&what, &Reading::default(), |_| Ok(()))?;
        let sealed = File::open(self.folder.path().join("parcel")).unwrap();
        let opened = age::Decryptor::new(sealed).unwrap();
        let opened = opened.decrypt(std::iter::once(&identity as _)).unwrap();
        let unpacked = self.folder.path().join("unpacked");
        let _ = std::fs::remove_dir_all(&unpacked);
        tar::Archive::new(opened).unpack(&unpacked).unwrap();
        Ok(packed)
    }

    fn unpacked(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("unpacked/files/0").join(name)).ok()
    }
}

/// The attributes of a row.
fn attributes(row: &Row) -> BTreeMap<String, String> {
    let mut rest = row.xattrs.as_deref().unwrap();
    let mut all = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (value, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        all.push(String::from_utf8(value.to_vec()).unwrap());
        rest = behind;
    }
    let pairs: Vec<_> = all
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    assert!(pairs.is_sorted(), "in the order of names");
    pairs.into_iter().collect()
}

fn path(row: &Row) -> String {
    String::from_utf8(row.path.clone()).unwrap()
}

#[test]
fn every_version_has_a_row_with_the_hash_of_what_was_put() {
    let Some(s3) = store("every_version_has_a_row_with_the_hash_of_what_was_put") else {
        return;
    };
    let bucket = s3.bucket(true);
    let mut put: BTreeMap<String, String> = BTreeMap::new();
    let mut write = |key: &str, body: &str| {
        let id = bucket.put(key, body);
        put.insert(id.clone(), body.to_owned());
        id
    };
    let old = write("alice/mail/one", "first");
    write("alice/mail/one", "second");
    write("alice/ü & \u{1}<>+ ?", "odd name");
    write("alice/../../etc/passwd", "led astray");
    write("alice/folder/", "");
    write("alice/mail/one/inside", "below an object");
    write("alice/gone", "deleted later");
    write("alice2/x", "a namesake's");
    bucket
        .call("delete_object", json!({"Key": "alice/gone"}))
        .unwrap();
    let meta = json!({"Key": "alice/large", "Body": {"repeat": "0123456789abcdef", "times": 300_000},
        "ContentType": "image/x", "Metadata": {"owner": "Alice"}, "ContentDisposition": "inline"});
    let large = bucket.call("put_object", meta).unwrap();
    let large = large["VersionId"].as_str().unwrap().to_owned();
    put.insert(large.clone(), "0123456789abcdef".repeat(300_000));

    let scene = Scene::new(s3, &bucket, "/s3/archive/alice");
    // What comes later is in no row.
    bucket.put("alice/later", "later");
    bucket.put("alice/mail/one", "third");
    let (sealed, rows) = scene.capture().unwrap();
    let paths: Vec<_> = rows.iter().map(path).collect();
    let older = |path: &str| {
        paths
            .iter()
            .filter(|p| p.starts_with(&format!("{path}?v")))
            .count()
    };
    assert_eq!(rows.len(), 10, "{paths:?}");
    assert!(paths.contains(&"?key=%2Fmail%2Fone%2Finside".to_owned()));
    assert_eq!((paths[0].as_str(), rows[0].kind), (".", Kind::Folder));
    assert_eq!(attributes(&rows[0])["s3.bucket"], bucket.name);
    assert!(paths.contains(&"?key=%2F%2E%2E%2F%2E%2E%2Fetc%2Fpasswd".to_owned()));
    assert!(paths.contains(&"?key=%2Ffolder%2F".to_owned()));
    assert!(paths.contains(&format!("mail/one?versionId={old}")));
    assert_eq!(
        (older("mail/one"), older("gone"), older("large")),
        (1, 1, 0)
    );
    assert!(paths.contains(&"ü & \u{1}<>+ ?".to_owned()), "{paths:?}");
    let (mut bytes, mut seen) = (0, 0);
    for row in &rows[1..] {
        let about = attributes(row);
        assert_eq!(row.kind, Kind::File);
        assert!(row.mtime_ns > 1_700_000_000_000_000_000);
        if row.status == Status::NotOpened {
            assert_eq!((path(row).as_str(), row.sha256), ("gone", None));
            assert_eq!(row.reason.as_deref(), Some("delete-marker"));
            continue;
        }
        let body = &put[&about["s3.version-id"]];
        assert_eq!(row.status, Status::Read, "{:?}", row.reason);
        assert_eq!(
            row.sha256,
            Some(Digest::of(body.as_bytes())),
            "{}",
            path(row)
        );
        assert_eq!(row.size, body.len() as u64);
        assert!(about["s3.key"].starts_with("alice/") && !about["s3.etag"].is_empty());
        (bytes, seen) = (bytes + row.size, seen + 1);
    }
    assert_eq!((sealed.bytes, sealed.unreadable, seen), (bytes, 0, 8));
    let about = rows
        .iter()
        .map(attributes)
        .find(|a| a.get("s3.version-id") == Some(&large));
    let about = about.unwrap();
    assert_eq!(about["s3.header.content-type"], "image/x");
    assert_eq!(about["s3.header.x-amz-meta-owner"], "Alice");
    assert_eq!(about["s3.storage-class"], "STANDARD");

    let again = scene.capture().unwrap().0;
    assert_eq!(
        again, sealed,
        "captured again it is the same to the last byte"
    );
}

/// Passes connections on to a store, and breaks each off after so many bytes of its answers.
fn breaking(endpoint: &str, after: u64) -> String {
    let at = endpoint.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(&at).unwrap());
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&far).take(after), &mut &near);
                let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
            });
        }
    });
    format!("http://{here}")
}

#[test]
fn connections_that_break_off_are_gone_on_from_and_the_hash_is_the_same() {
    let Some(s3) = store("connections_that_break_off_are_gone_on_from") else {
        return;
    };
    let bucket = s3.bucket(true);
    let body =
        json!({"Key": "alice/large", "Body": {"repeat": "0123456789abcdef", "times": 500_000}});
    bucket.call("put_object", body).unwrap();
    bucket.put("alice/small", "small");
    let mut scene = Scene::new(s3, &bucket, "/s3/archive/alice");
    let mut config = s3.config(&bucket.name, "", 0);
    // Eight times in the middle of the large one.
    config.endpoint = breaking(&s3.endpoint, 1_000_000);
    scene.keeper.with_objects(Objects::new(vec![config]));
    let (sealed, rows) = scene.capture().unwrap();
    assert_eq!((sealed.rows, sealed.bytes), (3, 8_000_005));
    let large = Digest::of("0123456789abcdef".repeat(500_000).as_bytes());
    assert_eq!(
        (rows[1].status, rows[1].sha256),
        (Status::Read, Some(large))
    );
    let packed = scene.pack(sealed.root, sealed.rows, vec![(1, 3)]).unwrap();
    assert_eq!(packed.files, 2);
}

#[test]
fn a_target_that_is_one_object_is_captured_as_one_file() {
    let Some(s3) = store("a_target_that_is_one_object_is_captured_as_one_file") else {
        return;
    };
    let bucket = s3.bucket(true);
    let old = bucket.put("alice/report.pdf", "draft");
    bucket.put("alice/report.pdf", "final");
    bucket.put("alice/report.pdf2", "another");
    let scene = Scene::new(s3, &bucket, "/s3/archive/alice/report.pdf");
    let (_, rows) = scene.capture().unwrap();
    let paths: Vec<_> = rows.iter().map(path).collect();
    assert_eq!(
        paths,
        [
            "report.pdf".to_owned(),
            format!("report.pdf?versionId={old}")
        ]
    );
    assert_eq!(rows[0].sha256, Some(Digest::of(b"final")));
}

#[test]
fn what_cannot_be_read_is_a_row_and_what_was_stopped_leaves_no_manifest() {
    let Some(s3) = S3::start("what_cannot_be_read_is_a_row", &["--keys"]) else {
        return;
    };
    let bucket = s3.bucket(true);
    let gone = bucket.put("alice/gone", "gone");
    bucket.put("alice/secret", "not for the agent");
    bucket.put("alice/kept", "kept");
    let mut scene = Scene::new(&s3, &bucket, "/s3/archive/alice");
    let config = s3.config(&bucket.name, "", 2);
    scene.keeper.with_objects(Objects::new(vec![config]));
    bucket.hold("alice/gone", &gone, "OFF");
    bucket.delete("alice/gone", &gone).unwrap();
    let (sealed, rows) = scene.capture().unwrap();
    let of = |name: &str| rows.iter().find(|row| path(row) == name).unwrap();
    let why = |name: &str| (of(name).status, of(name).reason.clone());
    assert_eq!(
        why("gone"),
        (Status::Unreadable, Some("version-gone".to_owned()))
    );
    assert_eq!(
        why("secret"),
        (Status::Unreadable, Some("AccessDenied".to_owned()))
    );
    assert_eq!(why("kept"), (Status::Read, None));
    assert_eq!((sealed.rows, sealed.unreadable, sealed.bytes), (4, 2, 4));

    let reading = Reading::default();
    reading
        .stop
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = scene
        .capture_with(&Shared::default(), &reading)
        .unwrap_err();
    assert!(matches!(stopped, CaptureError::Stopped));
    assert!(!scene.folder.path().join("manifest").exists());
}

#[test]
fn a_release_reads_the_version_again_and_packs_it_under_its_own_name() {
    let Some(s3) = store("a_release_reads_the_version_again") else {
        return;
    };
    let bucket = s3.bucket(true);
    let old = bucket.put("alice/mail/one", "first");
    bucket.put("alice/mail/one", "second");
    bucket.put("alice/../../escape", "led astray");
    bucket.put("alice/mail/one/inside", "below an object");
    let scene = Scene::new(s3, &bucket, "/s3/archive/alice");
    let (sealed, rows) = scene.capture().unwrap();
    // The living object is another one by now.
    bucket.put("alice/mail/one", "third");
    let packed = scene
        .pack(sealed.root, sealed.rows, vec![(0, sealed.rows)])
        .unwrap();
    assert_eq!(packed.files, 4);
    assert_eq!(scene.unpacked("mail/one").unwrap(), "second");
    assert_eq!(
        scene
            .unpacked(&format!("mail/one?versionId={old}"))
            .unwrap(),
        "first"
    );
    let escape = "?key=%2F%2E%2E%2F%2E%2E%2Fescape";
    assert_eq!(scene.unpacked(escape).unwrap(), "led astray");
    let inside = scene.unpacked("?key=%2Fmail%2Fone%2Finside").unwrap();
    assert_eq!(inside, "below an object", "a file and a folder of one name");

    // A version that was removed by force is not replaced by a newer one.
    bucket.hold("alice/mail/one", &old, "OFF");
    bucket.delete("alice/mail/one", &old).unwrap();
    let at = rows
        .iter()
        .position(|row| path(row).ends_with(&old))
        .unwrap() as u64;
    let refused = scene
        .pack(sealed.root, sealed.rows, vec![(at, at + 1)])
        .unwrap_err();
    assert!(
        matches!(refused, PackError::Differ { count: 1, .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_in_a_store_from_hold_to_parcel_and_back() {
    let Some(s3) = store("a_case_in_a_store_from_hold_to_parcel_and_back") else {
        return;
    };
    let bucket = s3.bucket(true);
    let ids = ["1", "2"].map(|body| bucket.put("alice/mail/one", body));
    let host = Host::new().await;
    let mut config = Config::load(&host.place).unwrap();
    config.stores.push(s3.config(&bucket.name, "", 0));
    config.store(&host.place).unwrap();
    let (alice, nobody) = (
        b"/s3/archive/alice".to_vec(),
        b"/s3/archive/nobody".to_vec(),
    );
    host.coordinator
        .set(|script| script.locate = vec![alice.clone(), nobody]);
    let snapshot = SnapshotId::from_random([5; 16]).to_string();
    let raise = Raise {
        target: stage::target(1).to_string(),
        path: alice.clone().into(),
        holding: WireHolding::Freeze.into(),
        ..Raise::default()
    };
    let capture = Capture {
        snapshot: snapshot.clone(),
        target: stage::target(1).to_string(),
    };
    host.tasks(vec![
        task(Wire::Raise(raise), 5),
        task(Wire::Capture(capture), 6),
    ]);
    let running = host.run();
    host.coordinator
        .until("sealed", said("snapshot.sealed", 1))
        .await;
    host.coordinator
        .until("found", |script| !script.found.is_empty())
        .await;
    assert_eq!(
        host.coordinator.get(|s| s.found[0].clone()),
        [alice.clone()]
    );
    let store = host.coordinator.get(|s| s.hellos[0].roots[1].clone());
    assert_eq!(
        (&store.path[..], &*store.file_system),
        (&b"/s3/archive"[..], "s3")
    );
    let bodies = host.coordinator.bodies();
    let raised = bodies.iter().find_map(|body| match body {
        Body::HoldRaised(raised) => Some(raised.clone()),
        _ => None,
    });
    let raised = raised.unwrap();
    assert_eq!((raised.mechanism, raised.files), (Mechanism::ObjectLock, 2));
    assert!(bodies.iter().any(|body| body.kind() == "hold.verified"));
    let sealed = bodies.iter().find_map(|body| match body {
        Body::SnapshotSealed(sealed) => Some(sealed.clone()),
        _ => None,
    });
    let sealed = sealed.unwrap();
    assert_eq!((sealed.rows, sealed.bytes, sealed.unreadable), (3, 2, 0));
    running.stop().await.unwrap();

    let identity = age::x25519::Identity::generate();
    let pack = Pack {
        release: ReleaseId::from_random([6; 16]).to_string(),
        recipient: identity.to_public().to_string(),
        rows: vec![PackRows {
            snapshot,
            target: stage::target(1).to_string(),
            ranges: vec![RowRange { first: 1, end: 3 }],
        }],
    };
    let lower = Lower {
        target: stage::target(1).to_string(),
    };
    host.tasks(vec![task(Wire::Pack(pack), 7)]);
    let running = host.run();
    host.coordinator
        .until("packed", said("release.packed", 1))
        .await;
    running.stop().await.unwrap();
    assert!(ids.iter().all(|id| bucket.is_held("alice/mail/one", id)));
    host.tasks(vec![task(Wire::Lower(lower), 8)]);
    let running = host.run();
    host.coordinator
        .until("lowered", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
    assert!(ids.iter().all(|id| !bucket.is_held("alice/mail/one", id)));
}

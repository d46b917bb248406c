//! Manifests: a row for every version that is held.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
};

use agent::{
    capture::{
        objects::{ObjectCapture, StoreSource, capture_objects},
        seal::{CaptureError, Progress as Reading, Sealed},
        shared::Shared,
    },
    enforce::{Keeper, Progress, objects::Objects},
    release::{
        pack::{PackError, Packed, Packing, pack},
        reread::Base,
        rows::Part,
    },
};
use custody::{
    digest::Digest,
    house::{ranges::Ranges, regime::Holding},
    id::{ReleaseId, SnapshotId, TargetId},
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
        row::{Kind, Row, Status},
    },
};
use serde_json::json;

use crate::{
    s3::{Bucket, S3},
    store,
};

pub fn key() -> SnapshotKey {
    SnapshotKey::from_random([4; 32])
}

/// A held target, and where its manifest and parcels go.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub keeper: Keeper,
}

pub const TARGET: TargetId = TargetId::from_random([1; 16]);

impl Scene {
    pub fn new(s3: &S3, bucket: &Bucket<'_>, path: &str) -> Self {
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

    pub fn source(&self) -> StoreSource {
        self.keeper.store_source(TARGET).unwrap().unwrap()
    }

    pub fn capture(&self) -> Result<(Sealed, Vec<Row>), CaptureError> {
        self.capture_with(&Shared::default(), &Reading::default())
    }

    pub fn capture_with(
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

    pub fn pack(
        &self,
        root: Digest,
        rows: u64,
        chosen: Vec<(u64, u64)>,
    ) -> Result<Packed, PackError> {
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

    pub fn unpacked(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("unpacked/files/0").join(name)).ok()
    }
}

/// The attributes of a row.
pub fn attributes(row: &Row) -> BTreeMap<String, String> {
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

pub fn path(row: &Row) -> String {
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

//! `holdfast verify` as people run it: folders on disk, the report, the exit code.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "parcel_support/mod.rs"]
mod parcel_support;
#[path = "../../custody/tests/support/mod.rs"]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use parcel_support::{Owner, pack};
use serde_json::{Value, json};
use support::{Log, Manifest};

fn verify(arguments: &[&str]) -> (i32, Value) {
    let output = assert_cmd::Command::cargo_bin("holdfast")
        .unwrap()
        .args(["--json", "verify"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{text}"));
    (output.status.code().unwrap(), value)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn manifest() -> Manifest {
    Manifest::of(&[("a.txt", b"hello"), ("b.txt", b"world")])
}

struct Case {
    folder: tempfile::TempDir,
    log: Log,
    manifest: Manifest,
    owner: Owner,
}

/// A demo's folder, as `holdfast demo` leaves it, and an export of its snapshot.
fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let (manifest, owner) = (manifest(), Owner::new());
    let parcel = pack(&manifest, &owner);
    let log = Log::story(&manifest, &owner.public, &parcel);
    support::write(&at("server/log"), &log.files());
    let vkey = format!("{}\n", log.vkey());
    let put = |path: &str, bytes: &[u8]| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), bytes).unwrap();
    };
    put("server/log.vkey", vkey.as_bytes());
    put("trusted.vkey", vkey.as_bytes());
    put("server/manifests/s.parquet", &manifest.file);
    put("released/alice.tar.age", &parcel);
    put(
        "released/alice.receipt.json",
        &serde_json::to_vec(&log.receipt()).unwrap(),
    );
    put("owners/alice/key.txt", owner.secret.as_bytes());
    cli::parcel::open(
        &at("released/alice.tar.age"),
        &at("owners/alice/key.txt"),
        &at("released/alice"),
    )
    .unwrap();
    let (bytes, rows) = (10, manifest.rows.len());
    let summary = json!({
        "log": "server/log", "vkey": "server/log.vkey",
        "snapshots": [{"id": support::snapshot().to_string(), "manifest": "server/manifests/s.parquet",
            "root": manifest.root.to_string(), "rows": rows, "bytes": bytes}],
        "releases": [{"id": support::release().to_string(), "parcel": "released/alice.tar.age",
            "identity": "owners/alice/key.txt", "opened": "released/alice",
            "receipt": "released/alice.receipt.json"}],
    });
    put("summary.json", summary.to_string().as_bytes());
    let sealed = (0..log.size())
        .find(|i| log.body(*i).kind() == "snapshot.sealed")
        .unwrap();
    let card = json!({
        "format": "holdfast-snapshot/1", "snapshot": support::snapshot(), "agent": support::agent(),
        "target": support::target(), "root": manifest.root, "rows": rows, "bytes": bytes,
        "unreadable": 0, "manifest": custody::digest::Digest::of(&manifest.file),
    });
    put("export/snapshot.json", card.to_string().as_bytes());
    put("export/manifest.parquet", &manifest.file);
    put("export/sealed.entry", &log.entries[sealed as usize]);
    put("export/sealed.tlog-proof", log.proof_of(sealed).as_bytes());
    put("export/log.vkey", vkey.as_bytes());
    put(
        "export/salt-key",
        hex::encode(manifest.key.secret_bytes()).as_bytes(),
    );
    put("order/order.entry", &log.entries[12]);
    put("order/order.tlog-proof", log.proof_of(12).as_bytes());
    put("order/checkpoint", log.checkpoint_at(log.size()).as_bytes());
    put("order/log.vkey", vkey.as_bytes());
    Case {
        folder,
        log,
        manifest,
        owner,
    }
}

impl Case {
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    fn vkey(&self) -> String {
        text(&self.at("trusted.vkey")).to_owned()
    }
    /// What verifying a path comes to under the key from outside.
    fn check(&self, path: &str) -> (i32, Value) {
        verify(&[text(&self.at(path)), "--vkey", &self.vkey()])
    }
}

#[test]
fn whole_things_are_valid_under_a_key_from_outside_and_unanchored_without() {
    let case = case();
    for (path, subject) in [
        ("server/log", "log"),
        ("export", "snapshot"),
        ("released", "release"),
        ("released/alice.receipt.json", "receipt"),
        ("order", "order-receipt"),
    ] {
        let (exit, report) = case.check(path);
        assert_eq!(
            (exit, report["verdict"].as_str()),
            (0, Some("valid")),
            "{path}: {report}"
        );
        assert_eq!(report["subject"], subject);
        let (exit, report) = verify(&[text(&case.at(path))]);
        assert_eq!(
            (exit, report["verdict"].as_str()),
            (5, Some("unanchored")),
            "{path}: {report}"
        );
    }
    let older = case.at("older");
    fs::write(&older, case.log.checkpoint_at(20)).unwrap();
    let (exit, report) = verify(&[text(&case.at("server/log")), "--checkpoint", text(&older)]);
    assert_eq!(exit, 0, "{report}");
}

#[test]
fn a_demo_is_verified_whole_and_no_key_inside_its_folder_anchors_it() {
    let case = case();
    let key = case.vkey();
    let (exit, report) = verify(&[text(case.folder.path()), "--vkey", &key]);
    assert_eq!(exit, 0, "{report}");
    assert_eq!(report["facts"]["manifests_verified"], 1);
    assert_eq!(report["facts"]["parcels_verified"], 1);
    assert_eq!(verify(&[text(case.folder.path())]).0, 5);
}

#[test]
fn another_key_is_never_enough() {
    let case = case();
    let other = custody::ledger::note::NoteKey::from_seed(support::ORIGIN, 1, &[1; 32]).unwrap();
    let other = other.verifier().to_string();
    for path in ["server/log", "export", "released", "order", "."] {
        let (exit, report) = verify(&[text(&case.at(path)), "--vkey", &other]);
        assert_eq!(exit, 4, "{path}: {report}");
    }
}

/// A byte changed, the file cut, emptied, deleted, filled with garbage.
fn damages(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut all: Vec<Option<Vec<u8>>> = vec![
        None,
        Some(Vec::new()),
        Some(bytes[..bytes.len() / 2].to_vec()),
        Some(vec![0xa5; bytes.len()]),
    ];
    for at in [0, bytes.len() / 3, bytes.len() - 1] {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 4;
        all.push(Some(flipped));
    }
    all
}

#[test]
fn whatever_is_done_to_any_file_of_a_demo_it_does_not_verify_and_is_named() {
    let case = case();
    let mut checks = 0;
    let key = case.vkey();
    let look = || verify(&[text(case.folder.path()), "--vkey", &key]);
    let files = [
        ("server/log/checkpoint", "checkpoint"),
        ("server/manifests/s.parquet", "s.parquet"),
        ("released/alice.tar.age", "alice.tar.age"),
        ("released/alice.receipt.json", "release "),
        ("released/alice/a.txt", "opened"),
        ("server/log.vkey", "vkey"),
    ];
    for (path, named) in files {
        let path = case.at(path);
        let before = fs::read(&path).unwrap();
        for damage in damages(&before) {
            match &damage {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (exit, report) = look();
            let gone_key = named == "vkey" && damage.is_none();
            assert_eq!(
                exit,
                if gone_key { 0 } else { 4 },
                "{}: {report}",
                path.display()
            );
            let findings = report["findings"].as_array().unwrap();
            let places = findings.iter().filter(|f| f["level"] == "broken");
            let mut places = places.map(|f| f["place"].as_str().unwrap());
            assert!(
                gone_key || places.any(|p| p.contains(named)),
                "{named}: {report}"
            );
            checks += 1;
        }
        fs::write(&path, &before).unwrap();
    }
    assert_eq!(checks, files.len() * 7);
    assert_eq!(look().0, 0);
}

#[test]
fn whatever_is_done_to_a_snapshot_export_it_does_not_verify() {
    let case = case();
    for name in [
        "manifest.parquet",
        "snapshot.json",
        "sealed.entry",
        "sealed.tlog-proof",
        "salt-key",
    ] {
        let path = case.at("export").join(name);
        let before = fs::read(&path).unwrap();
        for damage in damages(&before) {
            match &damage {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (exit, report) = case.check("export");
            let fine = name == "salt-key" && damage.is_none();
            assert_eq!(exit, if fine { 0 } else { 4 }, "{name}: {report}");
        }
        fs::write(&path, &before).unwrap();
    }
}

#[test]
fn a_parcel_that_is_another_releases_is_found() {
    let case = case();
    fs::write(
        case.at("released/alice.tar.age"),
        pack(&case.manifest, &case.owner),
    )
    .unwrap();
    let (exit, report) = case.check("released");
    assert_eq!(exit, 4, "{report}");
    assert!(report.to_string().contains("parcel.digest"));
}

#[test]
fn what_is_nothing_to_verify_is_a_mistake_and_what_is_not_there_is_the_world() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(&[text(folder.path())]).0, 2);
    assert_eq!(verify(&[text(&folder.path().join("no"))]).0, 1);
    let case = case();
    assert_eq!(
        verify(&[text(&case.at("server/log")), "--vkey", "/nowhere"]).0,
        1
    );
}

#[test]
fn people_read_sentences_and_a_last_line_with_the_verdict() {
    let case = case();
    let run = |path: &str| {
        let output = assert_cmd::Command::cargo_bin("holdfast")
            .unwrap()
            .args(["verify", text(&case.at(path)), "--vkey", &case.vkey()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        run("server/log")
            .lines()
            .last()
            .unwrap()
            .starts_with("VALID: log ")
    );
    let path = case
        .at("server/log/tile/0/000.p")
        .join(case.log.size().to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 * 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let told = run("server/log");
    assert!(
        told.contains(&format!(
            "BROKEN: tile/0/000.p/{} hash 3: ",
            case.log.size()
        )),
        "{told}"
    );
    assert!(
        told.lines()
            .last()
            .unwrap()
            .starts_with("DOES NOT VERIFY: log "),
        "{told}"
    );
}

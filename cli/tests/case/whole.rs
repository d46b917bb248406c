//! The demo's own case: all that it leaves, whole and damaged.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{common::is_root, played::Played, strangers};

#[test]
fn a_demo_leaves_a_whole_case_that_strangers_tools_open_and_no_damaged_part_of_it_passes() {
    let test =
        "a_demo_leaves_a_whole_case_that_strangers_tools_open_and_no_damaged_part_of_it_passes";
    if !is_root(test) {
        return;
    }
    let played = Played::new(None);
    the_summary_has_the_keys_of_the_design(&played);
    strangers::ssh_keygen_accepts_every_author(&played);
    strangers::the_stock_tools_open_the_parcel(&played);
    anchored_or_not(&played);
    damaged(&played);
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let map = value.as_object().unwrap();
    map.keys().map(String::as_str).collect()
}

fn the_summary_has_the_keys_of_the_design(played: &Played) {
    let summary = &played.summary;
    let expected = [
        "holds",
        "log",
        "people",
        "releases",
        "snapshots",
        "timings_ms",
        "vkey",
    ];
    assert_eq!(keys(summary), BTreeSet::from(expected));
    let parts: [(&str, &[&str]); 4] = [
        ("holds", &["id", "agent", "path", "mechanism", "state"]),
        (
            "snapshots",
            &["id", "agent", "path", "manifest", "root", "rows", "bytes"],
        ),
        (
            "releases",
            &["id", "owner", "parcel", "identity", "opened", "receipt"],
        ),
        ("people", &["name", "roles", "public_key"]),
    ];
    for (part, expected) in parts {
        let all = summary[part].as_array().unwrap();
        assert!(!all.is_empty(), "{part}");
        for one in all {
            assert_eq!(keys(one), expected.iter().copied().collect(), "{part}");
        }
    }
    for (part, names) in [
        ("", &["log", "vkey"][..]),
        ("/snapshots/0", &["path", "manifest"]),
        ("/releases/0", &["parcel", "identity", "opened", "receipt"]),
        ("/people/0", &["public_key"]),
        ("/holds/0", &["path"]),
    ] {
        for name in names {
            let place = played.named(&format!("{part}/{name}"));
            assert!(place.exists(), "{}", place.display());
        }
    }
    assert!(summary["timings_ms"].as_object().unwrap().len() > 5);
}

fn anchored_or_not(played: &Played) {
    let vkey = played.named("/vkey");
    let vkey = vkey.to_str().unwrap();
    for place in [played.at(""), played.named("/log"), played.at("released")] {
        assert_eq!(
            played.verify(&place, &["--vkey", vkey]),
            Some(0),
            "{place:?}"
        );
        assert_eq!(played.verify(&place, &[]), Some(5), "{place:?}");
    }
}

/// A byte is changed in each kind of thing; then it is put back.
fn damaged(played: &Played) {
    let vkey = played.named("/vkey");
    let vkey = vkey.to_str().unwrap();
    let log = played.named("/log");
    let entries = fs::read_dir(log.join("tile/entries/000.p")).unwrap();
    let newest = entries
        .map(|file| file.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let hashes = log.join("tile/0/000.p").join(newest.file_name().unwrap());
    let letter = first_file(&played.named("/releases/0/opened"));
    for path in [
        newest,
        hashes,
        log.join("checkpoint"),
        played.manifest("store-1"),
        played.named("/releases/0/parcel"),
        played.named("/releases/0/receipt"),
        letter,
    ] {
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        after[before.len() / 2] ^= 1;
        fs::write(&path, &after).unwrap();
        let ended = played.verify(&played.at(""), &["--vkey", vkey]);
        assert_eq!(ended, Some(4), "{}", path.display());
        fs::write(&path, &before).unwrap();
    }
    assert_eq!(played.verify(&played.at(""), &["--vkey", vkey]), Some(0));
}

fn first_file(folder: &Path) -> std::path::PathBuf {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let kind = file.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(file.path());
            } else if kind.is_file() && file.metadata().unwrap().len() > 0 {
                return file.path();
            }
        }
    }
    panic!("nothing was opened")
}

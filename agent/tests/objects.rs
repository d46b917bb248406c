//! Holds in an object store, against a real S3-compatible server with Object Lock: moto's, driven
//! by boto3, the client that is not ours.
//!
//! What that server does not enforce, and a store must: it lets versioning be suspended on a bucket
//! with Object Lock, after which an overwrite destroys a held version (S3 refuses to suspend it);
//! it never runs lifecycle rules; it forgets everything when it ends. What is lost so is found
//! by the check, and that is asserted here.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{OnceLock, atomic::Ordering},
    time::{Duration, Instant},
};

use agent::enforce::{
    Found, HoldTrouble, Keeper, Phase, Progress, Raised,
    after::Later,
    objects::{Objects, StoreConfig},
};
use custody::{
    house::{finding::FindingKind, mechanism::Mechanism, regime::Holding},
    id::TargetId,
};
use s3::{Bucket, S3};
use serde_json::json;

/// One store for all tests that need nothing special of it.
fn store(test: &str) -> Option<&'static S3> {
    static STORE: OnceLock<Option<S3>> = OnceLock::new();
    STORE.get_or_init(|| S3::start(test, &[])).as_ref()
}

fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

/// An agent's holds, in a folder of their own.
struct Agent {
    folder: tempfile::TempDir,
    config: StoreConfig,
}

impl Agent {
    fn new(config: StoreConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, config }
    }

    /// As after a start: everything is read from disk. Pages are short, so that there are many.
    fn keeper(&self) -> Keeper {
        let mut keeper = Keeper::open(&self.folder.path().join("holds"), Vec::new()).unwrap();
        keeper.with_objects(Objects::new(vec![self.config.clone()]).with_page(3));
        keeper
    }

    fn raise(&self, n: u8, path: &str) -> Result<Raised, HoldTrouble> {
        let (path, progress) = (Path::new(path), Progress::default());
        self.keeper()
            .raise(target(n), path, Holding::Preserve, &progress)
    }

    fn check(&self, n: u8) -> Vec<Found> {
        self.keeper()
            .check(target(n), &Progress::default())
            .unwrap()
    }

    fn proved(&self, n: u8) -> bool {
        let proof = self.keeper().prove(target(n), &Progress::default());
        proof.unwrap().holds()
    }

    fn lower(&self, n: u8) -> (u64, u64) {
        let lowered = self
            .keeper()
            .lower(target(n), &Progress::default())
            .unwrap();
        (lowered.freed, lowered.kept)
    }
}

fn places(found: &Found) -> Vec<String> {
    let text = |place: &Vec<u8>| String::from_utf8(place.clone()).unwrap();
    found.places.iter().map(text).collect()
}

#[test]
fn what_exists_at_the_moment_is_held_and_nothing_else() {
    let Some(s3) = store("what_exists_at_the_moment_is_held_and_nothing_else") else {
        return;
    };
    let bucket = s3.bucket(true);
    let put = |key: &str| (key.to_owned(), bucket.put(key, key));
    let inside = [
        put("c/alice/a"),
        put("c/alice/a"),
        put("c/alice//odd/../key &<ü"),
        put("c/alice"),
        put("c/alice/hidden"),
        put("c/alice/z"),
    ];
    bucket
        .call("delete_object", json!({"Key": "c/alice/hidden"}))
        .unwrap();
    let outside = [
        put("c/alice2"),
        put("c/alice2/x"),
        put("alice/x"),
        put("c/bob"),
    ];

    let agent = Agent::new(s3.config(&bucket.name, "c/", 0));
    let path = Path::new("/s3/archive/alice");
    let plan = agent
        .keeper()
        .plan_counted(path, Holding::Freeze, &Progress::default())
        .unwrap();
    assert_eq!(
        (plan.mechanism, plan.files),
        (Mechanism::ObjectLock, Some(6))
    );
    assert!(
        inside.iter().all(|(key, id)| !bucket.is_held(key, id)),
        "a plan changes nothing"
    );

    let raised = agent.raise(1, "/s3/archive/alice").unwrap();
    assert_eq!((raised.mechanism, raised.files), (Mechanism::ObjectLock, 6));
    let says = |word: &str| {
        raised
            .does_not_prevent
            .iter()
            .any(|line| line.contains(word))
    };
    assert!(says("1 delete markers") && says("take them off"));
    assert!(inside.iter().all(|(key, id)| bucket.is_held(key, id)));
    assert!(outside.iter().all(|(key, id)| !bucket.is_held(key, id)));
    for (key, id) in &inside {
        assert_eq!(bucket.delete(key, id).unwrap_err(), "AccessDenied", "{key}");
        assert_eq!(bucket.read(key, id).unwrap(), *key);
    }
    assert!(agent.proved(1));
    assert!(
        !bucket.keys().iter().any(|key| key.contains("holdfast")),
        "nothing of it is left"
    );

    // Life goes on, and is no finding.
    let later = [put("c/alice/a"), put("c/alice/new")];
    bucket
        .call("delete_object", json!({"Key": "c/alice/z"}))
        .unwrap();
    assert_eq!(agent.check(1), []);
    agent.raise(1, "/s3/archive/alice").unwrap();
    for (key, id) in &later {
        assert!(!bucket.is_held(key, id));
        bucket.delete(key, id).unwrap();
    }
    assert_eq!(agent.check(1), []);
    assert_eq!(agent.lower(1), (6, 0));
    assert_eq!(agent.lower(1), (6, 0), "said again it is the same");
    for (key, id) in &inside {
        assert!(!bucket.is_held(key, id));
        bucket.delete(key, id).unwrap();
    }
}

#[test]
fn overlapping_targets_count_their_reasons_in_any_order() {
    let Some(s3) = store("overlapping_targets_count_their_reasons_in_any_order") else {
        return;
    };
    // Which keys each of three targets covers.
    let keys = ["alice/mail/one", "alice/mail/two", "alice/three"];
    let targets = [
        ("/s3/archive/alice", vec![0, 1, 2]),
        ("/s3/archive/alice/mail", vec![0, 1]),
        ("/s3/archive/alice/mail/one", vec![0]),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let bucket = s3.bucket(true);
        let ids = keys.map(|key| bucket.put(key, key));
        let agent = Agent::new(s3.config(&bucket.name, "", 0));
        let mut standing: BTreeSet<usize> = BTreeSet::new();
        let right = |standing: &BTreeSet<usize>| {
            for (at, key) in keys.iter().enumerate() {
                let held = standing.iter().any(|one| targets[*one].1.contains(&at));
                assert_eq!(
                    bucket.is_held(key, &ids[at]),
                    held,
                    "{key} {order:?} {standing:?}"
                );
            }
        };
        for n in order {
            agent.raise(n as u8, targets[n].0).unwrap();
            standing.insert(n);
            right(&standing);
        }
        for n in order {
            standing.remove(&n);
            let covers = &targets[n].1;
            let other = |at: &usize| standing.iter().any(|one| targets[*one].1.contains(at));
            let kept = covers.iter().filter(|at| other(at)).count() as u64;
            assert_eq!(agent.lower(n as u8), (covers.len() as u64 - kept, kept));
            right(&standing);
        }
    }
}

#[test]
fn a_target_that_waits_to_be_raised_keeps_what_it_needs() {
    let Some(s3) = store("a_target_that_waits_to_be_raised_keeps_what_it_needs") else {
        return;
    };
    let bucket = s3.bucket(true);
    let id = bucket.put("alice/mail/one", "1");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    // Asked for, written down, and stopped before anything else.
    let stopped = agent.keeper().raise(
        target(2),
        Path::new("/s3/archive/alice/mail"),
        Holding::Freeze,
        &Progress::stop_after(1),
    );
    assert!(matches!(stopped, Err(HoldTrouble::Stopped)));
    assert_eq!(agent.lower(1), (0, 1));
    assert!(bucket.is_held("alice/mail/one", &id));
    agent.raise(2, "/s3/archive/alice/mail").unwrap();
    assert_eq!(agent.lower(2), (1, 0), "it was ours, and no one else's");
    assert!(!bucket.is_held("alice/mail/one", &id));
}

#[test]
fn what_leaves_a_hold_is_free_unless_another_needs_it() {
    let Some(s3) = store("what_leaves_a_hold_is_free_unless_another_needs_it") else {
        return;
    };
    let bucket = s3.bucket(true);
    let keys = ["a/mail", "a/mail/one", "a/mail/two", "a/mail2", "a/other"];
    let ids = keys.map(|key| bucket.put(key, key));
    let held = || -> Vec<bool> {
        let all = keys.iter().zip(&ids);
        all.map(|(key, id)| bucket.is_held(key, id)).collect()
    };
    let leave = [Path::new("/s3/archive/a/mail").to_owned()];
    let mut step = 0;
    loop {
        let agent = Agent::new(s3.config(&bucket.name, "", 0));
        agent.raise(1, "/s3/archive/a").unwrap();
        agent.raise(2, "/s3/archive/a/mail/two").unwrap();
        let progress = Progress::default();
        let weighed = agent.keeper().weigh(target(1), &leave, &progress).unwrap();
        let files = [weighed.leaving, weighed.kept, weighed.staying].map(|amount| amount.files);
        assert_eq!(files, [2, 1, 2]);
        assert_eq!(held(), [true; 5], "weighing changes nothing");

        // A crash at any step, then again.
        let stopped = agent
            .keeper()
            .narrow(target(1), &leave, &Progress::stop_after(step));
        let through = !matches!(stopped, Err(HoldTrouble::Stopped));
        let narrowed = agent.keeper().narrow(target(1), &leave, &progress).unwrap();
        assert_eq!((narrowed.freed, narrowed.kept), (2, 1), "step {step}");
        assert_eq!(held(), [false, false, true, true, true]);
        assert_eq!(agent.check(1), [], "what left is not missed");
        agent.raise(1, "/s3/archive/a").unwrap();
        assert_eq!(held(), [false, false, true, true, true], "nor taken back");
        assert_eq!(agent.lower(2), (1, 0));
        assert_eq!(agent.lower(1), (2, 0));
        assert_eq!(held(), [false; 5]);
        if through {
            break;
        }
        step += 1;
    }
    assert!(step > 4, "{step}");
}

#[test]
fn what_came_later_is_counted_and_not_held() {
    let Some(s3) = store("what_came_later_is_counted_and_not_held") else {
        return;
    };
    let bucket = s3.bucket(true);
    bucket.put("alice/x", "1");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    let later = || {
        let after = agent.keeper().after(target(1), &Progress::default());
        after.unwrap().later
    };
    assert_eq!(later(), Later::Unchanged);
    // The store's clock is read in whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    bucket.put("alice/x", "2");
    bucket.put("alice/y", "2");
    assert_eq!(
        later(),
        Later::Changed {
            things: 2,
            all: true
        }
    );
}

#[test]
fn a_hold_that_others_set_is_never_taken_off() {
    let Some(s3) = store("a_hold_that_others_set_is_never_taken_off") else {
        return;
    };
    let bucket = s3.bucket(true);
    let (theirs, ours) = (bucket.put("alice/1", "1"), bucket.put("alice/2", "2"));
    bucket.hold("alice/1", &theirs, "ON");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    for n in [1, 2] {
        agent.raise(n, "/s3/archive/alice").unwrap();
    }
    assert_eq!(agent.lower(1), (0, 2));
    assert_eq!(agent.lower(2), (1, 1));
    assert!(bucket.is_held("alice/1", &theirs));
    assert!(!bucket.is_held("alice/2", &ours));

    // Taken off by those who set it, while we count on it: found, and ours takes its place.
    agent.raise(3, "/s3/archive/alice").unwrap();
    bucket.hold("alice/1", &theirs, "OFF");
    let found = agent.check(3);
    assert_eq!(
        (found[0].what, found[0].count),
        (FindingKind::ProtectionGone, 1)
    );
    agent.raise(3, "/s3/archive/alice").unwrap();
    assert!(bucket.is_held("alice/1", &theirs));
    assert_eq!(agent.check(3), []);
    assert_eq!(agent.lower(3), (2, 0));
    assert!(!bucket.is_held("alice/1", &theirs));
}

#[test]
fn force_is_found_with_its_place_and_what_can_be_is_held_again() {
    let Some(s3) = store("force_is_found_with_its_place_and_what_can_be_is_held_again") else {
        return;
    };
    let bucket = s3.bucket(true);
    let ids: Vec<_> = (0..12)
        .map(|n| bucket.put("alice/file", &n.to_string()))
        .collect();
    let gone = bucket.put("alice/gone", "gone");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();

    bucket.hold("alice/file", &ids[3], "OFF");
    bucket.hold("alice/gone", &gone, "OFF");
    bucket.delete("alice/gone", &gone).unwrap();
    let found = agent.check(1);
    let kinds: Vec<_> = found.iter().map(|one| (one.what, one.count)).collect();
    assert_eq!(
        kinds,
        [
            (FindingKind::ProtectionGone, 1),
            (FindingKind::HeldChanged, 1)
        ]
    );
    let shown = format!("/s3/archive/alice/file?versionId={}", ids[3]);
    assert_eq!(places(&found[0]), [shown]);
    assert_eq!(places(&found[1]), ["/s3/archive/alice/gone"]);

    agent.raise(1, "/s3/archive/alice").unwrap();
    assert!(bucket.is_held("alice/file", &ids[3]));
    assert!(agent.proved(1));
    let left = agent.check(1);
    assert_eq!(
        (left.len(), left[0].what),
        (1, FindingKind::HeldChanged),
        "gone stays gone"
    );

    // The whole bucket: every thing of it.
    for id in &ids {
        bucket.hold("alice/file", id, "OFF");
        bucket.delete("alice/file", id).unwrap();
    }
    bucket.call("delete_bucket", json!({})).unwrap();
    let found = agent.check(1);
    assert_eq!(
        (found[0].what, found[0].count),
        (FindingKind::HeldChanged, 13)
    );
    assert_eq!(places(&found[0]), ["/s3/archive/alice"]);
}

#[test]
fn a_crash_at_any_step_is_gone_on_from() {
    let Some(s3) = store("a_crash_at_any_step_is_gone_on_from") else {
        return;
    };
    let bucket = s3.bucket(true);
    let ids: Vec<_> = (0..4)
        .map(|n| bucket.put("alice/file", &n.to_string()))
        .collect();
    let theirs = bucket.put("alice/theirs", "t");
    bucket.hold("alice/theirs", &theirs, "ON");
    let config = s3.config(&bucket.name, "", 0);
    let all = |on: bool| {
        assert!(ids.iter().all(|id| bucket.is_held("alice/file", id) == on));
        assert!(bucket.is_held("alice/theirs", &theirs));
    };
    let path = Path::new("/s3/archive/alice");
    let mut steps = (0, 0);
    loop {
        let agent = Agent::new(config.clone());
        let progress = Progress::stop_after(steps.0);
        let raised = agent
            .keeper()
            .raise(target(1), path, Holding::Freeze, &progress);
        match raised {
            Err(HoldTrouble::Stopped) => steps.0 += 1,
            done => {
                done.unwrap();
                agent.lower(1);
                break;
            }
        }
        assert_eq!(agent.raise(1, "/s3/archive/alice").unwrap().files, 5);
        all(true);
        assert_eq!(agent.check(1), []);
        assert_eq!(agent.lower(1), (4, 1), "after a crash at step {}", steps.0);
        all(false);
    }
    loop {
        let agent = Agent::new(config.clone());
        agent.raise(1, "/s3/archive/alice").unwrap();
        let lowered = agent
            .keeper()
            .lower(target(1), &Progress::stop_after(steps.1));
        match lowered {
            Err(HoldTrouble::Stopped) => steps.1 += 1,
            done => {
                done.unwrap();
                break;
            }
        }
        assert_eq!(agent.lower(1), (4, 1));
        all(false);
        assert_eq!(agent.keeper().all()[0].phase, Phase::Lowered);
    }
    assert!(steps.0 > 10 && steps.1 > 4, "{steps:?}");
}

#[test]
fn what_cannot_be_held_is_refused_before_anything_is_touched() {
    let Some(s3) = store("what_cannot_be_held_is_refused_before_anything_is_touched") else {
        return;
    };
    let refused = |config: StoreConfig, path: &str| {
        let agent = Agent::new(config);
        let trouble = agent.raise(1, path).unwrap_err();
        let standing = agent.keeper().all();
        assert!(standing.iter().all(|record| record.phase == Phase::Planned));
        (trouble.word(), trouble.to_string())
    };
    let (locked, plain) = (s3.bucket(true), s3.bucket(false));
    plain
        .call("put_object", json!({"Key": "alice/x", "Body": "x"}))
        .unwrap();
    let id = locked.put("alice/x", "x");
    let config = |bucket: &Bucket<'_>| s3.config(&bucket.name, "", 0);
    let alice = "/s3/archive/alice";

    let (word, why) = refused(config(&plain), alice);
    assert_eq!(word, "no-versioning");
    assert!(
        why.contains("never enabled") && why.contains("Enable"),
        "{why}"
    );
    let versioned = json!({"VersioningConfiguration": {"Status": "Enabled"}});
    plain.call("put_bucket_versioning", versioned).unwrap();
    assert_eq!(refused(config(&plain), alice).0, "no-object-lock");

    let nowhere = s3.config("no-such-bucket", "", 0);
    assert_eq!(refused(nowhere, alice).0, "no-bucket");
    assert_eq!(refused(config(&locked), "/s3/archive/bob").0, "not-found");
    assert_eq!(
        refused(config(&locked), "/s3/archive/.holdfast-proof/x").0,
        "outside-roots"
    );
    assert_eq!(refused(config(&locked), "/elsewhere").0, "outside-roots");

    let mut silent = config(&locked);
    silent.endpoint = "http://127.0.0.1:1".to_owned();
    let (word, why) = refused(silent, alice);
    assert_eq!(word, "store-unreachable");
    assert!(why.contains("refused"), "{why}");
    let mut no_file = config(&locked);
    no_file.credentials = "/nonexistent/credentials".into();
    assert_eq!(refused(no_file, alice).0, "store-credentials");
    assert!(!locked.is_held("alice/x", &id));
}

#[test]
fn a_store_that_never_answers_keeps_nobody_who_is_told_to_stop() {
    let Some(s3) = store("a_store_that_never_answers_keeps_nobody_who_is_told_to_stop") else {
        return;
    };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = s3.config("some-bucket", "", 0);
    config.endpoint = format!("http://{}", silent.local_addr().unwrap());
    let agent = Agent::new(config);
    let (keeper, progress) = (agent.keeper(), Progress::default());
    std::thread::scope(|scope| {
        let path = Path::new("/s3/archive/alice");
        let raise = || keeper.raise(target(1), path, Holding::Freeze, &progress);
        let raising = scope.spawn(raise);
        let asked = silent.accept().unwrap();
        let began = Instant::now();
        progress.stop.store(true, Ordering::Relaxed);
        assert!(matches!(raising.join().unwrap(), Err(HoldTrouble::Stopped)));
        assert!(began.elapsed() < Duration::from_secs(3));
        drop(asked);
    });
}

#[test]
fn keys_that_are_wrong_or_may_too_little_are_named_and_prove_nothing() {
    let name = "keys_that_are_wrong_or_may_too_little_are_named_and_prove_nothing";
    let Some(s3) = S3::start(name, &["--keys"]) else {
        return;
    };
    let bucket = s3.bucket(true);
    let id = bucket.put("alice/x", "x");
    let raise = |line: &str| {
        let config = s3.config(&bucket.name, "", 0);
        let text = std::fs::read_to_string(&config.credentials).unwrap();
        let (id, secret) = text.split_once('\n').unwrap();
        let text = match line {
            "id" => format!("access_key_id = 'AKIAWRONGWRONGWRONG0'\n{secret}"),
            _ => format!("{id}\nsecret_access_key = 'wrong'\n"),
        };
        std::fs::write(&config.credentials, text).unwrap();
        let trouble = Agent::new(config)
            .raise(1, "/s3/archive/alice")
            .unwrap_err();
        assert!(!trouble.to_string().contains("AKIA"), "{trouble}");
        (trouble.word(), trouble.to_string())
    };
    let (word, why) = raise("id");
    assert_eq!(word, "store-credentials");
    assert!(why.contains("InvalidAccessKeyId"), "{why}");
    let (word, why) = raise("secret");
    assert_eq!(word, "store-credentials");
    assert!(
        why.contains("SignatureDoesNotMatch"),
        "the store checks signatures: {why}"
    );
    assert!(!bucket.is_held("alice/x", &id));

    // One that may not delete holds as well as any, and its own refusals are no proof.
    let agent = Agent::new(s3.config(&bucket.name, "", 1));
    agent.raise(1, "/s3/archive/alice").unwrap();
    assert!(bucket.is_held("alice/x", &id));
    assert!(!agent.proved(1));
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    assert!(
        agent.proved(1),
        "with the right to delete, the same hold proves itself"
    );
}

#[test]
fn a_store_that_only_records_holds_is_not_called_verified_and_loses_nothing() {
    let name = "a_store_that_only_records_holds_is_not_called_verified_and_loses_nothing";
    let Some(s3) = S3::start(name, &["--no-enforcement"]) else {
        return;
    };
    let bucket = s3.bucket(true);
    let ids: Vec<_> = (0..3)
        .map(|n| bucket.put("alice/file", &n.to_string()))
        .collect();
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    assert!(
        ids.iter().all(|id| bucket.is_held("alice/file", id)),
        "it says so"
    );
    let proof = agent
        .keeper()
        .prove(target(1), &Progress::default())
        .unwrap();
    assert!(!proof.holds());
    assert!(
        proof.refused >= 3 && proof.refused < proof.attempts,
        "{proof:?}"
    );
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(bucket.read("alice/file", id).unwrap(), n.to_string());
    }
    assert_eq!(
        bucket.keys().len(),
        3,
        "and nothing of the attempts is left"
    );
}

#[test]
fn a_bucket_that_keeps_everything_for_years_is_proved_and_left_as_it_was() {
    let Some(s3) = store("a_bucket_that_keeps_everything_for_years") else {
        return;
    };
    let bucket = s3.bucket(true);
    let kept = json!({"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule":
        {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 7}}}});
    bucket.call("put_object_lock_configuration", kept).unwrap();
    let body = json!({"Key": "alice/x", "Body": "x", "ChecksumAlgorithm": "SHA256"});
    bucket.call("put_object", body).unwrap();
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    assert!(agent.proved(1));
    assert_eq!(bucket.keys(), ["alice/x"]);
}

#[test]
fn every_shipped_way_to_lose_a_held_version_is_refused_or_found() {
    let Some(s3) = store("every_shipped_way_to_lose_a_held_version") else {
        return;
    };
    #[derive(Debug, PartialEq)]
    enum Outcome {
        /// The store said no.
        Refused,
        /// The store said yes, and the held version is as it was.
        Stays,
        /// It is lost, and the check says so: a store must refuse this, moto does not.
        Found,
    }
    use Outcome::{Found, Refused, Stays};
    let id = "THE-VERSION";
    let version = |call: &'static str, more: serde_json::Value| {
        let mut arguments = json!({"Key": "alice/x", "VersionId": id});
        for (name, value) in more.as_object().unwrap() {
            arguments[name] = value.clone();
        }
        vec![(call, arguments)]
    };
    let suspend = (
        "put_bucket_versioning",
        json!({"VersioningConfiguration": {"Status": "Suspended"}}),
    );
    let overwrite = ("put_object", json!({"Key": "alice/x", "Body": "other"}));
    let list = json!({"Delete": {"Objects": [{"Key": "alice/x", "VersionId": id}]}});
    let mut list_by_force = list.clone();
    list_by_force["BypassGovernanceRetention"] = json!(true);
    let rule = json!({"LifecycleConfiguration": {"Rules": [{"ID": "all", "Status": "Enabled",
        "Filter": {"Prefix": ""}, "Expiration": {"Days": 1},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]}});
    let shorter = json!({"Retention": {"Mode": "GOVERNANCE",
        "RetainUntilDate": "2000-01-01T00:00:00Z"}, "BypassGovernanceRetention": true});
    let unlock = json!({"ObjectLockConfiguration": {"ObjectLockEnabled": "Disabled"}});
    let attempts = [
        (
            "delete of the version",
            version("delete_object", json!({})),
            Refused,
        ),
        (
            "delete that bypasses governance",
            version("delete_object", json!({"BypassGovernanceRetention": true})),
            Refused,
        ),
        ("delete by a list", vec![("delete_objects", list)], Stays),
        (
            "delete by a list that bypasses",
            vec![("delete_objects", list_by_force)],
            Stays,
        ),
        (
            "delete of the key",
            vec![("delete_object", json!({"Key": "alice/x"}))],
            Stays,
        ),
        ("overwrite", vec![overwrite.clone()], Stays),
        (
            "copy over it",
            vec![(
                "copy_object",
                json!({"Key": "alice/x",
            "CopySource": format!("{{BUCKET}}/other")}),
            )],
            Stays,
        ),
        (
            "delete of the bucket",
            vec![("delete_bucket", json!({}))],
            Refused,
        ),
        (
            "a retention that ended",
            version("put_object_retention", shorter),
            Stays,
        ),
        (
            "lifecycle rule that expires all",
            vec![("put_bucket_lifecycle_configuration", rule)],
            Stays,
        ),
        (
            "Object Lock disabled",
            vec![("put_object_lock_configuration", unlock)],
            Refused,
        ),
        ("versioning suspended", vec![suspend.clone()], Found),
        (
            "versioning suspended, then overwritten",
            vec![suspend, overwrite],
            Found,
        ),
        (
            "hold off, then delete",
            [
                version(
                    "put_object_legal_hold",
                    json!({"LegalHold": {"Status": "OFF"}}),
                ),
                version("delete_object", json!({})),
            ]
            .concat(),
            Found,
        ),
    ];
    for (attempt, calls, expected) in attempts {
        let bucket = s3.bucket(true);
        let held = bucket.put("alice/x", "evidence");
        bucket.put("other", "other");
        let agent = Agent::new(s3.config(&bucket.name, "", 0));
        agent.raise(1, "/s3/archive/alice").unwrap();
        let mut refused = false;
        for (call, arguments) in calls {
            let text = arguments.to_string();
            let text = text.replace("\"THE-VERSION\"", &format!("{held:?}"));
            let text = text.replace("{BUCKET}", &bucket.name);
            refused |= bucket
                .call(call, serde_json::from_str(&text).unwrap())
                .is_err();
        }
        let stands = bucket
            .read("alice/x", &held)
            .is_ok_and(|read| read == "evidence");
        let found = agent.check(1);
        let outcome = match (refused, stands && found.is_empty()) {
            (true, true) => Refused,
            (false, true) => Stays,
            (_, false) => Found,
        };
        assert_eq!(outcome, expected, "{attempt}: {found:?}");
        assert!(
            stands || !found.is_empty(),
            "{attempt}: lost, and not found"
        );
    }
}

#[test]
fn a_store_behind_an_authority_of_its_own_is_reached_with_it_and_not_without() {
    let name = "a_store_behind_an_authority_of_its_own_is_reached_with_it_and_not_without";
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let arguments = ["--tls", cert.to_str().unwrap(), key.to_str().unwrap()];
    let Some(s3) = S3::start(name, &arguments) else {
        return;
    };
    let bucket = s3.bucket(true);
    let id = bucket.put("alice/x", "x");
    let mut config = s3.config(&bucket.name, "", 0);
    let trouble = Agent::new(config.clone())
        .raise(1, "/s3/archive/alice")
        .unwrap_err();
    assert_eq!(trouble.word(), "store-unreachable");
    assert!(trouble.to_string().contains("certificate"), "{trouble}");
    config.authority = cert;
    Agent::new(config).raise(1, "/s3/archive/alice").unwrap();
    assert!(bucket.is_held("alice/x", &id));
}

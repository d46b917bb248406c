//! What cannot be held, and what is not called proved.

use std::{
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use agent::enforce::{HoldTrouble, Phase, Progress, objects::StoreConfig};
use custody::house::regime::Holding;
use serde_json::json;

use crate::{
    Agent,
    s3::{Bucket, S3},
    store, target,
};

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
    let odd = bucket.put("alice/ü +&=~ (1)?", "odd");
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
    assert!(bucket.is_held("alice/ü +&=~ (1)?", &odd));
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

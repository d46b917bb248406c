//! Force: every way to lose a held version, and that it is refused or found.

use custody::house::finding::FindingKind;
use serde_json::json;

use crate::{Agent, places, store};

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

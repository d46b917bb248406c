//! Releases of what is held in a store, and a whole case through the agent.

use agent::{config::Config, release::pack::PackError};
use custody::{
    house::mechanism::Mechanism,
    id::{ReleaseId, SnapshotId},
    statement::Body,
};
use proto::v1::{
    Capture, Holding as WireHolding, Lower, Pack, PackRows, Raise, RowRange, task::Task as Wire,
};

use crate::{
    rows::{Scene, path},
    stage::{self, Host, said, task},
    store,
};

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
        std::slice::from_ref(&alice)
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

//! Evidence coming in: what comes is what was signed, or it is thrown away and on record.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Coordinator, Human,
    agent::{Agent, Outcome},
    fetch, rule,
    story::{self, MANIFEST},
};
use custody::{digest::Digest, house::finding::FindingKind, statement::Body};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_goes_on_where_it_stopped() {
    let mut coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 3000).await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    let what = (MANIFEST, id.as_str());
    let middle = bytes.len() / 2;

    assert_eq!(agent.have(&coordinator, MANIFEST, &id).await, (0, false));
    let half = agent
        .upload(&coordinator, what, bytes, (0, middle), 5000)
        .await
        .unwrap();
    assert_eq!((half.have, half.complete), (middle as u64, false));
    // It survives a kill, and nothing but its end is taken.
    coordinator.kill_and_restart();
    coordinator.admin.token = coordinator.login(&coordinator.admin.key).await.unwrap();
    assert_eq!(
        agent.have(&coordinator, MANIFEST, &id).await,
        (middle as u64, false)
    );
    let wrong = agent
        .upload(&coordinator, what, bytes, (0, middle), 5000)
        .await
        .unwrap_err();
    assert_eq!(
        (wrong.code(), rule(&wrong).as_str()),
        (Code::FailedPrecondition, "upload.offset")
    );

    let rest = (middle, bytes.len());
    let done = agent
        .upload(&coordinator, what, bytes, rest, 5000)
        .await
        .unwrap();
    assert_eq!((done.have, done.complete), (bytes.len() as u64, true));
    assert_eq!(
        coordinator.show("snapshots", &id).await["state"],
        "received"
    );
    assert_eq!(
        std::fs::read(coordinator.data().join(format!("manifests/{id}.parquet"))).unwrap(),
        *bytes
    );
    let again = agent
        .upload(&coordinator, what, bytes, rest, 5000)
        .await
        .unwrap();
    assert!(again.complete);

    let custodian = Human {
        token: coordinator.login(&people.custodian.key).await.unwrap(),
        ..people.custodian
    };
    for offset in [0, 1, middle as u64, bytes.len() as u64] {
        let got = fetch(&coordinator, &custodian, MANIFEST, &id, offset)
            .await
            .unwrap();
        assert_eq!(got, bytes[usize::try_from(offset).unwrap()..]);
    }
    let past = fetch(
        &coordinator,
        &custodian,
        MANIFEST,
        &id,
        bytes.len() as u64 + 1,
    )
    .await;
    assert_eq!(past.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_upload_is_thrown_away_and_recorded_and_the_right_one_still_comes() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 100).await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    let what = (MANIFEST, id.as_str());
    let whole = (0, bytes.len());

    let mut spoiled = bytes.clone();
    spoiled[bytes.len() / 2] ^= 1;
    let refused = agent
        .upload(&coordinator, what, &spoiled, whole, 1 << 20)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), rule(&refused).as_str()),
        (Code::FailedPrecondition, "upload.differs")
    );
    assert_eq!(coordinator.show("snapshots", &id).await["state"], "sealed");
    assert_eq!(agent.have(&coordinator, MANIFEST, &id).await, (0, false));
    let noted = coordinator
        .log()
        .await
        .into_iter()
        .find_map(|statement| match statement.body {
            Body::Finding(finding) => Some(finding),
            _ => None,
        });
    let noted = noted.unwrap();
    assert_eq!(noted.what, FindingKind::ManifestDiffers);
    assert_eq!(noted.evidence, [Digest::of(bytes), Digest::of(&spoiled)]);

    // More than was signed, and chunks over the limit, are refused before they fill the disk.
    let mut longer = bytes.clone();
    longer.push(0);
    let refused = agent
        .upload(&coordinator, what, &longer, (0, longer.len()), 1 << 20)
        .await;
    assert_eq!(rule(&refused.unwrap_err()), "upload.chunk");
    let other = Agent::new(&coordinator).await;
    let refused = other
        .upload(&coordinator, what, bytes, whole, 1 << 20)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "another agent's snapshot");

    assert!(
        agent
            .upload(&coordinator, what, bytes, whole, 1 << 20)
            .await
            .unwrap()
            .complete
    );
    assert_eq!(
        coordinator.show("snapshots", &id).await["state"],
        "received"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_rows_do_not_give_the_signed_root_is_refused() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let snapshot = common::fresh!(custody::id::SnapshotId);
    let take = Body::SnapshotTake(custody::statement::SnapshotTake {
        snapshots: vec![custody::statement::SnapshotWish { snapshot, target }],
    });
    coordinator.say(&people.custodian, take, &[]).await.unwrap();
    stream.task().await;
    // The agent signs a root that its manifest does not have.
    let secret = common::random();
    let key = custody::manifest::leaf::SnapshotKey::from_random(secret);
    let (bytes, rows, total, _) = story::manifest(10, &key);
    let (key, opening) = common::commit("salt-key", secret);
    let sealed = Body::SnapshotSealed(custody::statement::SnapshotSealed {
        snapshot,
        root: Digest::of(b"another root"),
        rows,
        bytes: total,
        unreadable: 0,
        manifest: Digest::of(&bytes),
        manifest_bytes: bytes.len() as u64,
        key,
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        tool: "test".to_owned(),
        began: common::now(),
        ended: common::now(),
    });
    let said = agent
        .say(&coordinator, &mut stream, sealed, &[opening])
        .await;
    assert!(matches!(said, Outcome::Recorded(_)));
    let id = snapshot.to_string();
    let whole = (0, bytes.len());
    let refused = agent
        .upload(&coordinator, (MANIFEST, &id), &bytes, whole, 1 << 20)
        .await;
    assert_eq!(rule(&refused.unwrap_err()), "upload.differs");
    assert_eq!(coordinator.show("snapshots", &id).await["state"], "sealed");
}

/// A file system of so many bytes, for as long as it stands.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: std::path::PathBuf, bytes: usize) -> Option<Self> {
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&at)
            .status();
        done.is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_an_upload_with_a_clear_word_and_harms_nothing() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 3000).await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    let (what, whole) = ((MANIFEST, id.as_str()), (0, bytes.len()));
    // A third chunk would fit, and leave less than a twentieth free: that is the journal's.
    let Some(small) = Small::mount(coordinator.data().join("spool"), 152 << 10) else {
        return common::skipped("a_full_disk_stops_an_upload", "cannot mount a tmpfs");
    };
    let full = agent
        .upload(&coordinator, what, bytes, whole, 50_000)
        .await
        .unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("Free space"), "{full}");
    // What came whole is kept, and only that.
    let (have, complete) = agent.have(&coordinator, MANIFEST, &id).await;
    assert_eq!((have, complete), (100_000, false));
    let rest = (100_000, bytes.len());
    let full = agent
        .upload(&coordinator, what, bytes, rest, 50_000)
        .await
        .unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert_eq!(coordinator.show("snapshots", &id).await["state"], "sealed");

    drop(small);
    assert!(
        agent
            .upload(&coordinator, what, bytes, whole, 50_000)
            .await
            .unwrap()
            .complete
    );
    assert_eq!(
        coordinator.show("snapshots", &id).await["state"],
        "received"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_put_in_its_place_before_a_crash_is_not_sent_again() {
    let coordinator = Coordinator::new().await;
    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 10).await;
    let id = evidence.snapshot.to_string();
    let place = coordinator.data().join(format!("manifests/{id}.parquet"));
    // A torn one is not taken for it.
    std::fs::write(&place, &evidence.manifest[..100]).unwrap();
    assert_eq!(agent.have(&coordinator, MANIFEST, &id).await, (0, false));
    std::fs::write(&place, &evidence.manifest).unwrap();
    let length = evidence.manifest.len() as u64;
    assert_eq!(
        agent.have(&coordinator, MANIFEST, &id).await,
        (length, true)
    );
    assert_eq!(
        coordinator.show("snapshots", &id).await["state"],
        "received"
    );
}

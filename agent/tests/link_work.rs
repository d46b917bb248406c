//! Work: tasks are done once and in their order, and holding never depends on the coordinator.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use agent::{
    journal::{Journal, known::Stage},
    status,
};
use custody::{
    digest::Digest,
    house::finding::FindingKind,
    id::{ReleaseId, SnapshotId},
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
    },
    statement::Body,
};
use proto::v1::{
    Capture, Lower, Pack, PackRows, RowRange, SendManifest, SendParcel, task::Task as Kind,
};
use stage::{Host, count, said, target, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_case_from_hold_to_parcel_over_a_connection_that_breaks() {
    let host = Host::new().await;
    let (snapshot, release) = (
        SnapshotId::from_random([5; 16]),
        ReleaseId::from_random([6; 16]),
    );
    let locate = ["alice", "nobody"].map(|name| host.root.join(name));
    let locate = locate.map(|path| path.as_os_str().as_bytes().to_vec());
    host.coordinator
        .set(|script| script.locate = locate.to_vec());
    let capture = Capture {
        snapshot: snapshot.to_string(),
        target: target(1).to_string(),
    };
    host.tasks(vec![
        host.raise(1, 5, "alice"),
        task(Kind::Capture(capture), 6),
    ]);
    let running = host.run();
    host.coordinator
        .until("sealed", said("snapshot.sealed", 1))
        .await;
    running.stop().await.unwrap();
    host.coordinator
        .until("found", |script| !script.found.is_empty())
        .await;
    assert_eq!(
        host.coordinator.get(|s| s.found[0].clone()),
        [locate[0].clone()]
    );

    let Some(Body::SnapshotSealed(sealed)) = host
        .coordinator
        .bodies()
        .into_iter()
        .find(|body| body.kind() == "snapshot.sealed")
    else {
        panic!()
    };
    assert_eq!(sealed.unreadable, 0);
    let identity = age::x25519::Identity::generate();
    let pack = Pack {
        release: release.to_string(),
        recipient: identity.to_public().to_string(),
        rows: vec![PackRows {
            snapshot: snapshot.to_string(),
            target: target(1).to_string(),
            ranges: vec![RowRange {
                first: 0,
                end: sealed.rows,
            }],
        }],
    };
    let (of, at) = (snapshot.to_string(), release.to_string());
    host.tasks(vec![
        task(
            Kind::SendManifest(SendManifest {
                snapshot: of.clone(),
            }),
            7,
        ),
        task(Kind::Pack(pack), 8),
        task(
            Kind::SendParcel(SendParcel {
                release: at.clone(),
            }),
            9,
        ),
    ]);
    host.coordinator.set(|script| script.break_upload = Some(1));
    let running = host.run();
    host.coordinator
        .until("packed", said("release.packed", 1))
        .await;
    host.coordinator
        .until("manifest", |script| {
            script
                .uploads
                .get(&of)
                .is_some_and(|b| b.len() as u64 == sealed.manifest_bytes)
        })
        .await;
    running.stop().await.unwrap();
    // The parcel was asked for before it was there; now it is, and the upload breaks half way.
    host.tasks(vec![task(
        Kind::SendParcel(SendParcel {
            release: at.clone(),
        }),
        10,
    )]);
    host.coordinator
        .set(|script| script.break_upload = Some(2 << 20));
    let running = host.run();
    let Some(Body::ReleasePacked(packed)) = host
        .coordinator
        .bodies()
        .into_iter()
        .find(|body| body.kind() == "release.packed")
    else {
        panic!()
    };
    host.coordinator
        .until("parcel", |script| {
            script
                .uploads
                .get(&at)
                .is_some_and(|b| b.len() as u64 == packed.bytes)
        })
        .await;
    running.stop().await.unwrap();

    let manifest = host.coordinator.get(|script| script.uploads[&of].clone());
    assert_eq!(Digest::of(&manifest), sealed.manifest);
    let file = host.base.path().join("received");
    fs::write(&file, manifest).unwrap();
    let reader = || Reader::open(fs::File::open(&file).unwrap()).unwrap();
    check(reader(), None, &sealed.root).unwrap();
    let guess = SnapshotKey::from_random([0; 32]);
    assert!(check(reader(), Some(&guess), &sealed.root).is_err());

    let parcel = host.coordinator.get(|script| script.uploads[&at].clone());
    assert_eq!(Digest::of(&parcel), packed.parcel);
    let plain = age::Decryptor::new(&parcel[..]).unwrap();
    let plain = plain.decrypt(std::iter::once(&identity as _)).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(plain).entries().unwrap() {
        names.push(String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap());
    }
    assert!(names.contains(&"files/0/mail/one".to_owned()), "{names:?}");
    let kinds = host.coordinator.kinds();
    assert_eq!(count(&kinds, "snapshot.sealed"), 1, "{kinds:?}");
    assert_eq!(count(&kinds, "release.packed"), 1, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_certificate_was_revoked_goes_on_holding_and_says_why() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "alice")]);
    let running = host.run();
    host.coordinator
        .until("verified", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    host.coordinator.set(|script| script.revoked = true);
    // What is held is damaged behind its back while nobody is there to hear of it.
    let vault = host.root.join(".holdfast-vault");
    let copy = find(&vault, "one").unwrap();
    unseal(&copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&copy, b"HELLO").unwrap();
    let running = host.run();
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let trouble = status::read(&host.place).unwrap().live.trouble;
        if trouble.is_some_and(|trouble| trouble.contains("new invitation")) {
            break;
        }
    }
    let status = status::read(&host.place).unwrap();
    assert!(status.running && !status.live.connected);
    let trouble = status.live.trouble.unwrap();
    assert!(trouble.contains("stays held"), "{trouble}");
    let known = Journal::look(&host.place.journal()).unwrap();
    let found = &known.targets[&target(1)].found;
    assert!(!found.is_empty(), "it was found without the coordinator");
    assert!(status.queued > 0);
    running.stop().await.unwrap();
    // Admitted again, everything arrives.
    host.coordinator.set(|script| script.revoked = false);
    let running = host.run();
    host.coordinator
        .until("the finding", |script| {
            script.statements.iter().any(|(_, s)| match &s.body {
                Body::Finding(finding) => matches!(
                    finding.what,
                    FindingKind::HeldChanged | FindingKind::ProtectionGone
                ),
                _ => false,
            })
        })
        .await;
    running.stop().await.unwrap();
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if path.file_name()?.to_str() == Some(name) {
            return Some(path);
        }
    }
    None
}

/// Takes the immutable flags off the way to a file, where there are any.
fn unseal(path: &Path) {
    for at in path.ancestors().take(8) {
        let _ = std::process::Command::new("chattr")
            .arg("-i")
            .arg(at)
            .output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_task_is_passed_over_also_after_a_restart() {
    let host = Host::new().await;
    let lower = Lower {
        target: target(1).to_string(),
    };
    host.tasks(vec![host.raise(1, 5, "alice")]);
    let running = host.run();
    host.coordinator
        .until("verified", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    host.tasks(vec![task(Kind::Lower(lower), 20)]);
    let running = host.run();
    host.coordinator
        .until("lowered", said("hold.lowered", 1))
        .await;
    running.stop().await.unwrap();
    // An old raise comes late, beside a new one for another place.
    host.tasks(vec![host.raise(1, 5, "alice"), host.raise(2, 21, "bob")]);
    let running = host.run();
    host.coordinator
        .until("the other", said("hold.verified", 2))
        .await;
    running.stop().await.unwrap();
    assert_eq!(host.stages(), [Stage::Lowered, Stage::Verified]);
    assert_eq!(count(&host.coordinator.kinds(), "hold.acknowledged"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_there_fails_once_and_is_held_when_it_comes() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "carol")]);
    let running = host.run();
    host.coordinator
        .until("failed", said("hold.failed", 1))
        .await;
    fs::create_dir(host.root.join("carol")).unwrap();
    fs::write(host.root.join("carol/file"), b"late").unwrap();
    host.coordinator
        .until("verified", said("hold.verified", 1))
        .await;
    running.stop().await.unwrap();
    let kinds = host.coordinator.kinds();
    let expected = [
        "hold.acknowledged",
        "hold.failed",
        "hold.raised",
        "hold.verified",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_outside_the_roots_is_refused_with_its_word() {
    let host = Host::new().await;
    let mut outside = host.raise(1, 5, "alice");
    let Some(Kind::Raise(raise)) = &mut outside.task else {
        panic!()
    };
    raise.path = b"/etc".to_vec().into();
    host.tasks(vec![outside]);
    let running = host.run();
    host.coordinator
        .until("failed", |script| {
            script.statements.iter().any(|(_, s)| match &s.body {
                Body::HoldFailed(failed) => failed.reason == "outside-roots",
                _ => false,
            })
        })
        .await;
    running.stop().await.unwrap();
}

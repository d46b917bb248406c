//! The link: statements arrive to the byte and in order whatever breaks, tasks are done once,
//! and holding never depends on the coordinator.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/coordinator.rs"]
mod coordinator;

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use agent::{
    app,
    config::{Config, Place},
    edge::Machine,
    exit::Trouble,
    journal::{Journal, known::Stage},
    link::enrol::{Enrolled, enrol},
    status,
};
use coordinator::Coordinator;
use custody::{
    digest::Digest,
    house::finding::FindingKind,
    id::{AgentId, ReleaseId, SnapshotId, TargetId},
    manifest::{file::Reader, file::check, leaf::SnapshotKey},
    statement::Body,
};
use proto::v1::{
    Capture, Holding, Lower, Pack, PackRows, Raise, RowRange, SendManifest, SendParcel, Task,
    task::Task as Kind,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const AGENT: AgentId = AgentId::from_random([1; 16]);

fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

/// A host with an enrolled agent and some customers' files.
struct Host {
    base: tempfile::TempDir,
    place: Place,
    root: PathBuf,
    coordinator: Coordinator,
}

struct Running {
    stop: CancellationToken,
    ended: JoinHandle<Result<(), Trouble>>,
}

impl Running {
    async fn stop(self) -> Result<(), Trouble> {
        self.stop.cancel();
        self.ended.await.unwrap()
    }
}

impl Host {
    async fn new() -> Self {
        let coordinator = Coordinator::start().await;
        let host = Self::bare(coordinator);
        host.enrol().await.unwrap();
        host
    }

    fn bare(coordinator: Coordinator) -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().canonicalize().unwrap().join("data");
        fs::create_dir_all(root.join("alice/mail")).unwrap();
        fs::write(root.join("alice/mail/one"), b"hello").unwrap();
        fs::write(root.join("alice/two"), vec![2; 3 << 20]).unwrap();
        fs::create_dir_all(root.join("bob")).unwrap();
        fs::write(root.join("bob/three"), b"bob").unwrap();
        Self {
            place: Place(base.path().join("agent")),
            base,
            root,
            coordinator,
        }
    }

    async fn enrol(&self) -> Result<Enrolled, Trouble> {
        let invite = self.coordinator.invitation(self.base.path(), AGENT);
        let roots = [self.root.clone()];
        enrol(&invite, &self.place, &roots, &Machine::new().unwrap()).await
    }

    fn run(&self) -> Running {
        let stop = CancellationToken::new();
        let (place, at) = (self.place.clone(), stop.clone());
        let config = Config::load(&place).unwrap();
        let ready = self.base.path().join("ready");
        let ended =
            tokio::spawn(async move { app::run_until(place, config, Some(&ready), at).await });
        Running { stop, ended }
    }

    /// A hold that works on any file system: the living files stay as they are.
    fn raise(&self, n: u8, position: u64, folder: &str) -> Task {
        let path = self.root.join(folder);
        let raise = Raise {
            target: target(n).to_string(),
            path: path.as_os_str().as_bytes().to_vec().into(),
            holding: Holding::Preserve.into(),
        };
        task(Kind::Raise(raise), position)
    }

    fn tasks(&self, tasks: Vec<Task>) {
        self.coordinator.set(|script| script.tasks = tasks);
    }

    fn stages(&self) -> Vec<Stage> {
        let known = Journal::look(&self.place.journal()).unwrap();
        known.targets.values().map(|target| target.stage).collect()
    }
}

fn task(kind: Kind, position: u64) -> Task {
    Task {
        task: Some(kind),
        position,
    }
}

fn count(kinds: &[&str], kind: &str) -> usize {
    kinds.iter().filter(|k| **k == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_is_safe_and_a_used_token_is_refused_in_clear_words() {
    let host = Host::new().await;
    for name in [
        "agent.key",
        "tls.key",
        "tls.pem",
        "ca.pem",
        "enrolment.toml",
    ] {
        let mode = fs::metadata(host.place.0.join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    let before = fs::read(host.place.0.join("agent.key")).unwrap();
    assert_eq!(host.enrol().await.unwrap(), Enrolled::Already(AGENT));
    assert_eq!(fs::read(host.place.0.join("agent.key")).unwrap(), before);
    // Another folder with the same invitation.
    let other = Host::bare(host.coordinator.clone());
    let refused = other.enrol().await.unwrap_err();
    assert_eq!(refused.code(), 3);
    assert!(refused.to_string().contains("used already"), "{refused}");
    assert!(!other.place.0.join("enrolment.toml").exists());
    // Another agent into this folder.
    let invite = host
        .coordinator
        .invitation(host.base.path(), AgentId::from_random([2; 16]));
    let machine = Machine::new().unwrap();
    let refused = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_log_is_a_breach_and_nothing_is_stored() {
    let coordinator = Coordinator::start().await;
    let host = Host::bare(coordinator.clone());
    let invite = coordinator.invitation(host.base.path(), AGENT);
    let text = fs::read_to_string(&invite).unwrap();
    let other = custody::ledger::note::NoteKey::from_seed(coordinator::ORIGIN, 1, &[99; 32]);
    let other = other.unwrap().verifier().to_string();
    fs::write(&invite, text.replace(&coordinator.vkey, &other)).unwrap();
    let machine = Machine::new().unwrap();
    let breach = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(breach.code(), 4);
    assert!(!host.place.0.join("enrolment.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_another_authority_is_not_spoken_to() {
    let (coordinator, other) = (Coordinator::start().await, Coordinator::start().await);
    let host = Host::bare(coordinator.clone());
    let invite = coordinator.invitation(host.base.path(), AGENT);
    let text = fs::read_to_string(&invite).unwrap();
    let port = |c: &Coordinator| format!("localhost:{}\"", c.address.port());
    fs::write(&invite, text.replace(&port(&coordinator), &port(&other))).unwrap();
    let machine = Machine::new().unwrap();
    let failed = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), 1, "{failed}");
    assert!(!other.get(|script| script.token_used));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_were_not_acknowledged_come_again_to_the_byte_and_nothing_twice() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "alice")]);
    // Every stream is cut after one statement, and none is acknowledged.
    host.coordinator.set(|script| script.cut_after = Some(1));
    let running = host.run();
    host.coordinator
        .until("verified", |script| {
            script
                .statements
                .iter()
                .any(|(_, s)| s.body.kind() == "hold.verified")
        })
        .await;
    // The coordinator is restored from a backup: it knows nothing of the chain any more.
    let first = host.coordinator.get(|script| script.statements.clone());
    host.coordinator.set(|script| {
        script.cut_after = None;
        script.statements.clear();
        script.head = Some(custody::ledger::chain::ChainHead::start(0));
    });
    host.coordinator
        .until("all again", |script| script.statements.len() >= first.len())
        .await;
    running.stop().await.unwrap();
    let again = host.coordinator.get(|script| script.statements.clone());
    assert_eq!(again[..first.len()], first);
    let kinds = host.coordinator.kinds();
    for kind in ["hold.acknowledged", "hold.raised"] {
        assert_eq!(count(&kinds, kind), 1, "{kinds:?}");
    }
    assert!(host.coordinator.get(|script| script.hellos.len()) > 2);
    let status = status::read(&host.place).unwrap();
    assert_eq!(status.queued, 0);
    assert_eq!(status.targets.len(), 1);
    assert!(!status.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_more_than_was_written_stops_the_agent() {
    let host = Host::new().await;
    host.coordinator.set(|script| script.boast = 3);
    let running = host.run();
    let breach = tokio::time::timeout(Duration::from_secs(20), running.ended).await;
    let breach = breach.unwrap().unwrap().unwrap_err();
    assert_eq!(breach.code(), 4);
    assert!(
        breach.to_string().contains("restored from an older copy"),
        "{breach}"
    );
}

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
    let said = |kind: &'static str| {
        move |script: &coordinator::Script| {
            script.statements.iter().any(|(_, s)| s.body.kind() == kind)
        }
    };
    host.coordinator
        .until("sealed", said("snapshot.sealed"))
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
        .until("packed", said("release.packed"))
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
        .until("verified", |script| {
            script
                .statements
                .iter()
                .any(|(_, s)| s.body.kind() == "hold.verified")
        })
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
    let said = |kind: &'static str, times: usize| {
        move |script: &coordinator::Script| {
            let said = script.statements.iter();
            said.filter(|(_, s)| s.body.kind() == kind).count() >= times
        }
    };
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
async fn a_certificate_is_renewed_before_it_ends() {
    let coordinator = Coordinator::start().await;
    coordinator.set(|script| script.life = Some(Duration::from_secs(6)));
    let host = Host::bare(coordinator);
    host.enrol().await.unwrap();
    let before = coordinator::certificate(&host.place.0);
    let running = host.run();
    host.coordinator
        .until("renewed", |script| script.renewals == 1)
        .await;
    host.coordinator
        .until("again", |script| script.hellos.len() == 2)
        .await;
    running.stop().await.unwrap();
    assert_ne!(coordinator::certificate(&host.place.0), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_there_fails_once_and_is_held_when_it_comes() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "carol")]);
    let running = host.run();
    host.coordinator
        .until("failed", |script| {
            script
                .statements
                .iter()
                .any(|(_, s)| s.body.kind() == "hold.failed")
        })
        .await;
    fs::create_dir(host.root.join("carol")).unwrap();
    fs::write(host.root.join("carol/file"), b"late").unwrap();
    host.coordinator
        .until("verified", |script| {
            script
                .statements
                .iter()
                .any(|(_, s)| s.body.kind() == "hold.verified")
        })
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

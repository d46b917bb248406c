//! A host with an enrolled agent, some customers' files, and a scripted coordinator.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{fs, os::unix::ffi::OsStrExt as _, path::PathBuf};

use agent::{
    app,
    config::{Config, Place},
    edge::Machine,
    exit::Trouble,
    journal::{Journal, known::Stage},
    link::enrol::{Enrolled, enrol},
};
use custody::id::{AgentId, TargetId};
use proto::v1::{Holding, Raise, Task, task::Task as Kind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Coordinator, Script};

pub const AGENT: AgentId = AgentId::from_random([1; 16]);

pub fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

/// A host with an enrolled agent and some customers' files.
pub struct Host {
    pub base: tempfile::TempDir,
    pub place: Place,
    pub root: PathBuf,
    pub coordinator: Coordinator,
}

pub struct Running {
    pub stop: CancellationToken,
    pub ended: JoinHandle<Result<(), Trouble>>,
}

impl Running {
    pub async fn stop(self) -> Result<(), Trouble> {
        self.stop.cancel();
        self.ended.await.unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What is held stays held: without this the folder would outlive the test.
        let _ = std::process::Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(self.base.path())
            .status();
    }
}

impl Host {
    pub async fn new() -> Self {
        let coordinator = Coordinator::start().await;
        let host = Self::bare(coordinator);
        host.enrol().await.unwrap();
        host
    }

    pub fn bare(coordinator: Coordinator) -> Self {
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

    pub async fn enrol(&self) -> Result<Enrolled, Trouble> {
        let invite = self.coordinator.invitation(self.base.path(), AGENT);
        let roots = [self.root.clone()];
        enrol(&invite, &self.place, &roots, &Machine::new().unwrap()).await
    }

    pub fn run(&self) -> Running {
        let stop = CancellationToken::new();
        let (place, at) = (self.place.clone(), stop.clone());
        let config = Config::load(&place).unwrap();
        let ready = self.base.path().join("ready");
        let ended =
            tokio::spawn(async move { app::run_until(place, config, Some(&ready), at).await });
        Running { stop, ended }
    }

    /// A hold that works on any file system: the living files stay as they are.
    pub fn raise(&self, n: u8, position: u64, folder: &str) -> Task {
        let path = self.root.join(folder);
        let raise = Raise {
            target: target(n).to_string(),
            path: path.as_os_str().as_bytes().to_vec().into(),
            holding: Holding::Preserve.into(),
            ..Default::default()
        };
        task(Kind::Raise(raise), position)
    }

    pub fn tasks(&self, tasks: Vec<Task>) {
        self.coordinator.set(|script| script.tasks = tasks);
    }

    pub fn stages(&self) -> Vec<Stage> {
        let known = Journal::look(&self.place.journal()).unwrap();
        known.targets.values().map(|target| target.stage).collect()
    }
}

pub fn task(kind: Kind, position: u64) -> Task {
    Task {
        task: Some(kind),
        position,
    }
}

pub fn count(kinds: &[&str], kind: &str) -> usize {
    kinds.iter().filter(|k| **k == kind).count()
}

/// Whether a kind was said at least so often.
pub fn said(kind: &'static str, times: usize) -> impl Fn(&Script) -> bool {
    move |script| {
        let all = script.statements.iter();
        all.filter(|(_, said)| said.body.kind() == kind).count() >= times
    }
}

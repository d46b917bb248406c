//! A whole house in a temporary folder: people, agents and what they say.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

pub mod story;
pub mod upkeep;
pub mod votes;

use std::{fs, path::Path};

use custody::{
    commit::Opening,
    digest::Digest,
    house::person::Role,
    id::{AgentId, CommandId, PersonId, SubjectId},
    ledger::entry::Entry,
    sign::{PublicKey, SecretKey, Signer as _},
    statement::{AgentEnrolled, AgentInvite, Author, Body, Link, PersonAdd, Statement, VERSION},
    time::Span,
};
use server::{
    clock,
    config::{Config, Data},
    desk::{Desk, DeskError, Recorded, Submission},
    init::{self, Admin},
};
use tempfile::TempDir;

pub const ORIGIN: &str = "holdfast.test/log";

pub fn random<const N: usize>() -> [u8; N] {
    clock::random().unwrap()
}

/// Signs a statement as any tool does.
pub fn seal(key: &SecretKey, author: Author, link: Option<Link>, body: Body) -> Vec<u8> {
    let statement = Statement {
        v: VERSION,
        log: ORIGIN.to_owned(),
        id: CommandId::from_random(random()),
        author,
        time: clock::now(),
        seen: None,
        link,
        body,
    };
    seal_statement(key, &statement)
}

pub fn seal_statement(key: &SecretKey, statement: &Statement) -> Vec<u8> {
    let text = statement.to_text().unwrap();
    let signature = key.sign(statement.namespace(), text.as_bytes()).unwrap();
    Entry::seal(&text, &signature).unwrap().bytes().to_vec()
}

pub struct Person {
    pub id: PersonId,
    pub key: SecretKey,
}

impl Person {
    pub fn new() -> Self {
        Self {
            id: PersonId::from_random(random()),
            key: SecretKey::from_seed(&random()),
        }
    }

    pub fn says(&self, body: Body) -> Vec<u8> {
        seal(&self.key, Author::Person(self.id), None, body)
    }
}

/// An agent that keeps its chain.
pub struct Robot {
    pub id: AgentId,
    pub key: SecretKey,
    pub epoch: u64,
    pub seq: u64,
    pub prev: Digest,
}

impl Robot {
    pub fn at(&self, seq: u64, prev: Digest, body: Body) -> Vec<u8> {
        let link = Link {
            epoch: self.epoch,
            seq,
            prev,
            boot: Digest::of(b"boot"),
            monotonic_ns: "1".to_owned(),
        };
        seal(&self.key, Author::Agent(self.id), Some(link), body)
    }

    /// The next entry of its chain.
    pub fn says(&mut self, body: Body) -> Vec<u8> {
        let entry = self.at(self.seq, self.prev, body);
        self.seq += 1;
        self.prev = Digest::of(&entry);
        entry
    }
}

pub fn plain(entry: Vec<u8>) -> Submission {
    with(entry, vec![])
}

pub fn with(entry: Vec<u8>, openings: Vec<Opening>) -> Submission {
    Submission {
        entry,
        openings,
        subject: None,
    }
}

pub fn under(entry: Vec<u8>, openings: Vec<Opening>, subject: SubjectId) -> Submission {
    Submission {
        entry,
        openings,
        subject: Some(subject),
    }
}

pub fn opening(field: &str, value: impl Into<Vec<u8>>) -> Opening {
    Opening::new(field, value, random())
}

pub struct House {
    pub folder: TempDir,
    pub data: Data,
    pub config: Config,
    desk: Option<Desk>,
    pub admin: Person,
}

impl House {
    pub async fn new() -> Self {
        Self::with_config(|_| {}).await
    }

    pub async fn with_config(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = Data(folder.path().join("server"));
        Self::at(folder, data, change).await
    }

    pub async fn at(folder: TempDir, data: Data, change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::new(ORIGIN.to_owned());
        change(&mut config);
        let mut admin = Person::new();
        let first = Admin {
            name: "CANARY-admin".to_owned(),
            key: admin.key.public_key(),
        };
        admin.id = init::init(&data, &config, first).await.unwrap().person;
        let desk = Desk::open(&data, &config).await.unwrap();
        Self {
            folder,
            data,
            config,
            desk: Some(desk),
            admin,
        }
    }

    pub fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    /// Stops as a signal does.
    pub async fn close(&mut self) {
        if let Some(desk) = self.desk.take() {
            desk.close().await;
        }
    }

    pub async fn open(&mut self) -> anyhow::Result<()> {
        self.desk = Some(Desk::open(&self.data, &self.config).await?);
        Ok(())
    }

    pub async fn reopen(&mut self) {
        self.close().await;
        self.open().await.unwrap();
    }

    pub async fn submit(&self, submission: Submission) -> Result<Recorded, DeskError> {
        self.desk().submit(submission).await
    }

    /// What a new person's statement and opening are.
    pub fn add_person(&self, key: PublicKey, roles: &[Role]) -> (PersonId, Submission) {
        let id = PersonId::from_random(random());
        let name = opening("name", format!("CANARY-{id}"));
        let body = Body::PersonAdd(PersonAdd {
            person: id,
            key,
            roles: roles.to_vec(),
            name: name.commitment(),
        });
        (id, with(self.admin.says(body), vec![name]))
    }

    pub async fn person(&self, roles: &[Role]) -> Person {
        let mut person = Person::new();
        let (id, submission) = self.add_person(person.key.public_key(), roles);
        person.id = id;
        self.submit(submission).await.unwrap();
        person
    }

    pub async fn invite(&self, agent: AgentId) {
        let name = opening("name", format!("CANARY-server-{agent}"));
        let body = Body::AgentInvite(AgentInvite {
            agent,
            token: Digest::of(b"token"),
            expires: clock::now() + Span::hours(1),
            name: name.commitment(),
        });
        let submission = with(self.admin.says(body), vec![name]);
        self.submit(submission).await.unwrap();
    }

    pub async fn enrol(&self, agent: AgentId, epoch: u64) -> Robot {
        self.invite(agent).await;
        let key = SecretKey::from_seed(&random());
        let body = Body::AgentEnrolled(AgentEnrolled {
            agent,
            epoch,
            key: key.public_key(),
            certificate: Digest::of(&random::<32>()),
            not_after: clock::now() + Span::hours(72),
        });
        self.desk().say(body).await.unwrap();
        Robot {
            id: agent,
            key,
            epoch,
            seq: 0,
            prev: Digest::of(b""),
        }
    }

    pub async fn robot(&self) -> Robot {
        self.enrol(AgentId::from_random(random()), 0).await
    }

    /// Waits until everything that is committed is published.
    pub async fn published(&self) {
        let size = *self.desk().changed().borrow();
        let mut published = self.desk().published();
        let done = published.wait_for(|p| p.as_ref().is_some_and(|p| p.checkpoint.size >= size));
        tokio::time::timeout(std::time::Duration::from_secs(20), done)
            .await
            .unwrap()
            .unwrap();
    }

    /// Waits for something to become so.
    pub async fn until(&self, what: &str, so: impl Fn(&custody::house::House) -> bool) {
        for _ in 0..400 {
            if so(&self.desk().house()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("waited in vain: {what}");
    }
}

/// A test that cannot run here says so; it never passes in silence.
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let mut out = fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        std::io::Write::write_all(&mut out, format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

/// The rule that turned something down.
pub fn rule(answer: &Result<Recorded, DeskError>) -> &'static str {
    match answer {
        Err(DeskError::Refused(refusal)) => refusal.rule,
        other => panic!("not refused: {other:?}"),
    }
}

/// Copies a folder with everything in it, as a backup does.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

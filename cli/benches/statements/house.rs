//! The coordinator under test: made, started, asked and stopped as an operator does it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cli::{
    connect::{Services, connect},
    session::{commit, log_in, now, random},
};
use custody::{
    house::person::Role,
    id::{CommandId, PersonId},
    ledger::{checkpoint::Checkpoint, entry::Entry, note::VerifierKey, tree},
    sign::{SecretKey, Signer as _},
    statement::{Author, Body, PersonAdd, Seen, Statement, VERSION},
};
use proto::v1;
use tonic::transport::Channel;

/// How long a start, a stop or a checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(120);
const ORIGIN: &str = "bench.holdfast.invalid/log";

/// A person with a key, logged in.
pub struct Person {
    pub id: PersonId,
    pub key: SecretKey,
    pub token: String,
}

/// What a person says: an entry and what opens it.
pub fn said(
    key: &SecretKey,
    person: PersonId,
    seen: Option<Seen>,
    body: Body,
    openings: Vec<custody::commit::Opening>,
) -> v1::SubmitRequest {
    let statement = Statement {
        v: VERSION,
        log: ORIGIN.to_owned(),
        id: CommandId::from_random(random().expect("random bytes")),
        author: Author::Person(person),
        time: now(),
        seen,
        link: None,
        body,
    };
    let text = statement.to_text().expect("the statement is canonical");
    let signature = key
        .sign(statement.namespace(), text.as_bytes())
        .expect("a key in memory signs");
    let entry = Entry::seal(&text, &signature).expect("the entry is short");
    v1::SubmitRequest {
        entry: entry.bytes().to_vec().into(),
        openings: openings
            .into_iter()
            .map(|opening| v1::Opening {
                field: opening.field,
                r: opening.r.to_vec().into(),
                value: opening.value.into(),
            })
            .collect(),
        subject: String::new(),
    }
}

/// Whether the coordinator recorded the very bytes that were sent.
pub fn is_of(answer: &v1::SubmitResponse, entry: &[u8]) -> bool {
    !answer.duplicate && answer.leaf_hash.as_ref() == tree::leaf_hash(entry).as_bytes()
}

/// A coordinator and its folder.
pub struct House {
    program: PathBuf,
    data: PathBuf,
    admin: (PersonId, SecretKey),
    address: String,
    child: Option<Child>,
}

impl House {
    /// Makes the data folder, with one administrator.
    pub fn init(data: &Path) -> Self {
        let built = std::env::current_exe().expect("this program");
        let beside = built.parent().and_then(Path::parent).expect("a folder");
        let bin = std::env::var_os("HOLDFAST_BIN").map_or_else(|| beside.to_owned(), PathBuf::from);
        let program = bin.join("holdfast-server");
        assert!(
            program.exists(),
            "build holdfast-server in release mode first"
        );
        let key = SecretKey::from_seed(&random().expect("random bytes"));
        let public = data.with_extension("pub");
        fs::write(&public, key.public_key().to_openssh()).expect("the key is written");
        let made = Command::new(&program)
            .args(["init", "--json", "--origin", ORIGIN, "--admin-name", "a"])
            .args(["--listen", "127.0.0.1:0", "--name", "127.0.0.1"])
            .arg("--admin-key")
            .arg(&public)
            .arg("--data")
            .arg(data)
            .output()
            .expect("holdfast-server runs");
        assert!(made.status.success(), "{made:?}");
        let said: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        let person = said["person"].as_str().expect("the administrator's id");
        Self {
            program,
            data: data.to_owned(),
            admin: (person.parse().expect("an id"), key),
            address: String::new(),
            child: None,
        }
    }

    /// Starts it; says how long it took until it accepted connections.
    pub fn start(&mut self) -> Duration {
        let ready = self.data.with_extension("ready");
        let _ = fs::remove_file(&ready);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("its log");
        let begun = Instant::now();
        let child = Command::new(&self.program)
            .args(["run", "--data"])
            .arg(&self.data)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("holdfast-server runs");
        self.child = Some(child);
        while !ready.exists() {
            assert!(begun.elapsed() < PATIENCE, "the coordinator does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = begun.elapsed();
        let text = fs::read_to_string(&ready).expect("the ready file");
        let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        self.address = said["address"].as_str().expect("an address").to_owned();
        took
    }

    /// Stops it as systemd does, and waits for it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "the coordinator ended with {status}");
    }

    /// Folds the journal anew and compares everything; how long that took, and the entries.
    pub fn replay(&self) -> (Duration, u64) {
        let begun = Instant::now();
        let checked = Command::new(&self.program)
            .args(["replay", "--check", "--data"])
            .arg(&self.data)
            .output()
            .expect("holdfast-server runs");
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "replay --check: {text}");
        let entries = text.split(' ').next().and_then(|word| word.parse().ok());
        (took, entries.expect("how many entries"))
    }

    /// CPU seconds that the running coordinator used so far.
    pub fn cpu(&self) -> f64 {
        let pid = self.child.as_ref().expect("it runs").id();
        cpu_of(&pid.to_string())
    }

    /// Bytes of its journal.
    pub fn bytes(&self) -> u64 {
        let journal = fs::metadata(self.data.join("journal.db"));
        journal.expect("the journal").len()
    }

    /// A fresh connection.
    pub async fn channel(&self) -> Channel {
        let authority = fs::read_to_string(self.data.join("pki/ca.pem")).expect("the authority");
        let server = format!("https://{}", self.address);
        connect(&server, &authority).await.expect("it answers")
    }

    fn vkey(&self) -> VerifierKey {
        let text = fs::read_to_string(self.data.join("log.vkey")).expect("the log's key");
        VerifierKey::parse(text.trim()).expect("a key")
    }

    /// Adds people who register orders, and logs each of them in.
    pub async fn people(&self, count: usize) -> Vec<Person> {
        let channel = self.channel().await;
        let vkey = self.vkey();
        let (admin, key) = &self.admin;
        let answer = log_in(&channel, &vkey, key).await.expect("a log-in");
        let mut services = Services::new(channel.clone(), Some(&answer.token)).expect("a token");
        let mut people = Vec::new();
        for number in 0..count {
            let theirs = SecretKey::from_seed(&random().expect("random bytes"));
            let id = PersonId::from_random(random().expect("random bytes"));
            let mut openings = Vec::new();
            let name = commit(&mut openings, "name", format!("clerk {number}"));
            let body = Body::PersonAdd(PersonAdd {
                person: id,
                key: theirs.public_key(),
                roles: vec![Role::Intake],
                name: name.expect("random bytes"),
            });
            let request = said(key, *admin, None, body, openings);
            services.desk.submit(request).await.expect("a person");
            let answer = log_in(&channel, &vkey, &theirs).await.expect("a log-in");
            people.push(Person {
                id,
                key: theirs,
                token: answer.token,
            });
        }
        people
    }

    /// The newest public checkpoint, verified.
    pub async fn checkpoint(&self, services: &mut Services) -> Checkpoint {
        let asked = services.ledger.get_checkpoint(v1::GetCheckpointRequest {});
        let note = asked.await.expect("a checkpoint").into_inner().note;
        Checkpoint::open(&note, &self.vkey()).expect("a signed checkpoint")
    }

    /// Waits until everything that was acknowledged is published; gives the log's size.
    pub async fn published(&self, acknowledged: u64) -> u64 {
        let channel = self.channel().await;
        let (_, key) = &self.admin;
        let answer = log_in(&channel, &self.vkey(), key).await.expect("a log-in");
        let mut services = Services::new(channel, Some(&answer.token)).expect("a token");
        let begun = Instant::now();
        loop {
            let size = self.checkpoint(&mut services).await.size;
            if size >= acknowledged {
                assert_eq!(size, acknowledged, "the log holds what nobody said");
                return size;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{size} of {acknowledged} published"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// CPU seconds of a process, user and system: fields 14 and 15 of its stat file, in hundredths
/// of a second on every Linux.
pub fn cpu_of(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("its stat file");
    let rest = text.rsplit(") ").next().expect("fields");
    let ticks = rest.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|word| word.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// How the writers reach the coordinator.
pub struct Connecting<'a> {
    pub house: &'a House,
    pub people: &'a [Person],
    pub writers: usize,
    pub connections: usize,
}

impl Connecting<'_> {
    /// One client for each writer, over this many connections.
    pub async fn clients(&self) -> Vec<(Services, &Person)> {
        let mut channels = Vec::new();
        for _ in 0..self.connections {
            channels.push(self.house.channel().await);
        }
        (0..self.writers)
            .map(|writer| {
                let person = &self.people[writer % self.people.len()];
                let channel = channels[writer % channels.len()].clone();
                let services = Services::new(channel, Some(&person.token));
                (services.expect("a token"), person)
            })
            .collect()
    }
}

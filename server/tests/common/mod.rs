//! What the tests of this crate share: the real coordinator as a process, real TLS, real keys.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod agent;
pub mod story;

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use custody::{
    commit::{Commitment, Opening},
    house::person::Role,
    id::{CommandId, PersonId},
    ledger::entry::Entry,
    sign::{Namespace, SecretKey, Signer as _},
    statement::{Author, Body, PersonAdd, Statement, VERSION},
    time::Time,
};
use proto::v1::{
    ChallengeRequest, FetchRequest, ListEntriesRequest, ListRequest, LoginRequest, ShowRequest,
    SubmitRequest, SubmitResponse, desk_client::DeskClient, evidence_client::EvidenceClient,
    ledger_client::LedgerClient, records_client::RecordsClient, session_client::SessionClient,
};
use serde_json::Value;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

macro_rules! fresh {
    ($type:ty) => {
        <$type>::from_random($crate::common::random())
    };
}
pub(crate) use fresh;

/// Commits to a value; gives the commitment and what opens it.
pub fn commit(field: &str, value: impl Into<Vec<u8>>) -> (Commitment, Opening) {
    let opening = Opening::new(field, value, random());
    (opening.commitment(), opening)
}

pub fn wire(opening: &Opening) -> proto::v1::Opening {
    proto::v1::Opening {
        field: opening.field.clone(),
        r: opening.r.to_vec().into(),
        value: opening.value.clone().into(),
    }
}

/// Waits until something is so, at most ten seconds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Says that a test could not run here. The runner counts these, and CI allows none.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let mut out = std::fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        writeln!(out, "{test}: {why}").unwrap();
    }
}

/// A coordinator that runs as a process of its own.
pub struct Coordinator {
    pub folder: tempfile::TempDir,
    pub origin: String,
    pub vkey: String,
    pub address: String,
    pub admin: Human,
    child: Child,
}

/// A person with a key, logged in.
pub struct Human {
    pub id: PersonId,
    pub key: SecretKey,
    pub token: String,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_holdfast-server"))
}

impl Coordinator {
    /// Makes a new data folder and starts a coordinator on it.
    pub async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&random());
        let public = folder.path().join("admin.pub");
        std::fs::write(&public, key.public_key().to_openssh()).unwrap();
        let out = binary()
            .args(["init", "--json", "--origin", "holdfast.test/log"])
            .args(["--admin-name", "Ada", "--listen", "127.0.0.1:0"])
            .args(["--name", "localhost", "--name", "127.0.0.1"])
            .arg("--admin-key")
            .arg(&public)
            .arg("--data")
            .arg(folder.path().join("server"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let (child, address) = start(&folder.path().join("server"));
        let mut coordinator = Self {
            origin: text("origin"),
            vkey: text("vkey"),
            admin: Human {
                id: text("person").parse().unwrap(),
                key,
                token: String::new(),
            },
            folder,
            address,
            child,
        };
        coordinator.admin.token = coordinator.login(&coordinator.admin.key).await.unwrap();
        coordinator
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    /// Kills it without a warning and starts it again. Everybody must log in anew.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.address) = start(&self.data());
    }

    /// Asks it to stop; gives its exit code and how long it took.
    pub async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let (begun, pid) = (Instant::now(), self.child.id().to_string());
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let ended = until("the coordinator stops", async || {
            self.child.try_wait().unwrap()
        })
        .await;
        (ended.code(), begun.elapsed())
    }

    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.data().join("pki/ca.pem")).unwrap()
    }

    pub async fn connect(
        &self,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority()))
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }

    pub async fn channel(&self) -> Channel {
        self.connect(None).await.unwrap()
    }

    pub async fn challenge(&self) -> Vec<u8> {
        let mut session = SessionClient::new(self.channel().await);
        let challenge = session.challenge(ChallengeRequest {}).await.unwrap();
        challenge.into_inner().nonce.to_vec()
    }

    pub async fn login_with(&self, nonce: &[u8], signature: Vec<u8>) -> Result<String, Status> {
        let mut session = SessionClient::new(self.channel().await);
        let login = LoginRequest {
            nonce: nonce.to_vec().into(),
            signature: signature.into(),
        };
        Ok(session.login(login).await?.into_inner().token)
    }

    pub async fn login(&self, key: &SecretKey) -> Result<String, Status> {
        let nonce = self.challenge().await;
        let signature = key.sign(Namespace::Login, &self.to_sign(&nonce)).unwrap();
        self.login_with(&nonce, signature.encode()).await
    }

    pub fn to_sign(&self, nonce: &[u8]) -> Vec<u8> {
        format!("{}\n{}\n", self.origin, hex::encode(nonce)).into_bytes()
    }

    /// Submits a person's statement with what opens its commitments.
    pub async fn say(
        &self,
        who: &Human,
        body: Body,
        openings: &[Opening],
    ) -> Result<SubmitResponse, Status> {
        let subject = match &body {
            Body::ClaimFile(claim) => claim.subject.to_string(),
            _ => String::new(),
        };
        let entry = self.seal(who, body).bytes().to_vec().into();
        let request = SubmitRequest {
            entry,
            openings: openings.iter().map(wire).collect(),
            subject,
        };
        let mut desk = DeskClient::new(self.channel().await);
        Ok(desk.submit(bearer(&who.token, request)).await?.into_inner())
    }

    pub fn seal(&self, who: &Human, body: Body) -> Entry {
        let statement = Statement {
            v: VERSION,
            log: self.origin.clone(),
            id: fresh!(CommandId),
            author: Author::Person(who.id),
            time: now(),
            seen: None,
            link: None,
            body,
        };
        let text = statement.to_text().unwrap();
        let signature = who
            .key
            .sign(statement.namespace(), text.as_bytes())
            .unwrap();
        Entry::seal(&text, &signature).unwrap()
    }

    /// Adds a person and logs in as him.
    pub async fn person(&self, name: &str, roles: &[Role]) -> Human {
        let (id, key) = (fresh!(PersonId), SecretKey::from_seed(&random()));
        let (commitment, opening) = commit("name", name);
        let body = Body::PersonAdd(PersonAdd {
            person: id,
            key: key.public_key(),
            roles: roles.to_vec(),
            name: commitment,
        });
        self.say(&self.admin, body, &[opening]).await.unwrap();
        let token = self.login(&key).await.unwrap();
        Human { id, key, token }
    }

    pub async fn records(&self) -> RecordsClient<Channel> {
        RecordsClient::new(self.channel().await)
    }

    pub async fn evidence(&self) -> EvidenceClient<Channel> {
        EvidenceClient::new(self.channel().await)
    }

    pub async fn ledger(&self) -> LedgerClient<Channel> {
        LedgerClient::new(self.channel().await)
    }

    /// One record as the administrator sees it.
    pub async fn show(&self, kind: &str, id: impl ToString) -> Value {
        let request = ShowRequest {
            kind: kind.to_owned(),
            id: id.to_string(),
        };
        let mut records = self.records().await;
        let record = records.show(bearer(&self.admin.token, request)).await;
        serde_json::from_slice(&record.unwrap().into_inner().json).unwrap()
    }

    pub async fn list(&self, who: &Human, kind: &str) -> Vec<proto::v1::Record> {
        let request = ListRequest {
            kind: kind.to_owned(),
        };
        let mut records = self.records().await;
        let mut stream = records
            .list(bearer(&who.token, request))
            .await
            .unwrap()
            .into_inner();
        let mut all = Vec::new();
        while let Some(record) = stream.message().await.unwrap() {
            all.push(record);
        }
        all
    }

    /// Waits until a record's field reads so.
    pub async fn becomes(&self, kind: &str, id: impl ToString, field: &str, value: &str) -> Value {
        let id = id.to_string();
        until(&format!("{kind} {id}: {field} is {value}"), async || {
            let record = self.show(kind, &id).await;
            (record[field] == value).then_some(record)
        })
        .await
    }

    /// Every statement of the log.
    pub async fn log(&self) -> Vec<Statement> {
        let request = ListEntriesRequest {
            first: 0,
            count: 10_000,
        };
        let mut ledger = self.ledger().await;
        let entries = ledger
            .list_entries(bearer(&self.admin.token, request))
            .await;
        let (mut entries, mut all) = (entries.unwrap().into_inner(), Vec::new());
        while let Some(entry) = entries.message().await.unwrap() {
            all.push(Entry::parse(&entry.entry).unwrap().statement().unwrap());
        }
        all
    }

    /// Whether the log says that this rule refused this.
    pub async fn refused(&self, rule: &str, what: &str) -> bool {
        self.log()
            .await
            .iter()
            .any(|statement| match &statement.body {
                Body::Refused(refused) => refused.rule == rule && refused.what == what,
                _ => false,
            })
    }
}

// Who gets the child ends it and waits for it; a start that fails ends the test.
#[allow(clippy::zombie_processes)]
fn start(data: &std::path::Path) -> (Child, String) {
    let ready = data.join("ready.json");
    let _ = std::fs::remove_file(&ready);
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(data.parent().unwrap().join("server.log"))
        .unwrap();
    let child = binary()
        .arg("run")
        .arg("--data")
        .arg(data)
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        if let Ok(bytes) = std::fs::read(&ready) {
            let said: Value = serde_json::from_slice(&bytes).unwrap();
            return (child, said["address"].as_str().unwrap().to_owned());
        }
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "not ready: {}",
            std::fs::read_to_string(data.parent().unwrap().join("server.log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Fetches a file from an offset to its end.
pub async fn fetch(
    coordinator: &Coordinator,
    who: &Human,
    kind: i32,
    id: &str,
    offset: u64,
) -> Result<Vec<u8>, Status> {
    let request = FetchRequest {
        kind,
        id: id.to_owned(),
        offset,
    };
    let mut evidence = coordinator.evidence().await;
    let mut chunks = evidence
        .fetch(bearer(&who.token, request))
        .await?
        .into_inner();
    let (mut bytes, mut total) = (Vec::new(), None);
    while let Some(chunk) = chunks.message().await? {
        total.get_or_insert(chunk.total);
        assert_eq!(chunk.offset, offset + bytes.len() as u64);
        bytes.extend_from_slice(&chunk.data);
    }
    assert_eq!(total, Some(offset + bytes.len() as u64));
    Ok(bytes)
}

/// A call of somebody who is logged in.
pub fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// The rule that a status names.
pub fn rule(status: &Status) -> String {
    let rule = status.metadata().get("holdfast-rule");
    rule.map(|rule| rule.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

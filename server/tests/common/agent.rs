//! A storage server's agent, as far as the coordinator can tell: its own keys, chain and stream.

use custody::{
    commit::Opening,
    digest::Digest,
    id::{AgentId, CommandId},
    ledger::entry::Entry,
    sign::{Namespace, SecretKey, Signer as _},
    statement::{AgentInvite, Author, Body, Link, Statement, VERSION},
    time::{Span, Time},
};
use proto::v1::{
    AgentStatement, EnrolRequest, EnrolResponse, FromAgent, Hello, Located, RootInfo, Survey, Task,
    ToAgent, UploadChunk, UploadResponse, UploadStateRequest, Weighed,
    enrolment_client::EnrolmentClient, fleet_client::FleetClient, from_agent, task, to_agent,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Identity},
};

use super::{Coordinator, commit, fresh, now, random, wire};

pub struct Agent {
    pub id: AgentId,
    pub key: SecretKey,
    pub tls: rcgen::KeyPair,
    pub certificate: String,
    pub roots: Vec<RootInfo>,
    pub epoch: u64,
    seq: u64,
    prev: Digest,
}

/// A stream that is up.
pub struct Stream {
    pub up: mpsc::Sender<FromAgent>,
    pub down: Streaming<ToAgent>,
    /// Tasks that came while something else was waited for.
    pub tasks: Vec<Task>,
    /// The places that it says are there.
    pub there: Vec<Vec<u8>>,
    /// How it says that it would hold any place.
    pub survey: Option<Survey>,
    /// What it counts of any target.
    pub weighed: Option<Weighed>,
}

/// What became of a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Recorded(u64),
    Turned(String),
}

/// Invites an agent; gives its id and its token.
pub async fn invite(coordinator: &Coordinator, expires: Time) -> (AgentId, [u8; 32]) {
    let (agent, token) = (fresh!(AgentId), random());
    let (name, opening) = commit("name", "store-1");
    let body = Body::AgentInvite(AgentInvite {
        agent,
        token: Digest::of(&token),
        expires,
        name,
    });
    let said = coordinator.say(&coordinator.admin, body, &[opening]).await;
    said.unwrap();
    (agent, token)
}

pub fn csr(key: &rcgen::KeyPair) -> Vec<u8> {
    let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.serialize_request(key).unwrap().der().to_vec()
}

/// Asks to be enrolled; the request may be spoiled before it goes.
pub async fn enrol(
    coordinator: &Coordinator,
    agent: AgentId,
    token: &[u8],
    key: &SecretKey,
    tls: &rcgen::KeyPair,
    spoil: impl FnOnce(&mut EnrolRequest),
) -> Result<EnrolResponse, Status> {
    let csr = csr(tls);
    let proof = key.sign(Namespace::Agent, &csr).unwrap();
    let mut request = EnrolRequest {
        agent: agent.to_string(),
        token: token.to_vec().into(),
        csr: csr.into(),
        key: key.public_key().to_openssh(),
        key_proof: proof.encode().into(),
    };
    spoil(&mut request);
    let mut enrolment = EnrolmentClient::new(coordinator.channel().await);
    Ok(enrolment.enrol(request).await?.into_inner())
}

impl Agent {
    /// Invites and enrols an agent with the root `/srv/data`.
    pub async fn new(coordinator: &Coordinator) -> Self {
        let (id, token) = invite(coordinator, now() + Span::hours(1)).await;
        let key = SecretKey::from_seed(&random());
        let tls = rcgen::KeyPair::generate().unwrap();
        let enrolled = enrol(coordinator, id, &token, &key, &tls, |_| {})
            .await
            .unwrap();
        assert_eq!(
            (enrolled.epoch, enrolled.origin),
            (0, coordinator.origin.clone())
        );
        Self {
            id,
            key,
            tls,
            certificate: enrolled.certificate,
            roots: vec![RootInfo {
                path: b"/srv/data".to_vec().into(),
                file_system: "ext4".to_owned(),
                accounts: "{account}".to_owned(),
                disks: Vec::new(),
            }],
            epoch: enrolled.epoch,
            seq: 0,
            prev: Digest::of(b""),
        }
    }

    pub async fn fleet(&self, coordinator: &Coordinator) -> FleetClient<Channel> {
        let identity = Identity::from_pem(&self.certificate, self.tls.serialize_pem());
        FleetClient::new(coordinator.connect(Some(identity)).await.unwrap())
    }

    /// Opens a stream and reads the welcome.
    pub async fn follow(&self, coordinator: &Coordinator) -> Result<Stream, Status> {
        let (up, messages) = mpsc::channel(16);
        let hello = Hello {
            version: "test".to_owned(),
            roots: self.roots.clone(),
            epoch: self.epoch,
            next_seq: self.seq,
        };
        up.send(message(from_agent::Message::Hello(hello)))
            .await
            .unwrap();
        let mut fleet = self.fleet(coordinator).await;
        let mut down = fleet
            .follow(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let first = down.message().await?.and_then(|m| m.message);
        let Some(to_agent::Message::Welcome(welcome)) = first else {
            panic!("no welcome: {first:?}");
        };
        assert_eq!((welcome.epoch, welcome.next_seq), (self.epoch, self.seq));
        Ok(Stream {
            up,
            down,
            tasks: Vec::new(),
            there: Vec::new(),
            survey: None,
            weighed: None,
        })
    }

    /// The entry of the next statement of this agent's chain.
    pub fn seal(&mut self, coordinator: &Coordinator, body: Body) -> Entry {
        let statement = Statement {
            v: VERSION,
            log: coordinator.origin.clone(),
            id: fresh!(CommandId),
            author: Author::Agent(self.id),
            time: now(),
            seen: None,
            link: Some(Link {
                epoch: self.epoch,
                seq: self.seq,
                prev: self.prev,
                boot: Digest::of(b"boot"),
                monotonic_ns: "1".to_owned(),
            }),
            body,
        };
        let text = statement.to_text().unwrap();
        let signature = self.key.sign(Namespace::Agent, text.as_bytes()).unwrap();
        let entry = Entry::seal(&text, &signature).unwrap();
        self.seq += 1;
        self.prev = entry.digest();
        entry
    }

    /// Says something and waits for what became of it.
    pub async fn say(
        &mut self,
        coordinator: &Coordinator,
        stream: &mut Stream,
        body: Body,
        openings: &[Opening],
    ) -> Outcome {
        let entry = self.seal(coordinator, body);
        stream.hand_in(&entry, openings).await;
        stream.outcome().await
    }

    pub async fn have(&self, coordinator: &Coordinator, kind: i32, id: &str) -> (u64, bool) {
        let request = UploadStateRequest {
            kind,
            id: id.to_owned(),
        };
        let mut fleet = self.fleet(coordinator).await;
        let state = fleet.upload_state(request).await.unwrap().into_inner();
        (state.have, state.complete)
    }

    /// Uploads bytes from an offset, at most so many, in chunks of that size.
    pub async fn upload(
        &self,
        coordinator: &Coordinator,
        (kind, id): (i32, &str),
        bytes: &[u8],
        (from, until): (usize, usize),
        chunk: usize,
    ) -> Result<UploadResponse, Status> {
        let chunks: Vec<_> = bytes[from..until]
            .chunks(chunk)
            .enumerate()
            .map(|(at, data)| UploadChunk {
                kind,
                id: id.to_owned(),
                total: bytes.len() as u64,
                offset: (from + at * chunk) as u64,
                data: data.to_vec().into(),
            })
            .collect();
        let mut fleet = self.fleet(coordinator).await;
        Ok(fleet.upload(tokio_stream::iter(chunks)).await?.into_inner())
    }
}

fn message(message: from_agent::Message) -> FromAgent {
    FromAgent {
        message: Some(message),
    }
}

impl Stream {
    pub async fn hand_in(&mut self, entry: &Entry, openings: &[Opening]) {
        let statement = AgentStatement {
            entry: entry.bytes().to_vec().into(),
            openings: openings.iter().map(wire).collect(),
        };
        let message = message(from_agent::Message::Statement(statement));
        self.up.send(message).await.unwrap();
    }

    /// The next message that is neither a beat nor a question.
    pub async fn next(&mut self) -> Result<Option<to_agent::Message>, Status> {
        loop {
            match self.down.message().await?.and_then(|m| m.message) {
                Some(to_agent::Message::Beat(_)) => {}
                Some(to_agent::Message::Locate(asked)) => {
                    let found = asked
                        .paths
                        .iter()
                        .filter(|p| self.there.iter().any(|t| t.as_slice() == p.as_ref()));
                    let surveyed = |path: &_| Survey {
                        path: Clone::clone(path),
                        ..self.survey.clone().unwrap_or_default()
                    };
                    let surveys = asked.paths.iter().filter(|_| asked.survey).map(surveyed);
                    let located = Located {
                        question: asked.question,
                        found: found.cloned().collect(),
                        surveys: surveys.collect(),
                        weighed: self.weighed.filter(|_| !asked.narrow.is_empty()),
                        later: None,
                    };
                    let located = message(from_agent::Message::Located(located));
                    self.up.send(located).await.unwrap();
                }
                other => return Ok(other),
            }
        }
    }

    pub async fn outcome(&mut self) -> Outcome {
        loop {
            match self.next().await.unwrap() {
                Some(to_agent::Message::Recorded(recorded)) => {
                    return Outcome::Recorded(recorded.index);
                }
                Some(to_agent::Message::Turned(turned)) => return Outcome::Turned(turned.rule),
                Some(to_agent::Message::Task(task)) => self.tasks.push(task),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// The next task.
    pub async fn task(&mut self) -> task::Task {
        if !self.tasks.is_empty() {
            return self.tasks.remove(0).task.unwrap();
        }
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), self.next());
        match next.await.expect("a task within ten seconds").unwrap() {
            Some(to_agent::Message::Task(task)) => task.task.unwrap(),
            other => panic!("unexpected: {other:?}"),
        }
    }

    /// Why the stream ends.
    pub async fn end(&mut self) -> Status {
        let end = async {
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("ended without a word"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), end)
            .await
            .expect("an end")
    }
}

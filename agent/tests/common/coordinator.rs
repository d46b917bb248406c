//! A coordinator for tests: real TLS, real gRPC, and a script instead of a house. It checks
//! each statement as a house would: signature, chain, and what opens its commitments.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use custody::{
    digest::Digest,
    house::decide::commitments,
    id::AgentId,
    ledger::{
        chain::{self, ChainHead},
        checkpoint::Checkpoint,
        entry::Entry,
        note::{ED25519, NoteKey},
    },
    sign::{Namespace, PublicKey, SshSig},
    statement::{Body, Statement},
};
use futures::Stream;
use proto::v1::{
    EnrolRequest, EnrolResponse, FromAgent, Hello, Recorded, RenewRequest, RenewResponse, Task,
    ToAgent, UploadChunk, UploadResponse, UploadStateRequest, UploadStateResponse, Welcome,
    enrolment_server::{Enrolment, EnrolmentServer},
    fleet_server::{Fleet, FleetServer},
    from_agent::Message as Up,
    to_agent::Message as Down,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub const ORIGIN: &str = "log.example/test";
pub const TOKEN: [u8; 32] = [0x70; 32];

/// What it knows, and how it is to behave.
#[derive(Default)]
pub struct Script {
    pub agent: Option<(AgentId, PublicKey)>,
    pub token_used: bool,
    pub head: Option<ChainHead>,
    pub statements: Vec<(Vec<u8>, Statement)>,
    /// What opened the commitments of statements.
    pub opened: Vec<custody::commit::Opening>,
    /// Everything that came, also again.
    pub received: Vec<Vec<u8>>,
    pub hellos: Vec<Hello>,
    pub found: Vec<Vec<Vec<u8>>>,
    /// Sent on each stream.
    pub tasks: Vec<Task>,
    /// Sent once, on the stream that is up.
    pub later: Vec<Task>,
    /// What was said to be under way.
    pub underway: Vec<proto::v1::Underway>,
    /// How its disks do, as it said.
    pub health: Vec<proto::v1::Health>,
    pub locate: Vec<Vec<u8>>,
    /// Statements are taken and not acknowledged, and the stream is cut after so many.
    pub cut_after: Option<usize>,
    /// Says no to everybody.
    pub revoked: bool,
    /// Says in the welcome that it has so many more than it has.
    pub boast: u64,
    /// Speaks for another log, under a key of its own.
    pub other_log: bool,
    /// Says that its log has so many entries.
    pub log_size: Option<u64>,
    /// A certificate lives so long.
    pub life: Option<Duration>,
    pub renewals: usize,
    pub uploads: HashMap<String, Vec<u8>>,
    /// The upload breaks off after so many bytes, once.
    pub break_upload: Option<usize>,
}

#[derive(Clone)]
pub struct Coordinator {
    pub script: Arc<Mutex<Script>>,
    pub address: SocketAddr,
    pub authority: String,
    pub vkey: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
    log: Arc<NoteKey>,
}

impl Coordinator {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&own_key, &issuer).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut tls = ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::from_pem_slice(own_key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let log = NoteKey::from_seed(ORIGIN, ED25519, &[8; 32]).unwrap();
        let coordinator = Self {
            script: Arc::default(),
            address: listener.local_addr().unwrap(),
            authority: certificate.pem(),
            vkey: log.verifier().to_string(),
            issuer: Arc::new(issuer),
            log: Arc::new(log),
        };
        let (ready, connections) = mpsc::channel::<std::io::Result<_>>(8);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        let _ = ready.send(Ok(stream)).await;
                    }
                });
            }
        });
        let serving = Server::builder()
            .add_service(EnrolmentServer::new(coordinator.clone()))
            .add_service(FleetServer::new(coordinator.clone()))
            .serve_with_incoming(ReceiverStream::new(connections));
        tokio::spawn(serving);
        coordinator
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn get<T>(&self, look: impl FnOnce(&Script) -> T) -> T {
        look(&self.script.lock().unwrap())
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Script) -> bool) {
        for _ in 0..600 {
            if self.get(&is_so) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let kinds = self.kinds();
        panic!("never: {what}; said so far: {kinds:?}");
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.get(|script| {
            let all = script.statements.iter();
            all.map(|(_, statement)| statement.body.kind()).collect()
        })
    }

    pub fn bodies(&self) -> Vec<Body> {
        self.get(|script| {
            let all = script.statements.iter();
            all.map(|(_, statement)| statement.body.clone()).collect()
        })
    }

    pub fn invitation(&self, folder: &Path, agent: AgentId) -> PathBuf {
        let path = folder.join("invitation.toml");
        let text = format!(
            "server = \"https://localhost:{}\"\nagent = \"{agent}\"\ntoken = \"{}\"\n\
             origin = \"{ORIGIN}\"\nvkey = \"{}\"\nauthority = \"\"\"\n{}\"\"\"\n",
            self.address.port(),
            hex::encode(TOKEN),
            self.vkey,
            self.authority
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn certify(&self, csr: &[u8]) -> String {
        let mut request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        if let Some(life) = self.get(|script| script.life) {
            let now = std::time::SystemTime::now();
            request.params.not_before = (now - Duration::from_secs(1)).into();
            request.params.not_after = (now + life).into();
        }
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn checkpoint(&self) -> Vec<u8> {
        let (size, other) = self.get(|script| {
            let size = script
                .log_size
                .unwrap_or(script.statements.len() as u64 + 1);
            (size, script.other_log)
        });
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: Digest::of(&size.to_be_bytes()),
        };
        let other_key = NoteKey::from_seed(ORIGIN, ED25519, &[9; 32]).unwrap();
        let key = if other { &other_key } else { &self.log };
        checkpoint.sign(key).to_string().into_bytes()
    }

    /// Takes a statement as a house would; gives its place if it is to be acknowledged.
    fn take(&self, statement: proto::v1::AgentStatement) -> Option<Recorded> {
        let mut script = self.script.lock().unwrap();
        let bytes = statement.entry.to_vec();
        script.received.push(bytes.clone());
        let entry = Entry::parse(&bytes).unwrap();
        let said = entry.statement().unwrap();
        let (_, key) = script.agent.clone().unwrap();
        entry.verify(Namespace::Agent, &key).unwrap();
        let link = said.link.clone().unwrap();
        let head = script.head.unwrap();
        match chain::follow(&head, &link, &entry.digest()) {
            Ok(()) => {
                script.head = Some(chain::next(&link, entry.digest()));
                let mut wanted = commitments(&said.body);
                for opening in statement.openings {
                    let opening = custody::commit::Opening::new(
                        opening.field,
                        opening.value.to_vec(),
                        opening.r.as_ref().try_into().unwrap(),
                    );
                    let before = wanted.len();
                    wanted.retain(|commitment| !opening.opens(commitment));
                    assert_eq!(wanted.len() + 1, before, "an opening too many");
                    script.opened.push(opening);
                }
                assert!(wanted.is_empty(), "a commitment is not opened: {wanted:?}");
                script.statements.push((bytes, said));
            }
            Err(_) => {
                let known = script.statements.iter().any(|(known, _)| *known == bytes);
                assert!(known, "the chain forks");
            }
        }
        if script.cut_after.is_some() {
            return None;
        }
        Some(Recorded {
            epoch: link.epoch,
            seq: link.seq,
            index: link.seq + 100,
            ..Recorded::default()
        })
    }
}

#[tonic::async_trait]
impl Enrolment for Coordinator {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        if request.token != TOKEN.to_vec() {
            return Err(Status::permission_denied("The token is not the one."));
        }
        let key = PublicKey::from_openssh(&request.key).unwrap();
        let proof = SshSig::decode(&request.key_proof).unwrap();
        proof.verify(Namespace::Agent, &request.csr, &key).unwrap();
        self.set(|script| {
            script.agent = Some((request.agent.parse().unwrap(), key));
            script.head = Some(ChainHead::start(0));
        });
        let used = self.get(|script| script.token_used);
        if used {
            let why = "The token was used already. Ask an administrator to invite again.";
            return Err(Status::permission_denied(why));
        }
        self.set(|script| script.token_used = true);
        Ok(Response::new(EnrolResponse {
            certificate: self.certify(&request.csr),
            authority: self.authority.clone(),
            epoch: 0,
            origin: ORIGIN.to_owned(),
            vkey: self.vkey.clone(),
        }))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

fn down(message: Down) -> Result<ToAgent, Status> {
    Ok(ToAgent {
        message: Some(message),
    })
}

#[tonic::async_trait]
impl Fleet for Coordinator {
    type FollowStream = Answers;

    async fn gate(
        &self,
        _: tonic::Request<proto::v1::GateRequest>,
    ) -> Result<tonic::Response<proto::v1::GateResponse>, tonic::Status> {
        let why = "This coordinator clears nothing.".to_owned();
        let answer = proto::v1::GateResponse {
            allowed: false,
            why,
        };
        Ok(tonic::Response::new(answer))
    }

    async fn follow(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Answers>, Status> {
        if self.get(|script| script.revoked) {
            return Err(Status::unauthenticated("This certificate was revoked."));
        }
        let mut up = request.into_inner();
        let (send, answers) = mpsc::channel(64);
        let this = self.clone();
        tokio::spawn(async move {
            let Ok(Some(FromAgent {
                message: Some(Up::Hello(hello)),
            })) = up.message().await
            else {
                panic!("no hello")
            };
            this.set(|script| script.hellos.push(hello));
            let (head, boast) = this.get(|script| (script.head.unwrap(), script.boast));
            let welcome = Welcome {
                checkpoint: this.checkpoint().into(),
                epoch: head.epoch,
                next_seq: head.seq + boast,
            };
            let _ = send.send(down(Down::Welcome(welcome))).await;
            let (tasks, paths) = this.get(|s| (s.tasks.clone(), s.locate.clone()));
            for task in tasks {
                let _ = send.send(down(Down::Task(task))).await;
            }
            if !paths.is_empty() {
                let paths = paths.into_iter().map(Into::into).collect();
                let question = 7;
                let locate = proto::v1::Locate {
                    question,
                    paths,
                    ..Default::default()
                };
                let _ = send.send(down(Down::Locate(locate))).await;
            }
            let mut taken = 0;
            // Weak, so that the stream ends when the one below does.
            let (later, pushing) = (this.clone(), send.downgrade());
            tokio::spawn(async move {
                while let Some(pushing) = pushing.upgrade() {
                    let tasks = std::mem::take(&mut later.script.lock().unwrap().later);
                    for task in tasks {
                        let _ = pushing.send(down(Down::Task(task))).await;
                    }
                    drop(pushing);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            while let Ok(Some(message)) = up.message().await {
                match message.message {
                    Some(Up::Underway(underway)) => {
                        this.set(|script| script.underway.push(underway));
                    }
                    Some(Up::Health(health)) => {
                        this.set(|script| script.health.push(health));
                    }
                    Some(Up::Statement(statement)) => {
                        taken += 1;
                        if let Some(recorded) = this.take(statement) {
                            let _ = send.send(down(Down::Recorded(recorded))).await;
                        }
                        if this.get(|script| script.cut_after.is_some_and(|n| taken >= n)) {
                            return;
                        }
                    }
                    Some(Up::Located(located)) => {
                        assert_eq!(located.question, 7);
                        let found = located.found.iter().map(|path| path.to_vec()).collect();
                        this.set(|script| script.found.push(found));
                    }
                    _ => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        self.set(|script| {
            script.renewals += 1;
            script.life = None;
        });
        let certificate = self.certify(&request.into_inner().csr);
        Ok(Response::new(RenewResponse { certificate }))
    }

    async fn upload_state(
        &self,
        request: Request<UploadStateRequest>,
    ) -> Result<Response<UploadStateResponse>, Status> {
        let id = request.into_inner().id;
        let have = self.get(|s| s.uploads.get(&id).map_or(0, |bytes| bytes.len() as u64));
        Ok(Response::new(UploadStateResponse {
            have,
            complete: false,
        }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadChunk>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let mut chunks = request.into_inner();
        let (mut have, mut total) = (0, 0);
        while let Some(chunk) = chunks.message().await? {
            assert!(chunk.data.len() <= proto::CHUNK);
            total = chunk.total;
            let broken = {
                let mut script = self.script.lock().unwrap();
                let file = script.uploads.entry(chunk.id).or_default();
                assert_eq!(file.len() as u64, chunk.offset);
                file.extend_from_slice(&chunk.data);
                have = file.len() as u64;
                let limit = script.break_upload;
                let broken = limit.is_some_and(|limit| have >= limit as u64);
                if broken {
                    script.break_upload = None;
                }
                broken
            };
            if broken {
                return Err(Status::unavailable("Broken off."));
            }
        }
        Ok(Response::new(UploadResponse {
            have,
            complete: have == total,
        }))
    }
}

/// The certificate that a folder shows now.
pub fn certificate(folder: &Path) -> Vec<u8> {
    let pem = std::fs::read(folder.join("tls.pem")).unwrap();
    CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
}

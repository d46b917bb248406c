//! The application: configuration -> build -> serve -> drain.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use proto::v1::{
    desk_server::DeskServer, enrolment_server::EnrolmentServer, evidence_server::EvidenceServer,
    fleet_server::FleetServer, ledger_server::LedgerServer, records_server::RecordsServer,
    session_server::SessionServer,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Server, server::Router},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::layer::util::{Identity as Plain, Stack};

use crate::{
    clock,
    config::{Config, Data},
    desk::Desk,
    evidence::{deliver::Deliveries, matching::Matching, receipt::Landmarks, upload::Uploads},
    files,
    fleet::Fleet,
    identity::{
        acceptor::{self, Identity},
        login::Sessions,
        pki::Authority,
    },
    rpc, telemetry,
};

/// How long a drain waits for what is under way.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the coordinator makes itself a fresh certificate.
const FRESH_CERTIFICATE: Duration = Duration::from_secs(24 * 3600);
/// Calls under way at most on one connection.
const CALLS_EACH: u32 = 256;
/// The longest message of a call that only asks, or that strangers may make.
const SMALL: usize = 64 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// What every call can reach.
pub struct Coordinator {
    /// As it was read at start.
    pub config: Config,
    /// Where everything is kept.
    pub data: Data,
    /// The one road by which anything changes.
    pub desk: Desk,
    /// Signs agents' certificates.
    pub authority: Authority,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Which agents are connected.
    pub fleet: Fleet,
    /// Uploads under way.
    pub uploads: Uploads,
    /// What could not be matched, and why.
    pub matching: Matching,
    /// Who was handed what since the start.
    pub deliveries: Deliveries,
    /// Where the log says what receipts cite.
    pub landmarks: Landmarks,
    /// Cancelled when the coordinator stops.
    pub stop: CancellationToken,
}

/// A coordinator that has its data folder and its port, and does not serve yet.
pub struct App {
    coordinator: Arc<Coordinator>,
    listener: TcpListener,
    address: SocketAddr,
}

impl App {
    /// Opens the data folder and binds the port.
    pub async fn build(data: Data, config: Config) -> anyhow::Result<Self> {
        let desk = Desk::open(&data, &config).await?;
        let authority = Authority::open(&data.pki())?;
        for folder in [data.manifests(), data.spool()] {
            files::folder(&folder, 0o700)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let fleet = Fleet::open(&data)?;
        let wanted = config.listen.address;
        let listener = TcpListener::bind(wanted).await.with_context(|| {
            format!("cannot listen on {wanted}: choose another `listen.address` in config.toml")
        })?;
        let address = listener.local_addr()?;
        let coordinator = Coordinator {
            uploads: Uploads::default(),
            matching: Matching::default(),
            deliveries: Deliveries::default(),
            landmarks: Landmarks::default(),
            sessions: Sessions::new()?,
            stop: CancellationToken::new(),
            authority,
            config,
            fleet,
            data,
            desk,
        };
        Ok(Self {
            coordinator: Arc::new(coordinator),
            listener,
            address,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then drains. An error means that it could not go on.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            coordinator,
            listener,
            address,
        } = self;
        let names = &coordinator.config.listen.names;
        let identity = Arc::new(Identity::new(&coordinator.authority, names, clock::now())?);
        let connections =
            acceptor::accept(listener, Arc::clone(&identity), coordinator.stop.clone());
        tokio::spawn(keep_fresh(Arc::clone(&coordinator), identity));
        tokio::spawn(crate::fleet::wake::run(Arc::clone(&coordinator)));
        tokio::spawn(crate::evidence::matching::run(Arc::clone(&coordinator)));

        let (health, router) = services(&coordinator).await;
        let stopping = coordinator.stop.clone();
        let mut server = tokio::spawn(
            router.serve_with_incoming_shutdown(connections, stopping.cancelled_owned()),
        );
        tracing::info!(%address, origin = coordinator.desk.origin(), "serving");
        let broken = tokio::select! {
            () = stop => None,
            failure = coordinator.desk.broken() => Some(anyhow::Error::from(failure)),
            ended = &mut server => Some(match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) => anyhow::anyhow!("the server ended by itself"),
                Err(error) => error.into(),
            }),
        };
        tracing::info!("draining");
        say_not_serving(&health).await;
        coordinator.stop.cancel();
        if !server.is_finished() && timeout(DRAIN, &mut server).await.is_err() {
            tracing::warn!("some calls did not end in time and are cut");
            server.abort();
        }
        coordinator.desk.close().await;
        tracing::info!("stopped");
        broken.map_or(Ok(()), Err)
    }
}

const SERVICES: [&str; 8] = [
    "",
    "holdfast.v1.Session",
    "holdfast.v1.Desk",
    "holdfast.v1.Records",
    "holdfast.v1.Ledger",
    "holdfast.v1.Evidence",
    "holdfast.v1.Enrolment",
    "holdfast.v1.Fleet",
];

async fn say_not_serving(health: &HealthReporter) {
    for service in SERVICES {
        health
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

async fn services(
    coordinator: &Arc<Coordinator>,
) -> (HealthReporter, Router<Stack<telemetry::Calls, Plain>>) {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    let c = || Arc::clone(coordinator);
    // Asked before anything of the message is read, and again by each call.
    let logged_in = {
        let coordinator = c();
        move |call: Request<()>| match rpc::person(&coordinator, &call) {
            Ok(_) => Ok(call),
            Err(no) => Err(Status::from(no)),
        }
    };
    let session = SessionServer::new(rpc::SessionService(c()));
    let enrolment = EnrolmentServer::new(rpc::EnrolmentService(c()));
    let records = RecordsServer::new(rpc::RecordsService(c())).max_decoding_message_size(SMALL);
    let ledger = LedgerServer::new(rpc::LedgerService(c())).max_decoding_message_size(SMALL);
    let evidence = EvidenceServer::new(rpc::EvidenceService(c())).max_decoding_message_size(SMALL);
    let desk = DeskServer::new(rpc::DeskService(c()));
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(CALLS_EACH)
        .concurrency_limit_per_connection(CALLS_EACH as usize)
        .layer(telemetry::Calls)
        .add_service(health)
        .add_service(session.max_decoding_message_size(SMALL))
        .add_service(enrolment.max_decoding_message_size(SMALL))
        .add_service(InterceptedService::new(desk, logged_in.clone()))
        .add_service(InterceptedService::new(records, logged_in.clone()))
        .add_service(InterceptedService::new(ledger, logged_in.clone()))
        .add_service(InterceptedService::new(evidence, logged_in))
        .add_service(FleetServer::new(rpc::FleetService(c())));
    (reporter, router)
}

async fn keep_fresh(coordinator: Arc<Coordinator>, identity: Arc<Identity>) {
    let names = &coordinator.config.listen.names;
    loop {
        tokio::select! {
            () = coordinator.stop.cancelled() => break,
            () = tokio::time::sleep(FRESH_CERTIFICATE) => {}
        }
        if let Err(error) = identity.renew(&coordinator.authority, names, clock::now()) {
            tracing::error!(%error, "no fresh certificate could be made; the old one stays");
        }
    }
}

/// Asks for as many descriptors as this process may have: each agent's connection takes one.
fn more_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Runs a coordinator until SIGTERM or SIGINT.
pub async fn run(data: Data, ready_file: Option<&Path>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let config = Config::read(&data)?;
    telemetry::start(&config.log)?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    more_descriptors();
    let app = App::build(data, config).await?;
    if let Some(path) = ready_file {
        let ready = serde_json::json!({ "address": app.address().to_string() });
        // Its folder must have a name to be flushed by.
        let path = &std::path::absolute(path)?;
        files::write(path, 0o644, ready.to_string().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    app.serve(stop).await
}

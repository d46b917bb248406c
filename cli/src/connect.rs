//! The wire to the coordinator: TLS against the pinned authority, and a bearer token.
//!
//! No system root is trusted: the coordinator's certificate comes from the authority in the
//! profile or the connection is refused.

use std::time::Duration;

use proto::v1::{
    desk_client::DeskClient, evidence_client::EvidenceClient, ledger_client::LedgerClient,
    records_client::RecordsClient, session_client::SessionClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::exit::{Outcome, Trouble};

/// How long one call that gives one answer may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Adds the token to each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Wire = InterceptedService<Channel, Bearer>;

/// The coordinator's services, as one person sees them.
#[derive(Clone)]
pub struct Services {
    /// Logging in.
    pub session: SessionClient<Wire>,
    /// The one way to change anything.
    pub desk: DeskClient<Wire>,
    /// What is known.
    pub records: RecordsClient<Wire>,
    /// The log.
    pub ledger: LedgerClient<Wire>,
    /// Evidence as files.
    pub evidence: EvidenceClient<Wire>,
}

impl Services {
    /// The services over a channel, with a token or without.
    pub fn new(channel: Channel, token: Option<&str>) -> Outcome<Self> {
        let value = match token {
            None => None,
            Some(token) => {
                let value = format!("Bearer {token}").parse();
                let mut value: MetadataValue<Ascii> = value.map_err(|_| {
                    Trouble::failed(
                        "token",
                        "The kept session cannot be read. Run `holdfast login`.",
                    )
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let bearer = Bearer(value);
        let wire = || InterceptedService::new(channel.clone(), bearer.clone());
        Ok(Self {
            session: SessionClient::new(wire()),
            desk: DeskClient::new(wire()),
            records: RecordsClient::new(wire()),
            ledger: LedgerClient::new(wire()),
            evidence: EvidenceClient::new(wire()),
        })
    }
}

/// A call that gives up after [`PATIENCE`].
pub fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// Host and port of an address.
pub fn host_and_port(server: &str) -> Outcome<(String, u16)> {
    let wrong = || {
        Trouble::usage(format!(
            "`{server}` is not a coordinator's address: write https://HOST:PORT."
        ))
    };
    let uri: tonic::transport::Uri = server.parse().map_err(|_| wrong())?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(wrong());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

/// Connects to a coordinator whose certificate comes from this authority.
pub async fn connect(server: &str, authority: &str) -> Outcome<Channel> {
    let (host, _) = host_and_port(server)?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(host);
    let endpoint = Endpoint::from_shared(server.to_owned())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| {
            Trouble::usage(format!(
                "The profile's address or authority cannot be used: {}. Log in again with \
                 --authority.",
                causes(&error)
            ))
        })?;
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    endpoint.connect().await.map_err(|error| {
        Trouble::failed(
            "unreachable",
            format!(
                "Cannot reach the coordinator at {server}: {}. Run `holdfast doctor` to see what \
                 is wrong.",
                causes(&error)
            ),
        )
    })
}

/// An error with what caused it, outermost first, each said once.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

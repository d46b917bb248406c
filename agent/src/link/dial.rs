//! Dialling: one outgoing connection, TLS pinned to the authority of the invitation, with the
//! agent's certificate where it has one.
//!
//! It trusts no other authority, and takes the coordinator's name from the agent's own files.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::identity::Tls;
use crate::exit::Trouble;

/// How often a silent connection is asked whether it is alive, and how long it may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long connecting may take, TLS and all.
const CONNECT: Duration = Duration::from_secs(15);

/// Where to dial, and what to show and to trust there.
#[derive(Clone)]
pub struct Dialer {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Dialer {
    /// Prepares for a coordinator such as `https://HOST:PORT`.
    pub fn new(server: &str, authority: &str, tls: Option<&Tls>) -> Result<Self, Trouble> {
        let wrong = || {
            Trouble::Usage(format!(
                "`{server}` is not the address of a coordinator. Write https://HOST:PORT."
            ))
        };
        let uri: Uri = server.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        let config = configuration(authority, tls)
            .map_err(|why| Trouble::Failed(format!("The agent's TLS files do not fit: {why}.")))?;
        Ok(Self {
            port: uri.port_u16().unwrap_or(443),
            host,
            name,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Connects. What is called on the channel later connects again by itself.
    pub async fn connect(&self) -> Result<Channel, Trouble> {
        let lost = |error: &dyn std::error::Error| {
            Trouble::Failed(format!(
                "The coordinator cannot be reached: {}.",
                causes(error)
            ))
        };
        // Only a name for HTTP/2: the connector below does the TLS.
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", self.bracketed(), self.port))
            .map_err(|error| lost(&error))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true);
        let dialer = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let dialer = dialer.clone();
            async move {
                let tcp = TcpStream::connect((dialer.host.as_str(), dialer.port)).await?;
                tcp.set_nodelay(true)?;
                let stream = dialer.tls.connect(dialer.name.clone(), tcp).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let connecting = endpoint.connect_with_connector(connector);
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| lost(&error)),
            Err(error) => Err(lost(&error)),
        }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

fn configuration(authority: &str, tls: Option<&Tls>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("the authority holds no certificate".to_owned());
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match tls {
        None => builder.with_no_client_auth(),
        Some(tls) => {
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(tls.certificate.as_bytes()).collect();
            let chain = chain.map_err(|error| error.to_string())?;
            let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())
                .map_err(|error| error.to_string())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// An error with what caused it, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

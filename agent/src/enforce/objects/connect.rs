//! Connections to a store: HTTP/1.1, over TLS by the system's authorities and those that the
//! operator names.

use std::{fs::File, io::BufReader, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer,
    pki_types::pem::PemObject as _,
};

use super::trouble::StoreTrouble;

/// What sends requests.
pub type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// What is read of a body at a time, at most.
const BUFFER: usize = 256 << 10;

/// Opens nothing yet; `secure` says whether authorities are needed.
pub fn connector(secure: bool, authority: &Path) -> Result<Http, StoreTrouble> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    http.set_nodelay(true);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreachable_for(&error))?
        .with_root_certificates(roots(secure, authority)?)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(BUFFER)
        .build(https))
}

fn unreachable_for(error: &impl std::fmt::Display) -> StoreTrouble {
    StoreTrouble::Unreachable {
        why: error.to_string(),
    }
}

fn roots(secure: bool, authority: &Path) -> Result<RootCertStore, StoreTrouble> {
    let mut roots = RootCertStore::empty();
    if !secure {
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !authority.as_os_str().is_empty() {
        let wrong = |why: String| StoreTrouble::Unreachable {
            why: format!("the file of `authority` {why}"),
        };
        let file = File::open(authority).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let mut count = 0;
        for one in CertificateDer::pem_reader_iter(BufReader::new(file)) {
            let one = one.map_err(|error| wrong(format!("is not PEM: {error}")))?;
            roots.add(one).map_err(|error| wrong(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(wrong("has no certificate".to_owned()));
        }
    }
    Ok(roots)
}

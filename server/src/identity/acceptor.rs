//! The acceptor: one listener, TLS with `h2`, a client certificate where one is shown.
//!
//! A handshake runs in its own task, within ten seconds, and only so many run at once: a peer
//! that dawdles holds up nobody. Who shows no certificate shares a limited number of connections,
//! so that strangers cannot take the descriptors that agents and files need. What a peer's
//! certificate may do is not decided here: its digest travels with each request, and the house
//! says whom it admits.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use custody::{digest::Digest, time::Time};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{
    pki::Authority,
    rooms::{Room, Rooms},
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// SHA-256 of the client certificate, if one was shown that the authority signed.
    pub certificate: Option<Digest>,
}

/// A connection whose handshake is done.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _room: Room,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The coordinator's own certificate, made anew by [`Identity::renew`].
pub struct Identity(Mutex<Arc<ServerConfig>>);

impl Identity {
    /// Makes the first certificate.
    pub fn new(authority: &Authority, names: &[String], now: Time) -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(configuration(authority, names, now)?)))
    }

    /// Makes a fresh certificate for the connections from here on.
    pub fn renew(&self, authority: &Authority, names: &[String], now: Time) -> anyhow::Result<()> {
        let fresh = configuration(authority, names, now)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn configuration(
    authority: &Authority,
    names: &[String],
    now: Time,
) -> anyhow::Result<Arc<ServerConfig>> {
    let (certificate, key) = authority.coordinator(names, now)?;
    let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes())
        .context("pki/ca.pem is not a certificate")?;
    let chain = vec![
        CertificateDer::from_pem_slice(certificate.as_bytes())?,
        root.clone(),
    ];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    let clients = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Accepts connections until `stop`; those whose handshake is done come out of the stream.
pub fn accept(
    listener: TcpListener,
    identity: Arc<Identity>,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(64);
    let rooms = Arc::new(Rooms::default());
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: let some go before the next try.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(shaking) = rooms.handshake(address.ip()) else {
                tracing::warn!(%address, "too many handshakes under way: connection dropped");
                continue;
            };
            let (acceptor, ready, rooms) = (identity.acceptor(), ready.clone(), rooms.clone());
            tokio::spawn(async move {
                let shaken = shake(acceptor, tcp, address, &rooms).await;
                drop(shaking);
                match shaken {
                    // Refused only while the server is going down.
                    Ok(connection) => drop(ready.send(Ok(connection)).await),
                    Err(error) => tracing::debug!(%address, %error, "no handshake"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn shake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
    rooms: &Rooms,
) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, acceptor.accept(tcp)).await??;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the peer does not speak HTTP/2"));
    }
    let certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| Digest::of(certificate));
    let room = rooms.connection(address.ip(), certificate);
    let peer = Peer {
        address,
        certificate,
    };
    Ok(Connection {
        stream,
        peer,
        _room: room.ok_or_else(|| io::Error::other("too many connections"))?,
    })
}

//! Telemetry: one log line a call, with an id that the caller sees too.
//!
//! A line says which call, how long, with what status. It never carries a secret, a token, an
//! opening, a path of a customer or a name.

use std::{
    io::IsTerminal as _,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, http},
};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{clock, config::Log};

/// The header that carries the id of a call.
pub const REQUEST_ID: &str = "x-request-id";
/// How long a call may take until its answer begins.
const LONGEST: Duration = Duration::from_secs(60);
const TOO_LARGE: &str = "The message is larger than the call takes, which is at most 4 MiB. Send \
                         less at a time: files go in chunks of at most 1 MiB.";
/// The calls whose answer comes only when all was sent, or read and checked.
const UNBOUNDED: &str = "/holdfast.v1.Fleet/Upload";

/// Starts logging to standard error. A second start changes nothing.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level)
        .map_err(|error| anyhow::anyhow!("`log.level` is not a filter: {error}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error here means that a subscriber is there already.
    let _ = match log.json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.try_init(),
    };
    Ok(())
}

/// Gives every call an id, a span, a time limit and a log line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls;

impl<S> Layer<S> for Calls {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched { inner }
    }
}

/// A service whose calls are watched.
#[derive(Clone, Debug)]
pub struct Watched<S> {
    inner: S,
}

/// Whether a caller's own id is fit for a log line.
fn is_sane(id: &str) -> bool {
    (8..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn id_of(request: &http::Request<Body>) -> String {
    let given = request.headers().get(REQUEST_ID);
    match given
        .and_then(|id| id.to_str().ok())
        .filter(|id| is_sane(id))
    {
        Some(id) => id.to_owned(),
        None => hex::encode(clock::random::<8>().unwrap_or_default()),
    }
}

impl<S> Service<http::Request<Body>> for Watched<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (id, begun) = (id_of(&request), Instant::now());
        // Only a path that we serve is logged as it came.
        let method = request.uri().path().to_owned();
        let shown = match is_ours(&method) {
            true => method.as_str(),
            false => "other",
        };
        let span = tracing::info_span!("call", id = %id, method = %shown);
        let limit = match method.starts_with(UNBOUNDED) {
            true => Duration::MAX,
            false => LONGEST,
        };
        // The service that was asked whether it is ready is the one to call.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        Box::pin(
            async move {
                let answered = tokio::time::timeout(limit, ready.call(request)).await;
                let mut response = match answered {
                    Ok(answered) => answered?,
                    Err(_) => Status::deadline_exceeded(
                        "The coordinator did not answer within a minute. Try again; nothing is \
                         done twice.",
                    )
                    .into_http(),
                };
                let status = Status::from_header_map(response.headers());
                if status.as_ref().is_some_and(is_too_large) {
                    response = Status::out_of_range(TOO_LARGE).into_http();
                }
                let code = status.map_or(tonic::Code::Ok, |status| status.code());
                let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                match code {
                    tonic::Code::Ok => tracing::info!(ms, status = "ok", "answered"),
                    code => tracing::info!(ms, status = ?code, "answered"),
                }
                if let Ok(id) = http::HeaderValue::from_str(&id) {
                    response.headers_mut().insert(REQUEST_ID, id);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// Whether a status is the transport's own for a message over its limit.
fn is_too_large(status: &Status) -> bool {
    status.code() == tonic::Code::OutOfRange && status.message().contains("length too large")
}

fn is_ours(method: &str) -> bool {
    (method.starts_with("/holdfast.v1.") || method.starts_with("/grpc.health.v1."))
        && method.len() < 80
        && method
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_forge_a_log_line_is_not_taken() {
        assert!(is_sane("6f1c2d3e-aaaa_01"));
        for id in [
            "short",
            "with space in it",
            "line\nbreak-here",
            &"a".repeat(65),
        ] {
            assert!(!is_sane(id), "{id}");
        }
        assert!(is_ours("/holdfast.v1.Desk/Submit"));
        assert!(!is_ours("/srv/data/alice"));
    }
}

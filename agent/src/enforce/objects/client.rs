//! The client: sends signed requests to one bucket, and sends them again where that can help.
//!
//! Memory is bounded: an answer that is read whole may have [`MOST_ANSWER`] bytes, content is
//! handed on as it comes. Every wait has an end. What it sends can all be sent twice.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming};
use tokio::time::{sleep, timeout};

use super::{
    connect::{Http, connector},
    settings::{Credentials, StoreConfig, split_endpoint},
    sign::{Unsigned, encode_path, query, sha256_hex, sign},
    trouble::StoreTrouble,
    xml,
};

/// The most bytes of an answer that is read whole: a page of a listing has far less.
pub const MOST_ANSWER: usize = 8 << 20;
/// How long a store may take to begin its answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may pause in the middle of one.
pub const PAUSE: Duration = Duration::from_secs(60);
/// How often a request is sent, at most.
const TRIES: u32 = 5;
/// The first wait before it is sent again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// One bucket, with who we are to it.
pub struct Client {
    http: Http,
    credentials: Credentials,
    secure: bool,
    host: String,
    /// Before the key in a request's path: empty, or `/BUCKET`.
    base: String,
    /// Of the region.
    pub region: String,
    /// The settings.
    pub config: StoreConfig,
    /// How many things a page of a listing may have.
    pub page: u16,
}

/// A request, before it is signed.
pub struct Ask<'a> {
    /// What is being done, for messages.
    pub doing: &'static str,
    /// Such as `GET`.
    pub method: Method,
    /// The key; none for the bucket.
    pub key: Option<&'a str>,
    /// Not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// Lower-case names.
    pub headers: Vec<(&'a str, String)>,
    /// What is sent with it.
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    /// A request without headers or body of its own.
    pub const fn new(
        doing: &'static str,
        method: Method,
        key: Option<&'a str>,
        query: &'a [(&'a str, &'a str)],
    ) -> Self {
        Self {
            doing,
            method,
            key,
            query,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

impl Client {
    /// A client with the credentials as they are now.
    pub fn new(config: &StoreConfig) -> Result<Self, StoreTrouble> {
        let unusable = || StoreTrouble::Unreachable {
            why: "the endpoint is not https://HOST".to_owned(),
        };
        let (secure, host) = split_endpoint(&config.endpoint).ok_or_else(unusable)?;
        let (host, base) = if config.path_style {
            (host.to_owned(), format!("/{}", config.bucket))
        } else {
            (format!("{}.{host}", config.bucket), String::new())
        };
        Ok(Self {
            http: connector(secure, &config.authority)?,
            credentials: config.credentials()?,
            secure,
            host,
            base,
            region: config.region.clone(),
            config: config.clone(),
            page: 1000,
        })
    }

    /// Sends a request, again where that can help, and gives an answer that says yes.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, StoreTrouble> {
        let (mut wait, mut tried) = (FIRST_WAIT, 1);
        loop {
            let (trouble, again) = match self.once(ask).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => refusal(ask.doing, answer).await,
                Err(trouble) => (trouble, true),
            };
            if !again || tried == TRIES {
                return Err(trouble);
            }
            tracing::debug!(
                doing = ask.doing,
                tried,
                "asking the store again: {trouble}"
            );
            sleep(wait.mul_f64(jitter())).await;
            (wait, tried) = (wait * 2, tried + 1);
        }
    }

    /// The same, and reads the answer whole.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<(HeaderMap, Bytes), StoreTrouble> {
        let mut wait = FIRST_WAIT;
        let mut tried = 1;
        loop {
            let (head, body) = self.send(ask).await?.into_parts();
            match whole(body).await {
                Ok(body) => return Ok((head.headers, body)),
                Err(trouble) if tried == TRIES => return Err(trouble),
                Err(_) => {}
            }
            tried += 1;
            sleep(wait.mul_f64(jitter())).await;
            wait *= 2;
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, StoreTrouble> {
        let key = ask.key.map_or_else(String::new, encode_path);
        let path = match (self.base.as_str(), ask.key) {
            ("", _) => format!("/{key}"),
            (base, None) => base.to_owned(),
            (base, Some(_)) => format!("{base}/{key}"),
        };
        let query = query(ask.query);
        let mut headers = vec![("host", self.host.clone())];
        headers.extend(ask.headers.iter().cloned());
        let unsigned = Unsigned {
            method: ask.method.as_str(),
            path: &path,
            query: &query,
            headers: &headers,
            body: &sha256_hex(&ask.body),
        };
        let time = jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let signed = sign(&unsigned, &self.credentials, &self.region, &time);
        let scheme = if self.secure { "https" } else { "http" };
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{scheme}://{}{path}{mark}{query}", self.host));
        for (name, value) in headers.into_iter().chain(signed) {
            request = request.header(name, value);
        }
        let unsendable = |_| StoreTrouble::Nonsense {
            doing: ask.doing,
            why: "the request cannot be written",
        };
        let request = request
            .body(Full::new(ask.body.clone()))
            .map_err(unsendable)?;
        let sent = timeout(ANSWER, self.http.request(request)).await;
        let late = |_| StoreTrouble::Unreachable {
            why: "no answer in time".to_owned(),
        };
        sent.map_err(late)?
            .map_err(|error| StoreTrouble::Unreachable { why: chain(&error) })
    }
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        all = format!("{all}: {error}");
        next = error.source();
    }
    all
}

/// Between a half and the whole: so that many who wait do not come back all at once.
fn jitter() -> f64 {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    0.5 + f64::from(byte[0]) / 512.0
}

/// Reads a body of bounded length.
async fn whole(body: Incoming) -> Result<Bytes, StoreTrouble> {
    let late = |_| StoreTrouble::Broken;
    let read = timeout(PAUSE, Limited::new(body, MOST_ANSWER).collect());
    let read = read.await.map_err(late)?;
    Ok(read.map_err(|_| StoreTrouble::Broken)?.to_bytes())
}

/// What a refusal means, and whether asking again can help.
async fn refusal(doing: &'static str, answer: Response<Incoming>) -> (StoreTrouble, bool) {
    let status = answer.status();
    let region = answer.headers().get("x-amz-bucket-region").cloned();
    let body = whole(answer.into_body()).await.unwrap_or_default();
    let error = xml::parse(&body).unwrap_or_default();
    let plain = |text: &str| -> String {
        let word = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        text.chars().filter(word).take(64).collect()
    };
    let code = plain(error.text_of("Code"));
    let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
        || matches!(&*code, "SlowDown" | "RequestTimeout" | "InternalError");
    let trouble = match (&*code, status) {
        ("NoSuchBucket", _) => StoreTrouble::NoBucket,
        ("NoSuchKey" | "NoSuchVersion", _) => StoreTrouble::Gone,
        ("RequestTimeTooSkewed", _) => StoreTrouble::Clock,
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidClientTokenId",
            _,
        )
        | (_, StatusCode::UNAUTHORIZED) => StoreTrouble::Unauthorized { code },
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT) => {
            let said = region.as_ref().and_then(|region| region.to_str().ok());
            let said = said.unwrap_or_else(|| error.text_of("Region"));
            StoreTrouble::Region {
                region: if said.is_empty() {
                    "unknown".to_owned()
                } else {
                    plain(said)
                },
            }
        }
        ("AccessDenied" | "AllAccessDisabled" | "", StatusCode::FORBIDDEN) => {
            StoreTrouble::Denied {
                doing,
                code: if code.is_empty() {
                    "403".to_owned()
                } else {
                    code
                },
            }
        }
        _ => StoreTrouble::Answer {
            doing,
            status: status.as_u16(),
            code,
        },
    };
    (trouble, again)
}

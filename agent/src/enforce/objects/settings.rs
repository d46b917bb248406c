//! Settings of one store in `agent.toml`, and its credentials.
//!
//! Credentials are read when they are used, so that a rotated session token takes effect at
//! once. They are never logged or printed, and a file that others may read is refused.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use custody::house::scope::{is_plain_path, overlap};
use serde::{Deserialize, Serialize};

use super::trouble::StoreTrouble;

/// One bucket, or a part of one, in an S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// How orders name it: an absolute plain path below which its keys appear as paths.
    pub path: PathBuf,
    /// `https://HOST[:PORT]`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Only keys below this are ever touched: empty, or `a/b/`.
    #[serde(default)]
    pub prefix: String,
    /// The region that requests are signed for.
    #[serde(default = "usual_region")]
    pub region: String,
    /// A TOML file of mode 0600 with `access_key_id`, `secret_access_key` and, for temporary
    /// ones, `session_token`. Empty: from the environment, `AWS_ACCESS_KEY_ID` and so on.
    #[serde(default)]
    pub credentials: PathBuf,
    /// A PEM file with the authorities that are trusted beside the system's own. Empty: none.
    #[serde(default)]
    pub authority: PathBuf,
    /// `HOST/BUCKET` rather than `BUCKET.HOST`.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Where accounts lie below it.
    #[serde(default = "directly")]
    pub accounts: String,
}

fn usual_region() -> String {
    "us-east-1".to_owned()
}

const fn yes() -> bool {
    true
}

fn directly() -> String {
    "{account}".to_owned()
}

impl StoreConfig {
    /// Its path, raw bytes.
    pub fn path_bytes(&self) -> &[u8] {
        use std::os::unix::ffi::OsStrExt as _;
        self.path.as_os_str().as_bytes()
    }

    /// What cannot be meant, and the next step.
    pub fn check(&self) -> Result<(), String> {
        let shown = self.path.display();
        if !is_plain_path(self.path_bytes()) || self.path_bytes() == b"/" {
            return Err(format!(
                "Store {shown} is not an absolute plain path. Write it without `.`, `..` or empty \
                 parts, for example /s3/archive."
            ));
        }
        let Some((secure, host)) = split_endpoint(&self.endpoint) else {
            return Err(format!(
                "The endpoint of store {shown} is not https://HOST or https://HOST:PORT. Write \
                 it without a path, for example https://s3.eu-central-1.amazonaws.com."
            ));
        };
        if !secure && !is_loopback(host) {
            return Err(format!(
                "The endpoint of store {shown} is plain http, over which anybody on the way could \
                 read and change what is held. Use https; http is for this host alone."
            ));
        }
        let of_bucket =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(of_bucket) {
            return Err(format!(
                "The bucket of store {shown} is none that S3 knows. Write 3 to 63 lower-case \
                 letters, digits, dots or hyphens."
            ));
        }
        let plain_prefix = self.prefix.is_empty()
            || self.prefix.strip_suffix('/').is_some_and(|inside| {
                is_plain_path(format!("/{inside}").as_bytes()) && !inside.is_empty()
            });
        if !plain_prefix {
            return Err(format!(
                "The prefix of store {shown} must be empty or end with a slash, for example \
                 customers/. Correct it."
            ));
        }
        if self.region.is_empty() || !self.region.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "The region of store {shown} is empty or not a word. Name it."
            ));
        }
        Ok(())
    }

    /// Reads the credentials as they are now.
    pub fn credentials(&self) -> Result<Credentials, StoreTrouble> {
        if self.credentials.as_os_str().is_empty() {
            return Credentials::from_environment(|name| std::env::var(name).ok());
        }
        Credentials::load(&self.credentials)
    }
}

/// Whether two places of a configuration are told apart by every path.
pub fn are_apart(one: &Path, other: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    !overlap(one.as_os_str().as_bytes(), other.as_os_str().as_bytes())
}

/// Whether an endpoint is TLS, and its `HOST[:PORT]`.
pub fn split_endpoint(endpoint: &str) -> Option<(bool, &str)> {
    let (secure, host) = match endpoint.strip_prefix("https://") {
        Some(host) => (true, host),
        None => (false, endpoint.strip_prefix("http://")?),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    let of_host =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    (!host.is_empty() && host.bytes().all(of_host)).then_some((secure, host))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Who we are to a store.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The key's id.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// For temporary ones.
    #[serde(default)]
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    /// Reads a file that is its owner's alone.
    pub fn load(path: &Path) -> Result<Self, StoreTrouble> {
        let wrong = |why: String| StoreTrouble::Credentials { why };
        let read = || -> io::Result<(u32, String)> {
            // Mode and content are of one open file.
            let mut file = fs::File::open(path)?;
            let mode = file.metadata()?.mode();
            let mut text = String::new();
            file.by_ref().take(1 << 16).read_to_string(&mut text)?;
            Ok((mode, text))
        };
        let (mode, text) = read().map_err(|error| wrong(format!("cannot be read ({error})")))?;
        if mode & 0o077 != 0 {
            let why = format!(
                "can be read by others (mode {:03o}): chmod 600 it",
                mode & 0o777
            );
            return Err(wrong(why));
        }
        // The parser's own words would quote the file.
        toml::from_str(&text)
            .map_err(|_| wrong("is not TOML with access_key_id and secret_access_key".to_owned()))
    }

    /// Reads what the AWS tools read.
    pub fn from_environment(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, StoreTrouble> {
        let need = |name| {
            let found = get(name).filter(|value| !value.is_empty());
            found.ok_or_else(|| StoreTrouble::Credentials {
                why: format!("is not named, and {name} is not set"),
            })
        };
        Ok(Self {
            access_key_id: need("AWS_ACCESS_KEY_ID")?,
            secret_access_key: need("AWS_SECRET_ACCESS_KEY")?,
            session_token: get("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store(toml: &str) -> Result<(), String> {
        toml::from_str::<StoreConfig>(toml).unwrap().check()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_says_what_to_write() {
        let good = "path='/s3/a'\nendpoint='https://s3.example:9000'\nbucket='evidence'\n";
        store(good).unwrap();
        store(&good.replace("https://s3.example:9000", "http://127.0.0.1:9")).unwrap();
        store(&good.replace("https://s3.example:9000", "http://[::1]:9")).unwrap();
        store(&format!("{good}prefix='customers/'")).unwrap();
        for (from, to) in [
            ("/s3/a", "/s3/../a"),
            ("/s3/a", "/"),
            ("https://s3.example:9000", "http://s3.example:9000"),
            ("https://s3.example:9000", "https://s3.example/path"),
            ("https://s3.example:9000", "ftp://s3.example"),
            ("evidence", "Evi dence"),
        ] {
            assert!(store(&good.replace(from, to)).is_err(), "{to}");
        }
        for prefix in ["customers", "/", "a//", "../"] {
            assert!(
                store(&format!("{good}prefix='{prefix}'")).is_err(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn credentials_that_others_can_read_are_refused_and_none_are_ever_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(
            &path,
            "access_key_id='AK'\nsecret_access_key='very secret'\n",
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Credentials::load(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let read = Credentials::load(&path).unwrap();
        assert_eq!(read.secret_access_key, "very secret");
        assert!(!format!("{read:?}").contains("secret"));
        fs::write(&path, "secret_access_key = very secret").unwrap();
        let refused = Credentials::load(&path).unwrap_err().to_string();
        assert!(!refused.contains("very secret"), "{refused}");
    }

    #[test]
    fn without_a_file_the_environment_is_asked_and_what_misses_is_named() {
        let all = |name: &str| Some(format!("value of {name}"));
        let read = Credentials::from_environment(all).unwrap();
        assert_eq!(read.session_token.unwrap(), "value of AWS_SESSION_TOKEN");
        let half = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "AK".to_owned());
        let refused = Credentials::from_environment(half).unwrap_err().to_string();
        assert!(refused.contains("AWS_SECRET_ACCESS_KEY"), "{refused}");
    }
}

//! A store for tests: an S3-compatible server of its own (`store.py`), and the hands of somebody
//! who is not the agent.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use agent::enforce::objects::StoreConfig;
use serde_json::{Value, json};

/// A running store; it ends with this value.
pub struct S3 {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    pub folder: tempfile::TempDir,
    pub endpoint: String,
    /// Ids and secrets of keys: one that may do all, and others as the script says.
    pub keys: Vec<(String, String)>,
}

/// Numbers for buckets and files: tests of one store never meet.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn python() -> PathBuf {
    let named = std::env::var_os("HOLDFAST_PYTHON").map(PathBuf::from);
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python3");
    named.unwrap_or_else(usual)
}

impl S3 {
    /// Starts a store; where it cannot run the test is counted as skipped.
    pub fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        let look = ["-c", "import moto.server, boto3"];
        let there = Command::new(python()).args(look).output();
        if !there.is_ok_and(|there| there.status.success()) {
            crate::common::skipped(test, "there is no Python with moto (see deploy/ci/test)");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/store.py");
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let (port, keys): (u16, _) = serde_json::from_str(&line).unwrap();
        let scheme = if arguments.contains(&"--tls") {
            "https"
        } else {
            "http"
        };
        Some(Self {
            child,
            talk: Mutex::new((input, output)),
            folder: tempfile::tempdir().unwrap(),
            endpoint: format!("{scheme}://127.0.0.1:{port}"),
            keys,
        })
    }

    /// Makes a call as somebody else; the error's code where it is refused.
    pub fn call(&self, call: &str, arguments: Value) -> Result<Value, String> {
        let talk = self.talk.lock();
        // A test that failed has not said anything by halves.
        let mut talk = talk.unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = json!([call, arguments]);
        writeln!(talk.0, "{line}").unwrap();
        let mut answer = String::new();
        talk.1.read_line(&mut answer).unwrap();
        match serde_json::from_str(&answer).unwrap() {
            (true, value) => Ok(value),
            (false, code) => {
                let code: String = serde_json::from_value(code).unwrap();
                assert!(!code.starts_with("not sent"), "{code}");
                Err(code)
            }
        }
    }

    /// Makes a bucket of its own, with Object Lock or without.
    pub fn bucket(&self, lock: bool) -> Bucket<'_> {
        let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = json!({"Bucket": name, "ObjectLockEnabledForBucket": lock});
        self.call("create_bucket", made).unwrap();
        Bucket { s3: self, name }
    }

    /// The settings of a bucket, with the key of that number.
    pub fn config(&self, bucket: &str, prefix: &str, key: usize) -> StoreConfig {
        let (id, secret) = &self.keys[key];
        // One for each: another test may be reading its own.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let credentials = self.folder.path().join(format!("credentials-{number}"));
        let text = format!("access_key_id = '{id}'\nsecret_access_key = '{secret}'\n");
        fs::write(&credentials, text).unwrap();
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "path = '/s3/archive'\nendpoint = '{}'\nbucket = '{bucket}'\nprefix = '{prefix}'\n\
             credentials = '{}'\n",
            self.endpoint,
            credentials.display()
        );
        let config: StoreConfig = toml::from_str(&text).unwrap();
        config.check().unwrap();
        config
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bucket, as somebody else sees it.
pub struct Bucket<'a> {
    s3: &'a S3,
    pub name: String,
}

impl Bucket<'_> {
    pub fn call(&self, call: &str, mut arguments: Value) -> Result<Value, String> {
        arguments["Bucket"] = json!(self.name);
        self.s3.call(call, arguments)
    }

    /// Writes an object; gives its version.
    pub fn put(&self, key: &str, body: &str) -> String {
        let put = self.call("put_object", json!({"Key": key, "Body": body}));
        put.unwrap()["VersionId"].as_str().unwrap().to_owned()
    }

    pub fn hold(&self, key: &str, id: &str, status: &str) {
        let hold = json!({"Key": key, "VersionId": id, "LegalHold": {"Status": status}});
        self.call("put_object_legal_hold", hold).unwrap();
    }

    pub fn is_held(&self, key: &str, id: &str) -> bool {
        let asked = json!({"Key": key, "VersionId": id});
        let held = self.call("get_object_legal_hold", asked).unwrap();
        held["LegalHold"]["Status"] == "ON"
    }

    pub fn read(&self, key: &str, id: &str) -> Result<String, String> {
        let asked = json!({"Key": key, "VersionId": id});
        let read = self.call("get_object", asked)?;
        Ok(read["Body"].as_str().unwrap().to_owned())
    }

    pub fn delete(&self, key: &str, id: &str) -> Result<(), String> {
        let asked = json!({"Key": key, "VersionId": id});
        self.call("delete_object", asked).map(|_| ())
    }

    /// All keys with a version, or a marker, in the bucket.
    pub fn keys(&self) -> Vec<String> {
        let listed = self.call("list_object_versions", json!({})).unwrap();
        let of = |what: &str| listed[what].as_array().cloned().unwrap_or_default();
        let all = of("Versions").into_iter().chain(of("DeleteMarkers"));
        all.map(|one| one["Key"].as_str().unwrap().to_owned())
            .collect()
    }
}

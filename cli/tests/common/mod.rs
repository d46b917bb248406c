//! What the tests of the tool share: real keys, a real coordinator, real agents, as processes.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod attempts;
mod desk;
#[path = "../../../agent/tests/common/mounted.rs"]
pub mod mounted;
pub mod process;
pub mod wire;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

pub use desk::Desk;
use serde_json::Value;

/// How long anything may take that is waited for: much longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Says that a test could not run here. The runner counts these, and CI allows none.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let mut out = std::fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        writeln!(out, "{test}: {why}").unwrap();
    }
}

/// Whether the test runs as root, which holding files takes; where not, it is counted as skipped.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root to hold files");
    }
    root
}

/// The tool.
pub fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("HOLDFAST_PROFILE")
        .env_remove("HOLDFAST_CONFIG")
        .stdin(Stdio::null());
    command
}

/// Another program of the workspace: from the folder HOLDFAST_BIN, else from beside the tool,
/// built if it is not there yet.
pub fn program(package: &str, name: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let folder = std::env::var_os("HOLDFAST_BIN").map_or(beside.to_owned(), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let status = Command::new(cargo)
            .args(["build", "--locked", "-p", package, "--bin", name])
            .status();
        assert!(status.unwrap().success(), "building {name}");
    }
    path
}

/// Looks again and again until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that must succeed; gives what it said.
pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{trouble}");
    said
}

/// What a command that ended with this code said on standard error, with `--json`.
pub fn error(output: &Output, code: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(value["error"]["exit"], code);
    assert!(!value["error"]["rule"].as_str().unwrap().is_empty());
    value["error"].clone()
}

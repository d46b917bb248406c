//! A demo that was played to its end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use custody::manifest::file::{Reader, Stored};
use serde_json::Value;

use crate::common::{done, tool};

/// What `holdfast demo --once` left.
pub struct Played {
    folder: tempfile::TempDir,
    pub summary: Value,
}

impl Drop for Played {
    fn drop(&mut self) {
        // What was held is held still.
        let _ = Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(self.folder.path())
            .status();
    }
}

impl Played {
    /// Plays the story, on a copy of a tree where one is given.
    pub fn new(source: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("demo");
        let mut demo = tool();
        demo.args(["demo", "--once", "--dir"]).arg(&dir);
        if let Some(source) = source {
            demo.arg("--source").arg(source);
        }
        done(&mut demo);
        let summary = fs::read(dir.join("summary.json")).unwrap();
        let summary = serde_json::from_slice(&summary).unwrap();
        Self { folder, summary }
    }

    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("demo").join(name)
    }

    /// The place that a text of the summary names.
    pub fn named(&self, pointer: &str) -> PathBuf {
        self.at(self.text(pointer))
    }

    pub fn text(&self, pointer: &str) -> &str {
        let found = self.summary.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer}: {}", self.summary))
    }

    /// The snapshot of one server, as it stands in the summary.
    pub fn snapshot(&self, agent: &str) -> &Value {
        let all = self.summary["snapshots"].as_array().unwrap();
        all.iter().find(|shot| shot["agent"] == agent).unwrap()
    }

    /// The manifest of one server's snapshot.
    pub fn manifest(&self, agent: &str) -> PathBuf {
        self.at(self.snapshot(agent)["manifest"].as_str().unwrap())
    }

    /// Its rows, as our own reader gives them.
    pub fn rows(&self, agent: &str) -> Vec<Stored> {
        let file = File::open(self.manifest(agent)).unwrap();
        let rows = Reader::open(file).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// What `verify` ends with.
    pub fn verify(&self, path: &Path, more: &[&str]) -> Option<i32> {
        let mut verify = tool();
        verify.arg("verify").arg(path).args(more);
        verify.output().unwrap().status.code()
    }
}

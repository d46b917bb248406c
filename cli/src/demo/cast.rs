//! The people of the story: each with an SSH key, a folder and a profile of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use ssh_key::{Algorithm, LineEnding, PrivateKey, rand_core::OsRng};

/// Who plays: a name and the roles.
pub(super) const CAST: [(&str, &[&str]); 8] = [
    ("administrator", &["admin"]),
    ("intake-clerk", &["intake"]),
    ("legal-counsel", &["legal"]),
    ("operator", &["operator", "custodian"]),
    ("claims-officer", &["claims"]),
    ("approver-1", &["approver"]),
    ("approver-2", &["approver"]),
    ("auditor", &["auditor"]),
];

/// A person with a folder below `people/`.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: String,
    folder: PathBuf,
    tool: PathBuf,
}

impl Person {
    /// Makes the person's folder and SSH key.
    pub(super) fn create(people: &Path, name: &str, tool: &Path) -> anyhow::Result<Self> {
        let person = Self {
            name: name.to_owned(),
            folder: people.join(name),
            tool: tool.to_owned(),
        };
        std::fs::create_dir_all(&person.folder)?;
        let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        key.set_comment(name);
        key.write_openssh_file(&person.key(), LineEnding::LF)?;
        key.public_key().write_openssh_file(&person.public_key())?;
        Ok(person)
    }

    /// The private key's file.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("id_ed25519")
    }

    /// The public key's file.
    pub(super) fn public_key(&self) -> PathBuf {
        self.folder.join("id_ed25519.pub")
    }

    /// The log's verifier key, as this person noted it down.
    pub(super) fn log_key(&self) -> PathBuf {
        self.folder.join("log.vkey")
    }

    /// Where the person's profile is.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// Runs a command as this person and gives back what it answers.
    pub(super) fn run<S: AsRef<str>>(&self, words: &[S]) -> anyhow::Result<Value> {
        let output = self.output(words)?;
        if !output.status.success() {
            bail!(
                "`holdfast {}` as {} ended with {}: {}",
                line(words),
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        match output.stdout.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&output.stdout)
                .with_context(|| format!("`holdfast {}` did not answer in JSON", line(words))),
        }
    }

    /// Runs a command that is to be refused, and gives back the sentence of refusal.
    pub(super) fn refused<S: AsRef<str>>(&self, words: &[S]) -> anyhow::Result<String> {
        let output = self.output(words)?;
        if output.status.code() != Some(3) {
            bail!(
                "`holdfast {}` as {} was to be refused and ended with {}",
                line(words),
                self.name,
                output.status
            );
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value["error"]["message"].as_str()?.to_owned()));
        Ok(message.unwrap_or_else(|| text.trim().to_owned()))
    }

    fn output<S: AsRef<str>>(&self, words: &[S]) -> anyhow::Result<std::process::Output> {
        Command::new(&self.tool)
            .env("HOLDFAST_CONFIG", self.config())
            .env_remove("HOLDFAST_PROFILE")
            .env_remove("SSH_AUTH_SOCK")
            .args(["--json", "--yes"])
            .args(words.iter().map(AsRef::as_ref))
            .output()
            .context("cannot run the holdfast tool")
    }
}

/// A command line as a person would type it.
pub(super) fn line<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = words.iter().map(|word| {
        let word = word.as_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word.to_owned(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

//! Init: makes a data folder and opens its log with entry 0.
//!
//! It writes into an empty folder only, which may be a file system of its own. What it makes comes in such an order that a folder in
//! which it was stopped can be told from a whole one: `config.toml` is written last of all files,
//! and the log counts as opened with its first published checkpoint.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use custody::{
    commit::Opening,
    id::PersonId,
    ledger::note::{ED25519, NoteKey},
    sign::PublicKey,
    statement::{Body, LogOpened},
};
use tokio::time::timeout;

use crate::{
    clock,
    config::{self, Config, Data},
    desk::{Desk, create_key, open_empty},
    files,
    identity::pki::Authority,
};

/// The first administrator.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The name; it enters the log only as a commitment.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The log's name.
    pub origin: String,
    /// The key that verifies its checkpoints, as text.
    pub vkey: String,
    /// The authority's certificate.
    pub authority: std::path::PathBuf,
    /// The first administrator's id.
    pub person: PersonId,
}

/// What may stand in the folder before: our own lock, and what a fresh file system has.
const BEFORE: [&str; 2] = ["lock", "lost+found"];
/// What init leaves in the folder.
const FILES: [&str; 3] = ["config.toml", "journal.db", "log.vkey"];

/// Makes the folder and everything in it.
pub async fn init(data: &Data, config: &Config, admin: Admin) -> anyhow::Result<Initialised> {
    config.check()?;
    ensure!(
        (1..=200).contains(&admin.name.len()),
        "the administrator's name must have between 1 and 200 bytes"
    );
    files::folder(&data.0, 0o700).with_context(|| format!("cannot make {}", data.0.display()))?;
    refuse_used(&data.0)?;
    let lock = config::lock(data)?;
    refuse_used(&data.0)?;
    let (vkey, coordinator) = write_files(data, config)?;
    let person = PersonId::from_random(clock::random()?);
    let name = Opening::new("name", admin.name, clock::random()?);
    let body = Body::LogOpened(LogOpened {
        coordinator,
        person,
        key: admin.key,
        name: name.commitment(),
        policies: config.policies(),
    });
    let desk = open_empty(data, config, lock).await?;
    let opened = open_log(&desk, body, name).await;
    desk.close().await;
    opened?;
    Ok(Initialised {
        origin: config.origin.clone(),
        vkey,
        authority: data.pki().join("ca.pem"),
        person,
    })
}

async fn open_log(desk: &Desk, body: Body, name: Opening) -> anyhow::Result<()> {
    desk.say_with(body, vec![name]).await?;
    let mut published = desk.published();
    let first = published.wait_for(Option::is_some);
    timeout(Duration::from_secs(30), first)
        .await
        .context("the first checkpoint could not be published: look at the disk")??;
    Ok(())
}

/// Refuses a folder in which anything stands, and says what to do.
fn refuse_used(folder: &Path) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if !BEFORE.contains(&name.as_str()) {
            found.push(name);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let has = |name: &str| found.iter().any(|found| found == name);
    if FILES.iter().all(|name| has(name)) && folder.join("log/checkpoint").exists() {
        bail!(
            "{} is initialised already: run `holdfast-server run --data {}`",
            folder.display(),
            folder.display()
        );
    }
    if has("pki") {
        bail!(
            "an earlier init of {} was stopped before it ended, and its log was never opened: \
             empty the folder and run init again",
            folder.display()
        );
    }
    found.sort();
    bail!(
        "{} is not empty (it holds {}): give init a folder of its own",
        folder.display(),
        found.first().map_or("", String::as_str)
    )
}

/// Makes folders, keys and configuration; answers with the log's and the coordinator's keys.
fn write_files(data: &Data, config: &Config) -> anyhow::Result<(String, PublicKey)> {
    // First of all: it marks a folder in which init began.
    for folder in [
        data.pki(),
        data.log(),
        data.checkpoints(),
        data.manifests(),
        data.spool(),
    ] {
        files::folder(&folder, 0o700)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Authority::create(&data.pki(), clock::now())?;
    let coordinator = create_key(&data.pki().join("coordinator.key"))?;
    let key = NoteKey::from_seed(&config.origin, ED25519, &clock::random()?)?;
    let vkey = key.verifier().to_string();
    let write = |path: &Path, mode, text: String| {
        files::write(path, mode, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let secret = format!("{}\n", key.to_secret_text());
    write(&data.pki().join("log.key"), 0o600, secret)?;
    write(&data.vkey(), 0o644, format!("{vkey}\n"))?;
    write(&data.config(), 0o600, commented(config)?)?;
    Ok((vkey, coordinator))
}

/// The configuration as text, with a word on every part.
fn commented(config: &Config) -> anyhow::Result<String> {
    let text = toml::to_string(config)?;
    let mut out = String::from(
        "# The coordinator's configuration. Every key but `origin` has a default.\n\
         # The log's name in every checkpoint. It never changes.\n",
    );
    for line in text.lines() {
        let word = match line {
            "[listen]" => {
                "Where the coordinator listens, and the names its certificate is good for."
            }
            "[policy.release]" | "[policy.lift]" => {
                "Who must agree. Written into entry 0 of the log: a change here has no effect."
            }
            "[certificates]" => {
                "How long an agent's certificate is good for; agents renew by themselves."
            }
            "[log]" => "What is written to standard error.",
            _ => "",
        };
        if !word.is_empty() {
            out.push_str("# ");
            out.push_str(word);
            out.push('\n');
        }
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_commented_configuration_reads_back_as_what_it_was() {
        let config = Config::new("holdfast.test/log".to_owned());
        let text = commented(&config).unwrap();
        let read: Config = toml::from_str(&text).unwrap();
        assert_eq!(
            toml::to_string(&read).unwrap(),
            toml::to_string(&config).unwrap()
        );
        for table in [
            "listen",
            "policy.release",
            "policy.lift",
            "certificates",
            "log",
        ] {
            assert!(
                text.contains(&format!(".\n[{table}]\n")),
                "{table} has no comment"
            );
        }
    }

    #[test]
    fn a_fresh_file_system_is_empty_and_a_folder_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in BEFORE {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(refuse_used(folder.path()).is_ok());
        fs::write(folder.path().join("letter.txt"), "").unwrap();
        let error = refuse_used(folder.path()).unwrap_err().to_string();
        assert!(error.contains("letter.txt"), "{error}");
    }
}

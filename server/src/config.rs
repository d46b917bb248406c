//! The coordinator's configuration: one file in the data folder, every key with a default.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use custody::house::{
    approval::{Policies, Policy},
    decide::check_policies,
    person::Role,
};
use serde::{Deserialize, Serialize};

/// `config.toml`, as it stands in the data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The log's name in every checkpoint. It never changes.
    pub origin: String,
    /// Where the coordinator listens.
    #[serde(default)]
    pub listen: Listen,
    /// Who must agree to what. Written into entry 0; later changes here have no effect.
    #[serde(default = "policies")]
    pub policy: BTreeMap<String, Policy>,
    /// Agents' certificates.
    #[serde(default)]
    pub certificates: Certificates,
    /// What is written to standard error.
    #[serde(default)]
    pub log: Log,
}

/// Where the coordinator listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// The names and addresses its certificate is good for.
    pub names: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 7443)),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        }
    }
}

/// Agents' certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// How long one is good for, in hours. Agents renew at two thirds.
    pub agent_hours: u32,
}

impl Default for Certificates {
    fn default() -> Self {
        Self { agent_hours: 72 }
    }
}

/// What is written to standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or a filter such as `info,server::fleet=debug`.
    pub level: String,
    /// One JSON object a line, for a log collector; otherwise text for people.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
        }
    }
}

fn policies() -> BTreeMap<String, Policy> {
    let policy = |roles: &[Role], notice_hours| Policy {
        approvals: 2,
        roles: roles.to_vec(),
        notice_hours,
    };
    BTreeMap::from([
        ("release".to_owned(), policy(&[Role::Approver], 0)),
        (
            "lift".to_owned(),
            policy(&[Role::Approver, Role::Legal], 72),
        ),
    ])
}

impl Config {
    /// A new configuration with defaults.
    pub fn new(origin: String) -> Self {
        Self {
            origin,
            listen: Listen::default(),
            policy: policies(),
            certificates: Certificates::default(),
            log: Log::default(),
        }
    }

    /// Reads and checks `config.toml` of a data folder.
    pub fn read(data: &Data) -> anyhow::Result<Self> {
        let path = data.config();
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "no configuration at {}: run `holdfast-server init --data {}` first",
                path.display(),
                data.0.display()
            )
        })?;
        Self::parse(&text, &path)
    }

    /// Reads and checks a configuration that was prepared for a new log.
    pub fn prepared(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let config: Self =
            toml::from_str(text).with_context(|| format!("in {}", path.display()))?;
        config
            .check()
            .with_context(|| format!("in {}", path.display()))?;
        Ok(config)
    }

    /// Refuses what would be dangerous or cannot work.
    pub fn check(&self) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_graphic() && c != '+';
        ensure!(
            (3..=128).contains(&self.origin.len()) && self.origin.chars().all(plain),
            "`origin` must be 3 to 128 printable ASCII characters without space or `+`, for \
             example `holdfast.example.net/log1`"
        );
        check_policies(&self.policies())?;
        for word in self.policy.keys() {
            ensure!(
                matches!(word.as_str(), "release" | "lift"),
                "`[policy.{word}]` governs nothing: use `release` and `lift`"
            );
        }
        ensure!(
            (1..=24 * 90).contains(&self.certificates.agent_hours),
            "`certificates.agent_hours` must be between 1 and 2160"
        );
        ensure!(
            !self.listen.names.is_empty(),
            "`listen.names` must name the coordinator"
        );
        Ok(())
    }

    /// The policies as entry 0 carries them.
    pub fn policies(&self) -> Policies {
        Policies(self.policy.clone())
    }
}

/// The data folder: one place for everything, so that one backup is a whole one.
#[derive(Clone, Debug)]
pub struct Data(pub PathBuf);

impl Data {
    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.db")
    }
    /// The published log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }
    /// Every signed checkpoint, by size.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }
    /// The log's verifier key.
    pub fn vkey(&self) -> PathBuf {
        self.0.join("log.vkey")
    }
    /// Received manifests.
    pub fn manifests(&self) -> PathBuf {
        self.0.join("manifests")
    }
    /// Uploads under way, and parcels.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }
    /// Keys and the authority.
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }
    /// A received manifest.
    pub fn manifest(&self, snapshot: &custody::id::SnapshotId) -> PathBuf {
        self.manifests().join(format!("{snapshot}.parquet"))
    }
    /// A parcel that was spooled.
    pub fn parcel(&self, release: &custody::id::ReleaseId) -> PathBuf {
        self.spool().join(format!("{release}.tar.age"))
    }
}

/// Takes the folder for this process alone; released by the kernel when it ends.
pub fn lock(data: &Data) -> anyhow::Result<fs::File> {
    let file = open_private(&data.0.join("lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another process uses {}: stop it first", data.0.display()))?;
    Ok(file)
}

fn open_private(path: &Path) -> anyhow::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_policy_for_one_is_refused() {
        let mut config = Config::new("holdfast.test/log".to_owned());
        assert!(config.check().is_ok());
        config.policy.get_mut("lift").unwrap().approvals = 1;
        assert!(config.check().is_err());
    }

    #[test]
    fn what_is_written_reads_back_and_unknown_keys_are_refused() {
        let config = Config::new("holdfast.test/log".to_owned());
        let text = toml::to_string(&config).unwrap();
        assert!(toml::from_str::<Config>(&text).is_ok());
        assert!(toml::from_str::<Config>(&format!("surprise = 1\n{text}")).is_err());
    }
}

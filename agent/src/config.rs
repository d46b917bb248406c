//! The agent's configuration, `DIR/agent.toml`, and where its own files lie in DIR.

use std::{
    collections::HashSet,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use custody::house::scope::is_plain_path;
use serde::{Deserialize, Serialize};

use crate::{
    durable,
    enforce::{
        Root,
        objects::{StoreConfig, settings::are_apart},
    },
    exit::Trouble,
    fixity::settings::{FixityConfig, SecondCopy},
    guest::kept::GuestConfig,
};

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often all that is held is checked, in minutes; 0: only at start.
    #[serde(default = "hourly")]
    pub check_minutes: u64,
    /// What reading may take of the host.
    #[serde(default)]
    pub guest: GuestConfig,
    /// How often all that is held is read again.
    #[serde(default)]
    pub fixity: FixityConfig,
    /// Where second copies of what is held go.
    #[serde(default, rename = "second_copy", skip_serializing_if = "Vec::is_empty")]
    pub second_copies: Vec<SecondCopy>,
    /// The parts of the host in which it may hold things.
    #[serde(default)]
    pub roots: Vec<RootConfig>,
    /// The object stores in which it may hold things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreConfig>,
    /// Logs.
    #[serde(default)]
    pub log: Log,
}

/// One allowed root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootConfig {
    /// The folder, absolute.
    pub path: PathBuf,
    /// Where accounts lie below it, for example `{account}`.
    #[serde(default = "directly")]
    pub accounts: String,
    /// Where copies are kept; best on the same file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<PathBuf>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// As tracing's filters are written, for example `info` or `agent=debug`.
    #[serde(default = "info")]
    pub level: String,
    /// One JSON object a line instead of text.
    #[serde(default)]
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: info(),
            json: false,
        }
    }
}

fn hourly() -> u64 {
    60
}

fn directly() -> String {
    "{account}".to_owned()
}

fn info() -> String {
    "info".to_owned()
}

impl RootConfig {
    /// Reads `PATH` or `PATH=TEMPLATE`.
    pub fn from_flag(text: &str) -> Self {
        let (path, accounts) = text.split_once('=').unwrap_or((text, "{account}"));
        Self {
            path: PathBuf::from(path),
            accounts: accounts.to_owned(),
            vault: None,
        }
    }

    /// The root as the keeper takes it.
    pub fn root(&self) -> Root {
        let vault = self.vault.clone();
        Root {
            path: self.path.clone(),
            vault: vault.unwrap_or_else(|| self.path.join(".holdfast-vault")),
        }
    }
}

impl Config {
    /// A configuration with these roots and nothing else set.
    pub fn with_roots(roots: Vec<RootConfig>) -> Self {
        Self {
            check_minutes: hourly(),
            guest: GuestConfig::default(),
            fixity: FixityConfig::default(),
            second_copies: Vec::new(),
            roots,
            stores: Vec::new(),
            log: Log::default(),
        }
    }

    /// Reads `DIR/agent.toml`.
    pub fn load(place: &Place) -> Result<Self, Trouble> {
        let path = place.config();
        let text =
            fs::read_to_string(&path).map_err(|error| Trouble::file("read", &path, error))?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let path = path.display();
            Trouble::Usage(format!(
                "{path} is not a configuration: {}",
                error.message()
            ))
        })?;
        config.check()?;
        Ok(config)
    }

    /// Writes `DIR/agent.toml`.
    pub fn store(&self, place: &Place) -> Result<(), Trouble> {
        self.check()?;
        let path = place.config();
        let text = toml::to_string(self).map_err(|error| Trouble::file("write", &path, error))?;
        durable::write(&path, 0o644, text.as_bytes())
            .map_err(|error| Trouble::file("write", &path, error))
    }

    /// Whether its values can be meant.
    pub fn check(&self) -> Result<(), Trouble> {
        if self.guest.limits().is_none() {
            let why = "The limits in [guest] cannot be meant. Each is at least 1, and hours are \
                       two times of the day, UTC, such as \"22:00-06:00\"; leave one out to set \
                       none.";
            return Err(Trouble::Usage(why.to_owned()));
        }
        for (number, store) in self.stores.iter().enumerate() {
            store.check().map_err(Trouble::Usage)?;
            let others = self.stores[..number].iter().map(|other| &other.path);
            let places = self.roots.iter().map(|root| &root.path).chain(others);
            if let Some(other) = places
                .into_iter()
                .find(|other| !are_apart(&store.path, other))
            {
                return Err(Trouble::Usage(format!(
                    "Store {} overlaps {}. Give each a path of its own.",
                    store.path.display(),
                    other.display()
                )));
            }
        }
        if !self.fixity.is_sound() {
            let why = "The days in [fixity] are more than ten years. Name in how many days all that \
                       is held is read again; 0 reads nothing again.";
            return Err(Trouble::Usage(why.to_owned()));
        }
        if let Some(copy) = self.second_copies.iter().find(|copy| !copy.is_sound()) {
            return Err(Trouble::Usage(format!(
                "The second copies' folder {} or one of its roots is not an absolute plain path. \
                 Write it without `.`, `..` or empty parts, for example /mnt/other.",
                copy.path.display()
            )));
        }
        let mut seen = HashSet::new();
        for root in &self.roots {
            let shown = root.path.display();
            let plain = |path: &Path| is_plain_path(path.as_os_str().as_bytes());
            if !plain(&root.path) || root.vault.as_deref().is_some_and(|vault| !plain(vault)) {
                return Err(Trouble::Usage(format!(
                    "Root {shown} or its vault is not an absolute plain path. Write it without \
                     `.`, `..` or empty parts, for example /srv/data."
                )));
            }
            if !seen.insert(&root.path) {
                return Err(Trouble::Usage(format!(
                    "Root {shown} is named twice. Name each root once."
                )));
            }
        }
        Ok(())
    }
}

/// The agent's data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub PathBuf);

impl Place {
    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("agent.toml")
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The limits that the coordinator set.
    pub fn limits(&self) -> PathBuf {
        self.0.join("limits.json")
    }

    /// The keeper's folder.
    pub fn holds(&self) -> PathBuf {
        self.0.join("holds")
    }

    /// What the running agent last said of itself.
    pub fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    /// Whether a process has the folder now.
    pub fn is_taken(&self) -> bool {
        let how = rustix::fs::FlockOperation::NonBlockingLockShared;
        fs::File::open(self.0.join("lock")).is_ok_and(|file| rustix::fs::flock(&file, how).is_err())
    }

    /// Takes the folder for this process alone, for as long as the file is open.
    pub fn lock(&self) -> Result<fs::File, Trouble> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| Trouble::file("make", &self.0, error))?;
        let path = self.0.join("lock");
        let file = fs::File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| {
                // Whoever can open it can take it, and keep every agent from starting.
                file.set_permissions(fs::Permissions::from_mode(0o600))?;
                Ok(file)
            });
        let file = file.map_err(|error| Trouble::file("open", &path, error))?;
        let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        // `status` looks for a moment whether somebody has it: that is waited for.
        for _ in 0..10 {
            if rustix::fs::flock(&file, how).is_ok() {
                return Ok(file);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let folder = self.0.display();
        Err(Trouble::Failed(format!(
            "Another holdfast-agent uses {folder}. Stop it first (systemctl stop \
             holdfast-agent), then run this again."
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_root_that_climbs_or_stands_twice_is_refused_and_the_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place(folder.path().to_owned());
        let flag = RootConfig::from_flag;
        let good = Config::with_roots(vec![flag("/srv/data"), flag("/srv/mail=users/{account}")]);
        good.store(&place).unwrap();
        assert_eq!(Config::load(&place).unwrap(), good);
        for roots in [vec!["/srv/../etc"], vec!["srv"], vec!["/srv", "/srv"]] {
            let roots = roots.into_iter().map(flag).collect();
            let refused = Config::with_roots(roots).store(&place).unwrap_err();
            assert_eq!(refused.code(), 2);
        }
        let mut other = good.clone();
        for hours in ["22:00", "25:00-01:00"] {
            other.guest.hours = Some(hours.to_owned());
            assert_eq!(other.store(&place).unwrap_err().code(), 2);
        }
        let mut other = good.clone();
        other.fixity.days = 40_000;
        assert_eq!(other.store(&place).unwrap_err().code(), 2);
        let copies =
            "[fixity]\ndays = 7\n[[second_copy]]\npath = \"/mnt/other\"\nonly = \"at-risk\"\n";
        fs::write(place.config(), copies).unwrap();
        let read = Config::load(&place).unwrap();
        assert_eq!((read.fixity.days, read.second_copies.len()), (7, 1));
        read.store(&place).unwrap();
        assert_eq!(Config::load(&place).unwrap(), read);
        fs::write(place.config(), copies.replace("/mnt/", "mnt/")).unwrap();
        assert_eq!(Config::load(&place).unwrap_err().code(), 2);
        fs::write(place.config(), "roofs = 1").unwrap();
        assert_eq!(Config::load(&place).unwrap_err().code(), 2);
    }

    #[test]
    fn two_agents_cannot_use_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place(folder.path().join("new"));
        let first = place.lock().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.0), 0o700);
        assert_eq!(mode(&place.0.join("lock")), 0o600, "others could take it");
        assert_eq!(place.lock().unwrap_err().code(), 1);
        drop(first);
        place.lock().unwrap();
    }
}

//! The inventory: what each agent last said that it may hold, one small file an agent.
//!
//! It plans holds for agents that are offline and finds accounts in manifests. It is no
//! evidence and stands in no ledger: the agent itself refuses what lies outside its roots.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use custody::{house::scope, id::AgentId};
use proto::v1::RootInfo;
use serde::{Deserialize, Serialize};

use super::kept;
use crate::{config::Data, files};

/// The word that stands for the account's name in a template.
const ACCOUNT: &str = "{account}";
/// Roots one agent may have.
const MOST_ROOTS: usize = 256;

/// One root of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Absolute path, raw bytes, hex in the file.
    #[serde(with = "hex_bytes")]
    pub path: Vec<u8>,
    /// The file system on it.
    pub file_system: String,
    /// Where accounts lie below it, such as `{account}` or `users/{account}/home`.
    pub accounts: String,
    /// The disks below its file system, such as `sda`.
    #[serde(default)]
    pub disks: Vec<String>,
}

/// What an agent said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its version.
    pub version: String,
    /// Its roots.
    pub roots: Vec<Root>,
}

mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Root {
    /// Takes a root as an agent sends it; nonsense is left out.
    fn parse(info: RootInfo) -> Option<Self> {
        let word = |text: &str| text.chars().take(64).filter(|c| !c.is_control()).collect();
        let root = Self {
            path: info.path.to_vec(),
            file_system: word(&info.file_system),
            accounts: info.accounts,
            disks: info.disks.iter().take(64).map(|disk| word(disk)).collect(),
        };
        (scope::is_plain_path(&root.path) && root.accounts.len() <= 1024).then_some(root)
    }

    /// Where an account's folder would be below this root.
    pub fn place(&self, account: &str) -> Option<Vec<u8>> {
        // A name that is no single plain part of a path could lead out of its place.
        let plain = !account.is_empty() && !account.contains('/') && !account.contains('\0');
        if !plain || !self.accounts.contains(ACCOUNT) {
            return None;
        }
        let mut path = self.path.strip_suffix(b"/").unwrap_or(&self.path).to_vec();
        path.push(b'/');
        path.extend_from_slice(self.accounts.replace(ACCOUNT, account).as_bytes());
        scope::is_plain_path(&path).then_some(path)
    }
}

impl Known {
    /// Where an account's folders would be.
    pub fn places(&self, account: &str) -> Vec<Vec<u8>> {
        self.roots
            .iter()
            .filter_map(|root| root.place(account))
            .collect()
    }

    /// Whether a path lies in one of the roots.
    pub fn allows(&self, path: &[u8]) -> bool {
        self.roots
            .iter()
            .any(|root| scope::covers(&root.path, path))
    }
}

/// The inventory of the fleet.
pub struct Inventory {
    folder: PathBuf,
    agents: RwLock<BTreeMap<AgentId, Known>>,
}

impl Inventory {
    /// Reads it. A file that cannot be read is left out: its agent will say it again.
    pub fn open(data: &Data) -> anyhow::Result<Self> {
        let folder = kept::folder(data)?;
        Ok(Self {
            agents: RwLock::new(kept::read(&folder, ".json")?),
            folder,
        })
    }

    /// What an agent last said; `None` if it never connected.
    pub fn of(&self, agent: &AgentId) -> Option<Known> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(agent).cloned()
    }

    /// Takes up what an agent says now. Blocks: it is durable when this returns.
    pub fn update(
        &self,
        agent: AgentId,
        version: &str,
        roots: Vec<RootInfo>,
    ) -> anyhow::Result<()> {
        let known = Known {
            version: version
                .chars()
                .take(64)
                .filter(|c| !c.is_control())
                .collect(),
            roots: roots
                .into_iter()
                .take(MOST_ROOTS)
                .filter_map(Root::parse)
                .collect(),
        };
        if self.of(&agent).as_ref() == Some(&known) {
            return Ok(());
        }
        let path = self.folder.join(format!("{agent}.json"));
        files::write(&path, 0o600, &serde_json::to_vec_pretty(&known)?)?;
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        agents.insert(agent, known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(accounts: &str) -> Root {
        Root {
            path: b"/srv/data".to_vec(),
            file_system: "ext4".to_owned(),
            accounts: accounts.to_owned(),
            disks: Vec::new(),
        }
    }

    #[test]
    fn an_account_is_found_by_the_roots_template() {
        let place = |accounts, account| root(accounts).place(account);
        assert_eq!(
            place("{account}", "alice"),
            Some(b"/srv/data/alice".to_vec())
        );
        assert_eq!(
            place("users/{account}/home", "alice"),
            Some(b"/srv/data/users/alice/home".to_vec())
        );
    }

    #[test]
    fn an_account_name_never_leads_out_of_its_place() {
        for account in ["", "..", ".", "a/b", "../etc", "a\0b"] {
            assert_eq!(root("{account}").place(account), None, "{account:?}");
        }
        assert_eq!(root("").place("alice"), None);
    }
}

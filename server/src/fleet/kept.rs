//! Kept: what each agent last said of itself, one small file an agent, in one folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use custody::id::AgentId;
use serde::de::DeserializeOwned;

use crate::{config::Data, files};

/// The folder, made where it is missing.
pub(super) fn folder(data: &Data) -> anyhow::Result<PathBuf> {
    let folder = data.0.join("inventory");
    files::folder(&folder, 0o700).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Reads the files whose names end so. One that cannot be read is left out: its agent will say it
/// again.
pub(super) fn read<T: DeserializeOwned>(
    folder: &Path,
    end: &str,
) -> anyhow::Result<BTreeMap<AgentId, T>> {
    let mut agents = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.strip_suffix(end));
        let Some(agent) = id.and_then(|id| id.parse::<AgentId>().ok()) else {
            continue;
        };
        match serde_json::from_slice(&fs::read(&path)?) {
            Ok(known) => drop(agents.insert(agent, known)),
            Err(error) => tracing::warn!(%agent, %error, end, "what it said cannot be read"),
        }
    }
    Ok(agents)
}

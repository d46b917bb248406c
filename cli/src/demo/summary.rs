//! `summary.json`: the ids, paths, roots, sizes and timings of all that the demo did.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

/// What is written when the story is told. Paths are relative to the demo's folder.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The log folder.
    pub log: String,
    /// The log's verifier key, as a file.
    pub vkey: String,
    /// Every target of every hold, at the end of the story.
    pub holds: Vec<Held>,
    /// The snapshots.
    pub snapshots: Vec<Shot>,
    /// The releases.
    pub releases: Vec<Released>,
    /// The people.
    pub people: Vec<Player>,
    /// How long each step took, in milliseconds.
    pub timings_ms: BTreeMap<String, u64>,
}

/// One place that is held.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The hold's id.
    pub id: String,
    /// The server's name.
    pub agent: String,
    /// What is held.
    pub path: String,
    /// How.
    pub mechanism: String,
    /// Where it stands.
    pub state: String,
}

/// One snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Shot {
    /// Its id.
    pub id: String,
    /// The server's name.
    pub agent: String,
    /// What it was taken of.
    pub path: String,
    /// The manifest, as the coordinator received it.
    pub manifest: String,
    /// The root of the manifest's tree, in hex.
    pub root: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the files hashed.
    pub bytes: u64,
}

/// One release.
#[derive(Clone, Debug, Serialize)]
pub struct Released {
    /// Its id.
    pub id: String,
    /// The owner's account.
    pub owner: String,
    /// The encrypted parcel.
    pub parcel: String,
    /// The owner's private key, which in real life only the owner has.
    pub identity: String,
    /// The folder into which it was opened.
    pub opened: String,
    /// The receipt.
    pub receipt: String,
}

/// One person.
#[derive(Clone, Debug, Serialize)]
pub struct Player {
    /// The name in the cast.
    pub name: String,
    /// The roles.
    pub roles: Vec<String>,
    /// The SSH public key, as a file.
    pub public_key: String,
}

impl Summary {
    /// Writes it to the demo's folder.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(std::fs::write(dir.join("summary.json"), text + "\n")?)
    }
}

//! Health: what each agent last said of its disks and of how far reading again is.
//!
//! Inventory, no evidence: findings and finished rounds stand in the ledger. It is kept on disk
//! beside the inventory, one small file an agent, so that what was known of the disks of a server
//! that is gone can still be told; written when a disk changed, and not for mere progress, so that
//! a large fleet does not keep the coordinator's own disk busy. Whoever reads it sees when it was
//! said.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use custody::{
    id::{AgentId, TargetId},
    time::Time,
};
use proto::v1;
use serde::{Deserialize, Serialize};

use super::kept;
use crate::{config::Data, files};

/// Disks that one agent may have.
const MOST_DISKS: usize = 1_024;
/// Targets of one agent whose reading is shown.
const MOST_READINGS: usize = 5_000;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// As its server's kernel names it.
    pub name: String,
    /// Its maker's name for it.
    pub model: String,
    /// Its number.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it turns.
    pub rotational: bool,
    /// Reads that the kernel gave up on, since the agent first looked.
    pub read_errors: u64,
    /// Rows of what is held on it that cannot be read.
    pub unreadable: u64,
    /// Rows that are not what they were.
    pub differ: u64,
    /// When all that is held on it was last read again.
    pub checked: Option<Time>,
}

/// How far the reading again of one target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which.
    pub target: TargetId,
    /// The round under way, from 1.
    pub round: u64,
    /// Rows that were passed in it.
    pub rows: u64,
    /// Rows that there are.
    pub total_rows: u64,
    /// Rows that are not what they were.
    pub differ: u64,
    /// Rows that cannot be read.
    pub unreadable: u64,
    /// When the round is to end.
    pub due: Time,
}

/// What an agent said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// When it was heard.
    pub heard: Option<Time>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its targets.
    pub readings: Vec<Reading>,
}

fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl Health {
    /// Takes what an agent sends; nonsense is left out.
    fn parse(said: v1::Health, heard: Time) -> Self {
        let disk = |disk: v1::Disk| Disk {
            name: word(&disk.name),
            model: word(&disk.model),
            serial: word(&disk.serial),
            bytes: disk.bytes,
            rotational: disk.rotational,
            read_errors: disk.read_errors,
            unreadable: disk.unreadable,
            differ: disk.differ,
            checked: (disk.checked_unix_ms > 0).then(|| Time::from_millis(disk.checked_unix_ms)),
        };
        let reading = |reading: v1::Reading| {
            Some(Reading {
                target: reading.target.parse().ok()?,
                round: reading.round,
                rows: reading.rows.min(reading.total_rows),
                total_rows: reading.total_rows,
                differ: reading.differ,
                unreadable: reading.unreadable,
                due: Time::from_millis(reading.due_unix_ms),
            })
        };
        Self {
            heard: Some(heard),
            disks: said.disks.into_iter().take(MOST_DISKS).map(disk).collect(),
            readings: said
                .readings
                .into_iter()
                .take(MOST_READINGS)
                .filter_map(reading)
                .collect(),
        }
    }
}

/// The health of the fleet.
pub struct Healths {
    folder: PathBuf,
    agents: RwLock<BTreeMap<AgentId, Health>>,
}

impl Healths {
    /// Reads what was kept. A file that cannot be read is left out: its agent will say it again.
    pub fn open(data: &Data) -> anyhow::Result<Self> {
        let folder = kept::folder(data)?;
        Ok(Self {
            agents: RwLock::new(kept::read(&folder, ".health")?),
            folder,
        })
    }

    /// What an agent last said.
    pub fn of(&self, agent: &AgentId) -> Option<Health> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(agent).cloned()
    }

    /// Takes up what an agent says now. Blocks where a disk has changed.
    pub fn update(&self, agent: AgentId, said: v1::Health, now: Time) -> anyhow::Result<()> {
        let health = Health::parse(said, now);
        let before = {
            let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
            agents.insert(agent, health.clone())
        };
        if before.is_some_and(|before| before.disks == health.disks) {
            return Ok(());
        }
        let path = self.folder.join(format!("{agent}.health"));
        files::write(&path, 0o600, &serde_json::to_vec(&health)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_known_of_a_disk_is_told_after_a_restart_and_nonsense_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data(folder.path().to_owned());
        let agent = AgentId::from_random([1; 16]);
        let target = TargetId::from_random([2; 16]);
        let reading = |target: String, rows| v1::Reading {
            target,
            rows,
            total_rows: 9,
            ..v1::Reading::default()
        };
        let said = |errors, rows| v1::Health {
            disks: vec![v1::Disk {
                name: "sda\u{1b}[2J".to_owned(),
                read_errors: errors,
                checked_unix_ms: 5_000,
                ..v1::Disk::default()
            }],
            readings: vec![
                reading(target.to_string(), rows),
                reading("what".to_owned(), 1),
            ],
        };
        let now = Time::from_millis(7_000);
        let healths = Healths::open(&data).unwrap();
        assert_eq!(healths.of(&agent), None);
        healths.update(agent, said(1, 3), now).unwrap();
        // Progress alone is told and not written.
        healths.update(agent, said(1, 99), now).unwrap();
        let health = healths.of(&agent).unwrap();
        assert_eq!((health.readings.len(), health.readings[0].rows), (1, 9));
        assert_eq!(health.disks[0].name, "sda[2J");
        let again = Healths::open(&data).unwrap().of(&agent).unwrap();
        assert_eq!((again.readings[0].rows, again.disks[0].read_errors), (3, 1));
        healths.update(agent, said(2, 4), now).unwrap();
        let again = Healths::open(&data).unwrap().of(&agent).unwrap();
        assert_eq!((again.readings[0].rows, again.disks[0].read_errors), (4, 2));
        assert_eq!(again.disks[0].checked, Some(Time::from_millis(5_000)));
    }
}

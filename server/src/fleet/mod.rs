//! The fleet: which agents are connected, what they may hold, what they are told.
//!
//! Nothing here is authority: what an agent has to do is read off the house, and what it says
//! goes to the desk. All of this can be lost in a crash, save the inventory, which is what an
//! agent last said of its roots.

pub mod health;
pub mod inventory;
pub mod lift;
pub mod plan;
pub mod wake;

mod ask;
mod follow;
mod gate;
mod kept;
mod limits;
mod outbox;
mod session;
pub mod underway;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use custody::{id::AgentId, time::Time};
pub use follow::follow;
pub(crate) use gate::gate;
use inventory::Inventory;
use session::Session;

use crate::config::Data;

/// The fleet.
pub struct Fleet {
    sessions: Mutex<HashMap<AgentId, Arc<Session>>>,
    last_seen: Mutex<HashMap<AgentId, Time>>,
    /// What each agent said of its roots.
    pub inventory: Inventory,
    /// What each agent said of its disks.
    pub health: health::Healths,
    /// What each agent says is under way.
    pub underway: underway::Underways,
}

/// How an agent is doing now.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Whether a stream is up.
    pub connected: bool,
    /// When it was last heard, since the coordinator's start.
    pub last_seen: Option<Time>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// Reads the inventory.
    pub fn open(data: &Data) -> anyhow::Result<Self> {
        Ok(Self {
            sessions: Mutex::default(),
            last_seen: Mutex::default(),
            inventory: Inventory::open(data)?,
            health: health::Healths::open(data)?,
            underway: underway::Underways::default(),
        })
    }

    /// How an agent is doing.
    pub fn live(&self, agent: &AgentId) -> Live {
        Live {
            connected: self.session(agent).is_some(),
            last_seen: locked(&self.last_seen).get(agent).copied(),
        }
    }

    fn session(&self, agent: &AgentId) -> Option<Arc<Session>> {
        locked(&self.sessions).get(agent).cloned()
    }

    /// Every connected agent.
    fn connected(&self) -> Vec<Arc<Session>> {
        locked(&self.sessions).values().cloned().collect()
    }

    fn heard(&self, agent: AgentId, now: Time) {
        locked(&self.last_seen).insert(agent, now);
    }

    /// Takes up a stream; an older one of the same agent is cut.
    fn take_up(&self, session: Arc<Session>) {
        let older = locked(&self.sessions).insert(session.agent, session);
        if let Some(older) = older {
            older.replaced.cancel();
        }
    }

    /// Lets a stream go, unless a newer one took its place.
    fn let_go(&self, session: &Arc<Session>) {
        let mut sessions = locked(&self.sessions);
        if let Some(now) = sessions.get(&session.agent)
            && Arc::ptr_eq(now, session)
        {
            sessions.remove(&session.agent);
            self.underway.forget(&session.agent);
        }
    }
}

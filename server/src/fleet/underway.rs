//! What agents say is under way: the newest word on each thing, in memory alone.
//!
//! It is no evidence and stands in no ledger. It ends with the agent's stream, and a word that
//! nobody repeats is forgotten.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use custody::id::AgentId;
use proto::v1::Underway;
use serde_json::{Value, json};

/// Agents say it every two seconds; what was said so long ago is over, or the agent hangs.
const STALE: Duration = Duration::from_secs(20);
/// Things of one agent that are remembered.
const MOST: usize = 64;

/// By agent, what it is about, and what is done to it.
type Key = (AgentId, String, String);

/// The newest words of all agents.
#[derive(Default)]
pub struct Underways(Mutex<BTreeMap<Key, (Instant, Underway)>>);

fn word(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    text.chars().take(64).filter(plain).collect()
}

/// What is shown of it. `null` is not known, or for `waits` nothing.
fn shown(underway: &Underway) -> Value {
    let known = |number: u64| (number > 0).then_some(number);
    json!({
        "about": underway.about,
        "task": underway.task,
        "things": underway.things,
        "bytes": underway.bytes,
        "total_bytes": known(underway.total_bytes),
        "bytes_per_second": underway.bytes_per_second,
        "seconds_left": known(underway.seconds_left),
        "waits": (!underway.waits.is_empty()).then_some(&underway.waits),
    })
}

impl Underways {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, (Instant, Underway)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an agent's word.
    pub(super) fn take(&self, agent: AgentId, underway: Underway, now: Instant) {
        let underway = Underway {
            about: word(&underway.about),
            task: word(&underway.task),
            waits: word(&underway.waits),
            ..underway
        };
        let key = (agent, underway.about.clone(), underway.task.clone());
        let mut all = self.all();
        if underway.over {
            all.remove(&key);
            return;
        }
        let from = (agent, String::new(), String::new());
        let others = all.range(from..).take_while(|((a, ..), _)| *a == agent);
        if all.contains_key(&key) || others.count() < MOST {
            all.insert(key, (now, underway));
        }
    }

    /// Forgets what an agent said.
    pub(super) fn forget(&self, agent: &AgentId) {
        self.all().retain(|(whose, ..), _| whose != agent);
    }

    fn select(&self, agent: AgentId, about: &str, now: Instant) -> Vec<Value> {
        let all = self.all();
        let from = (agent, about.to_owned(), String::new());
        all.range(from..)
            .take_while(|((whose, ..), _)| *whose == agent)
            .filter(|((_, what, _), _)| about.is_empty() || what == about)
            .filter(|(_, (said, _))| now.saturating_duration_since(*said) < STALE)
            .map(|(_, (_, underway))| shown(underway))
            .collect()
    }

    /// What an agent has under way.
    pub fn of(&self, agent: AgentId) -> Vec<Value> {
        self.select(agent, "", Instant::now())
    }

    /// What an agent does to one thing: itself alone counts, whatever others say of it.
    pub fn about(&self, agent: AgentId, about: &str) -> Option<Value> {
        self.select(agent, about, Instant::now()).into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(n: u8) -> AgentId {
        AgentId::from_random([n; 16])
    }

    fn word_of(about: &str, bytes: u64) -> Underway {
        Underway {
            about: about.to_owned(),
            task: "capture".to_owned(),
            bytes,
            waits: "paused\u{1b}[2J".to_owned(),
            ..Underway::default()
        }
    }

    #[test]
    fn the_newest_word_counts_until_it_is_over_or_old() {
        let (all, now) = (Underways::default(), Instant::now());
        all.take(agent(1), word_of("snap-1", 5), now);
        all.take(agent(1), word_of("snap-1", 7), now);
        all.take(agent(2), word_of("snap-1", 9), now);
        let seen = all.select(agent(1), "snap-1", now);
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (&seen[0]["bytes"], &seen[0]["waits"]),
            (&json!(7), &json!("paused2J"))
        );
        assert_eq!(seen[0]["total_bytes"], Value::Null);
        assert!(all.select(agent(1), "", now + STALE).is_empty());
        let over = Underway {
            over: true,
            ..word_of("snap-1", 7)
        };
        all.take(agent(1), over, now);
        assert!(all.of(agent(1)).is_empty());
        assert_eq!(all.of(agent(2)).len(), 1, "another's is another's");
        all.forget(&agent(2));
        assert!(all.of(agent(2)).is_empty());
    }

    #[test]
    fn an_agent_that_says_ever_new_things_fills_nothing() {
        let (all, now) = (Underways::default(), Instant::now());
        for n in 0..10 * MOST {
            all.take(agent(1), word_of(&format!("snap-{n}"), 1), now);
        }
        all.take(agent(2), word_of("snap-1", 1), now);
        assert_eq!(all.of(agent(1)).len(), MOST);
        assert_eq!(all.of(agent(2)).len(), 1);
    }
}

//! Questions to agents: what is there, how it would be held, and what would leave.
//!
//! None of them changes anything, and none is recorded. Whoever does not answer in time has not
//! said no: silence is `None`, and is never taken for an answer.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use custody::{
    house::regime::Holding,
    id::{AgentId, TargetId},
};
use proto::v1::{Holding as WireHolding, Later, Locate, Survey, Weighed};
use tokio::time::{Instant, timeout, timeout_at};

use super::Fleet;

/// How long an agent may take to say which places are there.
const LOCATE: Duration = Duration::from_secs(5);
/// How long it may take to say how it would hold them.
const SURVEY: Duration = Duration::from_secs(20);
/// Places asked for in one question.
const PLACES: usize = 500;

/// How a hold's word goes over the wire.
pub(super) const fn wire_holding(holding: Holding) -> WireHolding {
    match holding {
        Holding::Freeze => WireHolding::Freeze,
        Holding::Preserve => WireHolding::Preserve,
    }
}

fn about(paths: &[Vec<u8>]) -> Locate {
    Locate {
        paths: paths.iter().cloned().map(Into::into).collect(),
        ..Locate::default()
    }
}

impl Fleet {
    /// Which of these places are there; `None` when the agent is not connected or does not
    /// answer in time.
    pub async fn locate(&self, agent: &AgentId, paths: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        let session = self.session(agent)?;
        let mut found = Vec::new();
        for some in paths.chunks(PLACES) {
            let answer = timeout(LOCATE, session.ask(about(some))).await.ok()??;
            let there: HashSet<&[u8]> = answer.found.iter().map(AsRef::as_ref).collect();
            // Only what was asked for counts.
            let asked = some.iter().filter(|path| there.contains(path.as_slice()));
            found.extend(asked.cloned());
        }
        Some(found)
    }

    /// How an agent would hold these places, as far as it says.
    pub async fn survey(
        &self,
        agent: &AgentId,
        paths: &[Vec<u8>],
        holding: Holding,
    ) -> Vec<Survey> {
        let Some(session) = self.session(agent) else {
            return Vec::new();
        };
        let until = Instant::now() + SURVEY;
        let mut surveys = Vec::new();
        for some in paths.chunks(PLACES) {
            let question = Locate {
                survey: true,
                holding: wire_holding(holding).into(),
                ..about(some)
            };
            match timeout_at(until, session.ask(question)).await {
                Ok(Some(answer)) => surveys.extend(answer.surveys),
                _ => break,
            }
        }
        surveys
    }

    /// What would leave a target, counted by its agent, which walks it for that; `None` when it
    /// does not answer until then.
    pub async fn weigh(
        &self,
        agent: &AgentId,
        target: &TargetId,
        leave: &[Vec<u8>],
        until: Instant,
    ) -> Option<Weighed> {
        let session = self.session(agent)?;
        let question = Locate {
            narrow: target.to_string(),
            ..about(leave)
        };
        timeout_at(until, session.ask(question))
            .await
            .ok()??
            .weighed
    }
    /// What came later than the moments that these targets hold, as far as their agents say.
    pub async fn later(&self, targets: Vec<(AgentId, TargetId)>) -> Vec<Later> {
        let until = Instant::now() + SURVEY;
        let mut agents: BTreeMap<AgentId, Vec<TargetId>> = BTreeMap::new();
        for (agent, target) in targets {
            agents.entry(agent).or_default().push(target);
        }
        let asked = agents.into_iter().map(|(agent, targets)| async move {
            let mut all = Vec::new();
            for target in targets {
                let Some(session) = self.session(&agent) else {
                    break;
                };
                let question = Locate {
                    after: target.to_string(),
                    ..Locate::default()
                };
                let Ok(Some(answer)) = timeout_at(until, session.ask(question)).await else {
                    break;
                };
                // Of another it was not asked.
                let ours = |later: &Later| later.target == target.to_string();
                all.extend(answer.later.filter(ours));
            }
            all
        });
        futures::future::join_all(asked).await.concat()
    }
}

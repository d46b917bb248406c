//! One agent's stream, as the rest of the coordinator sees it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::id::AgentId;
use proto::v1::{Locate, Located, ToAgent, to_agent::Message};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::rpc::status::No;

/// What goes down a stream.
pub(super) type Down = mpsc::Sender<Result<ToAgent, No>>;

pub(super) fn down(message: Message) -> Result<ToAgent, No> {
    Ok(ToAgent {
        message: Some(message),
    })
}

/// A stream that is up.
pub(super) struct Session {
    /// Whose.
    pub(super) agent: AgentId,
    /// Cancelled when a newer stream of the agent took its place.
    pub(super) replaced: CancellationToken,
    /// Told when its tasks may have changed.
    pub(super) wake: Notify,
    down: Down,
    question: AtomicU64,
    questions: Mutex<HashMap<u64, oneshot::Sender<Vec<Vec<u8>>>>>,
}

impl Session {
    pub(super) fn new(agent: AgentId, down: Down) -> Self {
        Self {
            agent,
            down,
            replaced: CancellationToken::new(),
            wake: Notify::new(),
            question: AtomicU64::new(1),
            questions: Mutex::default(),
        }
    }

    /// Asks which of these places are there.
    pub(super) async fn ask(&self, paths: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
        let question = self.question.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut questions = self
                .questions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Those whose asker gave up.
            questions.retain(|_, answer| !answer.is_closed());
            questions.insert(question, answer);
        }
        let locate = Locate {
            question,
            paths: paths.iter().cloned().map(Into::into).collect(),
            ..Locate::default()
        };
        self.down.send(down(Message::Locate(locate))).await.ok()?;
        let found = answered.await.ok()?;
        // Only what was asked for counts.
        Some(
            paths
                .into_iter()
                .filter(|path| found.contains(path))
                .collect(),
        )
    }

    /// Takes an answer; one to no open question is passed over.
    pub(super) fn answer(&self, located: Located) {
        let mut questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = questions.remove(&located.question) {
            let found = located.found.into_iter().map(|path| path.to_vec());
            let _ = asker.send(found.collect());
        }
    }
}

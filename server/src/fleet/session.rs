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
    /// Limits set by entries before this one were sent.
    pub(super) limits_before: AtomicU64,
    down: Down,
    question: AtomicU64,
    questions: Mutex<HashMap<u64, oneshot::Sender<Located>>>,
}

impl Session {
    pub(super) fn new(agent: AgentId, down: Down) -> Self {
        Self {
            agent,
            down,
            replaced: CancellationToken::new(),
            wake: Notify::new(),
            limits_before: AtomicU64::new(0),
            question: AtomicU64::new(1),
            questions: Mutex::default(),
        }
    }

    /// Asks about places, and waits for as long as the answer takes.
    pub(super) async fn ask(&self, mut locate: Locate) -> Option<Located> {
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
        locate.question = question;
        self.down.send(down(Message::Locate(locate))).await.ok()?;
        answered.await.ok()
    }

    /// Takes an answer; one to no open question is passed over.
    pub(super) fn answer(&self, located: Located) {
        let mut questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = questions.remove(&located.question) {
            let _ = asker.send(located);
        }
    }
}

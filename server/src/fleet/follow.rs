//! Follow: one agent's stream, from hello to the end.
//!
//! Up come statements, answers and beats; down go tasks and acknowledgements. A statement is
//! acknowledged only once it is durable, in the order of the agent's chain. The stream is cut
//! when the agent's certificate is not admitted any more, when a newer stream takes its place,
//! when nothing is heard, and when the coordinator stops.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use custody::{
    digest::Digest,
    house::refusal::{Kind, Refusal},
    id::AgentId,
    ledger::entry::Entry,
    statement::{Author, Link},
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use proto::v1::{
    AgentStatement, Beat, FromAgent, Hello, Recorded, Turned, Welcome, from_agent,
    to_agent::Message,
};
use tokio::time::{MissedTickBehavior, timeout};
use tonic::Streaming;

use super::{
    limits,
    outbox::Outbox,
    session::{Down, Session, down},
    wire,
};
use crate::{
    app::Coordinator,
    clock,
    desk::{self, DeskError, Submission},
    rpc::status::{self, No, refuse},
};

/// How long the first message may take.
const HELLO: Duration = Duration::from_secs(10);
/// How often the stream looks after itself.
const TICK: Duration = Duration::from_secs(1);
/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(15);
/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_secs(90);
/// How long an agent may leave what it is told unread.
const UNREAD: Duration = Duration::from_secs(30);
/// Statements of one agent that wait to become durable.
const UNDER_WAY: usize = 64;

type Done = (Link, Result<desk::Recorded, DeskError>);

/// Runs a stream to its end.
pub async fn follow(
    coordinator: Arc<Coordinator>,
    agent: AgentId,
    certificate: Digest,
    up: Streaming<FromAgent>,
    to: Down,
) {
    let mut stream = Stream {
        session: Arc::new(Session::new(agent, to.clone())),
        outbox: Outbox::default(),
        pending: FuturesOrdered::new(),
        heard: Instant::now(),
        beaten: Instant::now(),
        coordinator,
        certificate,
        up,
        to,
    };
    let ended = stream.run().await;
    stream.coordinator.fleet.let_go(&stream.session);
    match ended {
        Ok(()) => tracing::info!(%agent, "disconnected"),
        Err(no) => {
            tracing::info!(%agent, why = ?no, "stream cut");
            let _ = timeout(TICK, stream.to.send(Err(no))).await;
        }
    }
}

struct Stream {
    coordinator: Arc<Coordinator>,
    session: Arc<Session>,
    certificate: Digest,
    up: Streaming<FromAgent>,
    to: Down,
    outbox: Outbox,
    pending: FuturesOrdered<BoxFuture<'static, Done>>,
    heard: Instant,
    beaten: Instant,
}

fn cut<T>(why: &str) -> Result<T, No> {
    Err(No::Cut(why.to_owned()))
}

impl Stream {
    async fn run(&mut self) -> Result<(), No> {
        self.greet().await?;
        let stop = self.coordinator.stop.clone();
        let session = Arc::clone(&self.session);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send_tasks().await?;
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    return cut("The coordinator is stopping. Reconnect in a moment");
                }
                () = session.replaced.cancelled() => {
                    return cut("A newer stream of this agent took this one's place");
                }
                Some((link, outcome)) = self.pending.next() => {
                    self.acknowledge(&link, outcome).await?;
                }
                message = self.up.message(), if self.pending.len() < UNDER_WAY => {
                    match message {
                        Ok(Some(message)) => self.hear(message).await?,
                        // Gone, in order or not: what it handed in goes on.
                        Ok(None) | Err(_) => return Ok(()),
                    }
                }
                () = session.wake.notified() => {
                    self.check_admitted()?;
                    self.send_tasks().await?;
                }
                _ = tick.tick() => self.look_after().await?,
            }
        }
    }

    async fn greet(&mut self) -> Result<(), No> {
        let first = timeout(HELLO, self.up.message()).await;
        let Ok(Ok(Some(FromAgent {
            message: Some(from_agent::Message::Hello(hello)),
        }))) = first
        else {
            return Err(status::invalid(
                "fleet.no-hello",
                "The stream did not begin with a hello within ten seconds",
                "Use the agent of the coordinator's version",
            ));
        };
        let agent = self.session.agent;
        let Hello {
            version,
            roots,
            epoch,
            next_seq,
        } = hello;
        let coordinator = Arc::clone(&self.coordinator);
        let updated = tokio::task::spawn_blocking(move || {
            coordinator.fleet.inventory.update(agent, &version, roots)
        });
        if let Ok(Err(error)) = updated.await {
            tracing::error!(%agent, %error, "its inventory could not be written");
        }
        self.check_admitted()?;
        self.coordinator.fleet.take_up(Arc::clone(&self.session));
        self.coordinator.fleet.heard(agent, clock::now());
        let head = {
            let house = self.coordinator.desk.house();
            let enrolment = house.agents.get(&agent).and_then(|a| a.enrolment.as_ref());
            enrolment.map(|enrolment| enrolment.head)
        };
        let Some(head) = head else {
            return Err(status::unknown(agent));
        };
        tracing::info!(%agent, epoch, next_seq, known_seq = head.seq, "connected");
        let note = self
            .coordinator
            .desk
            .published()
            .borrow()
            .as_ref()
            .map(|published| published.note.clone());
        let welcome = Welcome {
            checkpoint: note.unwrap_or_default().into_bytes().into(),
            epoch: head.epoch,
            next_seq: head.seq,
        };
        self.send(Message::Welcome(welcome)).await
    }

    /// Refuses to go on when the house does not admit the certificate any more.
    fn check_admitted(&self) -> Result<(), No> {
        let house = self.coordinator.desk.house();
        let agent = house.agents.get(&self.session.agent);
        match agent.is_some_and(|a| a.admits(&self.certificate, clock::now())) {
            true => Ok(()),
            false => Err(No::Unauthenticated(
                "The certificate was revoked, replaced or is over. Renew it, or ask an \
                 administrator to invite the agent again"
                    .to_owned(),
            )),
        }
    }

    async fn look_after(&mut self) -> Result<(), No> {
        self.check_admitted()?;
        if self.heard.elapsed() > SILENCE {
            return cut("Nothing was heard for 90 seconds. Reconnect");
        }
        if self.beaten.elapsed() >= BEAT {
            self.beaten = Instant::now();
            let sent_unix_ms = clock::now().millis();
            self.send(Message::Beat(Beat { sent_unix_ms })).await?;
        }
        match self
            .outbox
            .next()
            .is_some_and(|next| next <= Instant::now())
        {
            true => self.send_tasks().await,
            false => Ok(()),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), No> {
        match timeout(UNREAD, self.to.send(down(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => cut("The agent closed the stream"),
            Err(_) => cut("The agent does not read what it is told. Reconnect"),
        }
    }

    async fn send_tasks(&mut self) -> Result<(), No> {
        // First, so that nothing is read before it is known how.
        let due = limits::due(&self.coordinator.desk.house(), &self.session);
        if let Some((task, entry)) = due {
            self.send(Message::Task(task)).await?;
            limits::sent(&self.session, entry);
        }
        let openings = self.coordinator.desk.openings();
        let due: Vec<_> = {
            let house = self.coordinator.desk.house();
            let tasks = house.tasks(&self.session.agent);
            let due = self.outbox.due(&house, &tasks, Instant::now());
            due.iter()
                .map(|task| (*task, wire::task(&house, &openings, task)))
                .collect()
        };
        for (task, wire) in due {
            // Sending waits for the agent, which may be retired meanwhile.
            self.check_admitted()?;
            match wire {
                Some(wire) => self.send(Message::Task(wire)).await?,
                None => tracing::error!(
                    agent = %self.session.agent, ?task,
                    "a task cannot be sent: what it needs was erased"
                ),
            }
        }
        Ok(())
    }

    async fn hear(&mut self, message: FromAgent) -> Result<(), No> {
        self.heard = Instant::now();
        self.coordinator
            .fleet
            .heard(self.session.agent, clock::now());
        match message.message {
            Some(from_agent::Message::Statement(statement)) => self.take(statement).await,
            Some(from_agent::Message::Located(located)) => {
                self.session.answer(located);
                Ok(())
            }
            Some(from_agent::Message::Health(health)) => {
                let (agent, coordinator) = (self.session.agent, Arc::clone(&self.coordinator));
                let update = move || coordinator.fleet.health.update(agent, health, clock::now());
                if let Ok(Err(error)) = tokio::task::spawn_blocking(update).await {
                    tracing::error!(%agent, %error, "its health could not be written");
                }
                Ok(())
            }
            Some(from_agent::Message::Underway(underway)) => {
                let fleet = &self.coordinator.fleet;
                fleet
                    .underway
                    .take(self.session.agent, underway, Instant::now());
                Ok(())
            }
            Some(from_agent::Message::Beat(_) | from_agent::Message::Hello(_)) | None => Ok(()),
        }
    }

    /// Hands a statement in; its acknowledgement comes when it is durable.
    async fn take(&mut self, statement: AgentStatement) -> Result<(), No> {
        let link = match self.link(&statement.entry) {
            Ok(link) => link,
            Err(refusal) => return self.turn(0, 0, &refusal).await,
        };
        let openings = statement.openings.into_iter().map(status::opening);
        let submission = Submission {
            entry: statement.entry.to_vec(),
            openings: openings.collect::<Result<_, _>>()?,
            subject: None,
        };
        match self.coordinator.desk.hand_in(submission).await {
            Ok(pending) => self
                .pending
                .push_back(Box::pin(async move { (link, pending.recorded().await) })),
            // In its turn: what was handed in before is answered before.
            Err(error) => self
                .pending
                .push_back(Box::pin(async move { (link, Err(error)) })),
        }
        Ok(())
    }

    /// The place in the chain that an entry of this agent claims.
    fn link(&self, entry: &[u8]) -> Result<Link, Refusal> {
        let unreadable = |why: String| {
            let next = "Use the agent of the coordinator's version";
            refuse(Kind::Invalid, "statement.unreadable", why, next)
        };
        let statement = Entry::parse(entry)
            .and_then(|entry| entry.statement())
            .map_err(|error| unreadable(format!("The statement cannot be read: {error}")))?;
        if statement.author != Author::Agent(self.session.agent) {
            return Err(refuse(
                Kind::Forbidden,
                "agent.other",
                "The statement is another's",
                "An agent hands in what it says itself",
            ));
        }
        let missing = || unreadable("The statement has no place in the agent's chain".to_owned());
        statement.link.ok_or_else(missing)
    }

    async fn acknowledge(
        &mut self,
        link: &Link,
        outcome: Result<desk::Recorded, DeskError>,
    ) -> Result<(), No> {
        let recorded = match outcome {
            Ok(recorded) => recorded,
            Err(DeskError::Refused(refusal)) => {
                return self.turn(link.epoch, link.seq, &refusal).await;
            }
            // Not known to be durable: the agent sends it again on its next stream.
            Err(DeskError::Failed(failure)) => return Err(failure.into()),
        };
        if let Some(void) = &recorded.void {
            tracing::warn!(
                agent = %self.session.agent, index = recorded.index, rule = void.rule,
                "a statement is recorded without effect"
            );
        }
        let newest = self
            .coordinator
            .desk
            .published()
            .borrow()
            .as_ref()
            .map(|p| (p.checkpoint.size, p.checkpoint.root));
        self.send(Message::Recorded(Recorded {
            epoch: link.epoch,
            seq: link.seq,
            index: recorded.index,
            checkpoint_size: newest.map_or(0, |(size, _)| size),
            checkpoint_root: newest
                .map(|(_, root)| root.as_bytes().to_vec())
                .unwrap_or_default()
                .into(),
        }))
        .await
    }

    async fn turn(&mut self, epoch: u64, seq: u64, refusal: &Refusal) -> Result<(), No> {
        tracing::warn!(
            agent = %self.session.agent, epoch, seq, rule = refusal.rule, "a statement is refused"
        );
        self.send(Message::Turned(Turned {
            epoch,
            seq,
            rule: refusal.rule.to_owned(),
            why: refusal.to_string(),
        }))
        .await
    }
}

//! Reporting: sends statements in order, from the first that the coordinator does not have,
//! to the byte as the journal has them.

use std::sync::Arc;

use custody::ledger::entry::Entry;
use proto::v1::{AgentStatement, FromAgent, Health, Opening, from_agent::Message};
use tokio::sync::{broadcast::error::RecvError, mpsc, watch};

use crate::{
    journal::{
        book::Book,
        error::JournalError,
        outbox::{Outbox, Said},
    },
    work::{evidence::Evidence, underway::Underways},
};

/// How many statements are read at a time.
const BATCH: usize = 64;

/// Sends statements from `seq` on, for as long as somebody takes them.
pub(super) async fn report(
    book: Book,
    evidence: Arc<Evidence>,
    seq: u64,
    up: mpsc::Sender<FromAgent>,
) -> Result<(), JournalError> {
    let mut heads = book.heads();
    let mut outbox = book.outbox(seq);
    loop {
        let end = heads.borrow_and_update().seq;
        loop {
            let (back, batch) = read(outbox, end).await?;
            outbox = back;
            if batch.is_empty() {
                break;
            }
            for said in batch {
                let message = Message::Statement(statement(said, &evidence));
                let message = FromAgent {
                    message: Some(message),
                };
                if up.send(message).await.is_err() {
                    return Ok(());
                }
            }
        }
        if heads.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Sends how far long work is, for as long as the stream lasts. What there is no room for is left
/// out: the next one says more.
pub(super) async fn tell(underways: &Underways, up: mpsc::Sender<FromAgent>) {
    let mut told = underways.listen();
    let send = |underway| {
        let message = Some(Message::Underway(underway));
        let _ = up.try_send(FromAgent { message });
    };
    underways.all().into_iter().for_each(send);
    loop {
        match told.recv().await {
            Ok(underway) => send(underway),
            Err(RecvError::Lagged(_)) => underways.all().into_iter().for_each(send),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Says how the disks do, at first and whenever that changes.
pub(super) async fn health(mut health: watch::Receiver<Health>, up: mpsc::Sender<FromAgent>) {
    loop {
        let now = health.borrow_and_update().clone();
        // Before the first look there is nothing to tell.
        if now != Health::default() {
            let message = Some(Message::Health(now));
            if up.send(FromAgent { message }).await.is_err() {
                return;
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

async fn read(mut outbox: Outbox, end: u64) -> Result<(Outbox, Vec<Said>), JournalError> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(said) = outbox.next(end)?
        {
            batch.push(said);
        }
        Ok((outbox, batch))
    });
    reading
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}

fn statement(said: Said, evidence: &Evidence) -> AgentStatement {
    let mut openings = said.openings;
    if openings.is_empty()
        && let Ok(statement) = Entry::parse(&said.entry).and_then(|entry| entry.statement())
    {
        // Recorded once, and gone from the journal since: a coordinator that was restored
        // from a backup is given it again.
        openings = evidence.openings(&statement.body);
    }
    let openings = openings.into_iter().map(|opening| Opening {
        field: opening.field,
        r: opening.r.to_vec().into(),
        value: opening.value.into(),
    });
    AgentStatement {
        openings: openings.collect(),
        entry: said.entry.into(),
    }
}

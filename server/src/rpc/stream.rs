//! Streamed answers: a bounded channel that a task fills.
//!
//! A person's is cut when the coordinator stops, when the person is logged out or retired, and
//! when nobody reads it; and one person has only so many at a time, for each holds memory.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status::No;
use crate::{app::Coordinator, clock, crowd::Place, identity::login::Caller};

/// Streams, and long readings, one person may have under way.
const STREAMS_EACH: usize = 16;
/// How long a message may be left unread.
const UNREAD: Duration = Duration::from_secs(300);

/// A streamed answer.
pub(crate) type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
/// A person's place among those who are answered at length.
pub(crate) type Seat = Place<custody::id::PersonId>;

/// Where a task puts a streamed answer's messages.
pub(crate) struct Sink<T> {
    to: mpsc::Sender<Result<T, No>>,
    unread: CancellationToken,
    /// The place is taken for as long as the task works, even when the reader has left.
    _seat: Arc<Seat>,
}

/// The reader left, or does not read.
#[derive(Debug)]
pub(crate) struct Left;

impl<T> Sink<T> {
    /// Hands over the next message. When it cannot, the task should end.
    pub(crate) async fn send(&self, message: Result<T, No>) -> Result<(), Left> {
        match timeout(UNREAD, self.to.send(message)).await {
            Ok(sent) => sent.map_err(|_| Left),
            Err(_) => {
                // What is missing must not look like the end.
                self.unread.cancel();
                Err(Left)
            }
        }
    }
}

/// Opens a streamed answer that holds so many messages that nobody has read yet; the task that
/// fills it ends it.
pub(crate) fn plain<T: Send + 'static>(room: usize) -> (mpsc::Sender<Result<T, No>>, Answer<T>) {
    let (sink, messages) = mpsc::channel(room);
    let messages =
        ReceiverStream::new(messages).map(|message: Result<T, No>| message.map_err(Status::from));
    (sink, Box::pin(messages))
}

/// Takes one of the caller's places for what takes long.
pub(crate) fn seat(coordinator: &Coordinator, caller: &Caller) -> Result<Seat, No> {
    let seats = &coordinator.sessions.seats;
    seats.enter(caller.person, STREAMS_EACH).ok_or_else(|| {
        No::Full(format!(
            "You have {STREAMS_EACH} long answers under way already. Read them to their end, or \
             end them"
        ))
    })
}

/// As [`plain`], for a person.
pub(crate) fn answer<T: Send + 'static>(
    coordinator: &Arc<Coordinator>,
    caller: &Caller,
    room: usize,
) -> Result<(Sink<T>, Answer<T>), No> {
    answer_while(coordinator, caller, room, || Ok(()))
}

/// As [`answer`], and asks `may` before each message whether to go on.
pub(crate) fn answer_while<T: Send + 'static>(
    coordinator: &Arc<Coordinator>,
    caller: &Caller,
    room: usize,
    may: impl Fn() -> Result<(), No> + Send + 'static,
) -> Result<(Sink<T>, Answer<T>), No> {
    let seat = Arc::new(seat(coordinator, caller)?);
    let (to, messages) = plain(room);
    let unread = CancellationToken::new();
    let sink = Sink {
        to,
        unread: unread.clone(),
        _seat: Arc::clone(&seat),
    };
    let reader = Reader {
        coordinator: Arc::clone(coordinator),
        caller: caller.clone(),
        messages,
        unread,
        may: Box::new(may),
        over: false,
        _seat: seat,
    };
    let answer = stream::unfold(reader, |mut reader| async {
        let message = reader.next().await?;
        reader.over = message.is_err();
        Some((message, reader))
    });
    Ok((sink, Box::pin(answer)))
}

struct Reader<T> {
    coordinator: Arc<Coordinator>,
    caller: Caller,
    messages: Answer<T>,
    unread: CancellationToken,
    may: Box<dyn Fn() -> Result<(), No> + Send>,
    over: bool,
    _seat: Arc<Seat>,
}

impl<T> Reader<T> {
    async fn next(&mut self) -> Option<Result<T, Status>> {
        if self.over {
            return None;
        }
        let no = tokio::select! {
            biased;
            message = self.messages.next() => match message {
                None if self.unread.is_cancelled() => No::Cut(
                    "The answer was left unread for five minutes. Ask again, and read it".to_owned(),
                ),
                None => return None,
                // Asked at each message: who was retired meanwhile reads no further.
                Some(message) => {
                    let still = self.caller.is_still(&self.coordinator.desk.house(), clock::now());
                    match still.and_then(|()| (self.may)()) {
                        Ok(()) => return Some(message),
                        Err(no) => no,
                    }
                }
            },
            () = self.coordinator.stop.cancelled() => {
                No::Cut("The coordinator is stopping. Ask again in a moment".to_owned())
            }
        };
        Some(Err(no.into()))
    }
}

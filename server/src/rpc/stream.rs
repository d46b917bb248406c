//! Streamed answers: a bounded channel that a task fills, cut when the coordinator stops.

use std::pin::Pin;

use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use super::status::No;
use crate::app::Coordinator;

/// A streamed answer.
pub(crate) type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
/// Where a task puts a streamed answer's messages. A failed send means that the reader left.
pub(crate) type Sink<T> = mpsc::Sender<Result<T, No>>;

/// Opens a streamed answer that holds so many messages that nobody has read yet; the task that
/// fills it ends it.
pub(crate) fn plain<T: Send + 'static>(room: usize) -> (Sink<T>, Answer<T>) {
    let (sink, messages) = mpsc::channel(room);
    let messages =
        ReceiverStream::new(messages).map(|message: Result<T, No>| message.map_err(Status::from));
    (sink, Box::pin(messages))
}

/// As [`plain`], and cut when the coordinator stops.
pub(crate) fn answer<T: Send + 'static>(
    coordinator: &Coordinator,
    room: usize,
) -> (Sink<T>, Answer<T>) {
    let (sink, messages) = plain(room);
    let stop = coordinator.stop.clone();
    let answer = stream::unfold(
        (messages, stop, false),
        |(mut messages, stop, over)| async move {
            if over {
                return None;
            }
            tokio::select! {
                biased;
                message = messages.next() => message.map(|message| {
                    let over = message.is_err();
                    (message, (messages, stop, over))
                }),
                () = stop.cancelled() => {
                    let why = "The coordinator is stopping. Ask again in a moment".to_owned();
                    Some((Err(No::Cut(why).into()), (messages, stop, true)))
                }
            }
        },
    );
    (sink, Box::pin(answer))
}

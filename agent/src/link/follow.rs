//! Following: one stream to the coordinator, for as long as the agent runs.
//!
//! A stream that breaks is opened again, after a while that grows and is drawn at random so
//! that a fleet does not come back all at once. Nothing here waits for work to be done, and no
//! work waits for this.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proto::v1::{
    Beat, FromAgent, Hello, Locate, Located, Recorded, RootInfo, ToAgent, Turned, Welcome,
    fleet_client::FleetClient, from_agent::Message as Up, to_agent::Message as Down,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use super::{
    answer,
    dial::Dialer,
    identity::{Identity, Tls},
    renew, report,
    welcome::{Disagreed, agree, checkpoint},
};
use crate::{
    config::{Place, RootConfig},
    exit::{Trouble, plain},
    host,
    work::Context,
};

/// How often a sign of life is sent.
const BEAT: Duration = Duration::from_secs(30);
/// How long the coordinator may take to answer at first.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest wait before another try, and that after the coordinator said no.
const LONGEST: Duration = Duration::from_secs(60);
/// The first wait, which doubles.
const FIRST: Duration = Duration::from_millis(500);
/// A stream that lasted so long was a good one: the next wait is the first again.
const GOOD: Duration = Duration::from_secs(10);
/// How long a certificate that could not be renewed waits for the next try.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// What following needs.
pub struct Link {
    /// What tasks are handed to.
    pub context: Arc<Context>,
    /// Who the agent is.
    pub identity: Arc<Identity>,
    /// Where its files are.
    pub place: Place,
    /// What it may hold.
    pub roots: Vec<RootConfig>,
    /// Where uploads find the connection.
    pub connection: watch::Sender<Option<Channel>>,
    /// Told to stop.
    pub stop: CancellationToken,
}

/// How one stream ended.
#[derive(Debug)]
enum End {
    /// The agent stops.
    Stopped,
    /// There is a fresh certificate to connect with.
    Renewed,
    /// The network, or the other end.
    Lost(String),
    /// The coordinator said no, or does not stand where it should: tried again slowly.
    Refused(String),
    /// A promise is broken.
    Breach(String),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(text) | Trouble::Usage(text) => Self::Refused(text),
            Trouble::Failed(text) => Self::Lost(text),
            Trouble::Breach(text) => Self::Refused(text),
        }
    }
}

impl From<tonic::Status> for End {
    fn from(status: tonic::Status) -> Self {
        if status.code() == tonic::Code::Unauthenticated {
            return Self::Refused(format!(
                "The coordinator does not admit this agent's certificate ({}). It was revoked \
                 or has expired. What is held stays held and is recorded here; to join again, \
                 enrol with a new invitation.",
                plain(status.message())
            ));
        }
        Trouble::from(status).into()
    }
}

impl From<Disagreed> for End {
    fn from(disagreed: Disagreed) -> Self {
        let text = format!("{disagreed}.");
        if disagreed.is_breach() {
            Self::Breach(text)
        } else {
            Self::Refused(text)
        }
    }
}

impl Link {
    /// Follows the coordinator until the agent stops. Errs only when a promise is broken.
    pub async fn run(self) -> Result<(), Trouble> {
        let mut tried = 0_u32;
        loop {
            let began = Instant::now();
            let end = self.stream().await;
            self.connection.send_replace(None);
            let longest = match &end {
                End::Stopped => return Ok(()),
                End::Breach(text) => {
                    self.context.live.lost(text);
                    return Err(Trouble::Breach(text.clone()));
                }
                End::Renewed => continue,
                End::Lost(text) => {
                    self.context.live.lost(text);
                    tracing::warn!(tried, "not connected; holding goes on. {text}");
                    if began.elapsed() > GOOD {
                        tried = 0;
                    }
                    FIRST.saturating_mul(1 << tried.min(10)).min(LONGEST)
                }
                End::Refused(text) => {
                    self.context.live.lost(text);
                    tracing::error!(tried, "not connected; holding goes on. {text}");
                    LONGEST
                }
            };
            tried = tried.saturating_add(1);
            let mut wait = self.jitter(longest);
            if matches!(end, End::Refused(_)) {
                wait = (longest + wait) / 2;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }

    /// Any time up to `most`, all equally likely.
    fn jitter(&self, most: Duration) -> Duration {
        let random = self.context.book.edge().random().unwrap_or([128; 32]);
        let share = u32::from_be_bytes([random[0], random[1], random[2], random[3]]);
        most.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }

    async fn stream(&self) -> End {
        tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            end = self.session() => end.unwrap_or_else(|end| end),
        }
    }

    async fn session(&self) -> Result<End, End> {
        let tls = Tls::load(&self.place)?;
        let enrolment = &self.identity.enrolment;
        let dialer = Dialer::new(&enrolment.server, &self.identity.authority, Some(&tls))?;
        let channel = dialer.connect().await?;
        let (up, messages) = mpsc::channel(16);
        let head = self.context.book.known(|known| known.head);
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roots: self.inventory(),
            epoch: head.epoch,
            next_seq: head.seq,
        };
        let late = |_| End::Lost("The coordinator did not answer in time.".to_owned());
        // There is room: nothing was sent before.
        let _ = up.try_send(message(Up::Hello(hello)));
        let mut client = FleetClient::new(channel.clone());
        let following = client.follow(ReceiverStream::new(messages));
        let mut down = timeout(ANSWER, following)
            .await
            .map_err(late)??
            .into_inner();
        let first = timeout(ANSWER, down.message()).await.map_err(late)??;
        let Some(Down::Welcome(welcome)) = first.and_then(|first| first.message) else {
            let why = "The coordinator did not say where it stands.";
            return Err(End::Lost(why.to_owned()));
        };
        let from = self.welcomed(&welcome).await?;
        self.context.live.contact();
        tracing::info!(from, "connected");
        self.connection.send_replace(Some(channel.clone()));
        let evidence = Arc::new(self.context.evidence.clone());
        let reporting = report::report(self.context.book.clone(), evidence, from, up.clone());
        tokio::pin!(reporting);
        let telling = report::tell(&self.context.underway, up.clone());
        tokio::pin!(telling);
        let health = report::health(self.context.fixity.health(), up.clone());
        tokio::pin!(health);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let renewing = self.keep_certified(channel, &tls);
        tokio::pin!(renewing);
        let listening = self.listen(&mut down, &up);
        tokio::pin!(listening);
        loop {
            tokio::select! {
                end = &mut listening => return Err(end),
                ended = &mut reporting => {
                    return Err(match ended {
                        Ok(()) => End::Lost("The stream ended.".to_owned()),
                        Err(error) => Trouble::from(error).into(),
                    });
                }
                _ = beat.tick() => {
                    let sent_unix_ms = crate::edge::now().millis();
                    // A full channel is sign of life enough.
                    let _ = up.try_send(message(Up::Beat(Beat { sent_unix_ms })));
                }
                () = &mut renewing => return Ok(End::Renewed),
                () = &mut telling => return Err(End::Lost("The stream ended.".to_owned())),
                () = &mut health => return Err(End::Lost("The stream ended.".to_owned())),
            }
        }
    }

    /// Checks where the coordinator stands; gives the first statement to send.
    async fn welcomed(&self, welcome: &Welcome) -> Result<u64, End> {
        let (head, recorded) = self
            .context
            .book
            .known(|known| (known.head, known.recorded));
        self.saw(welcome).await?;
        let agreed = agree(welcome, &head, recorded)?;
        if agreed.forgotten > 0 {
            tracing::warn!(
                forgotten = agreed.forgotten,
                from = agreed.from,
                "the coordinator does not have statements that it had acknowledged: it was \
                 probably restored from a backup; sending them again"
            );
        }
        Ok(agreed.from)
    }

    /// Verifies the checkpoint of a welcome and notes it.
    async fn saw(&self, welcome: &Welcome) -> Result<(), End> {
        let seen = self.context.book.known(|known| known.seen);
        let fresh = checkpoint(&welcome.checkpoint, &self.identity.vkey, seen)?;
        let Some(fresh) = fresh else { return Ok(()) };
        let is_shorter = seen.is_some_and(|seen| fresh.size < seen.size);
        if is_shorter {
            tracing::warn!(
                size = fresh.size,
                seen = seen.map(|seen| seen.size),
                "the coordinator's log is shorter than it was: it was rolled back. Until it is as \
                 long again nothing is lowered, narrowed or packed for it"
            );
        }
        self.context.book.doubt(is_shorter);
        let book = self.context.book.clone();
        blocking(move || book.saw(fresh)).await
    }

    /// Hears the coordinator until the stream ends.
    async fn listen(&self, down: &mut Streaming<ToAgent>, up: &mpsc::Sender<FromAgent>) -> End {
        loop {
            let heard = match down.message().await {
                Ok(Some(heard)) => heard.message,
                Ok(None) => return End::Lost("The coordinator closed the stream.".to_owned()),
                Err(status) => return status.into(),
            };
            self.context.live.contact();
            let done = match heard {
                Some(Down::Task(task)) => {
                    let context = Arc::clone(&self.context);
                    blocking(move || {
                        context.submit(&task);
                        Ok(())
                    })
                    .await
                }
                Some(Down::Recorded(recorded)) => self.recorded(recorded).await,
                Some(Down::Turned(turned)) => self.turned(turned).await,
                // A later one only brings a newer checkpoint.
                Some(Down::Welcome(welcome)) => self.saw(&welcome).await,
                Some(Down::Locate(locate)) => {
                    self.locate(locate, up.clone());
                    Ok(())
                }
                Some(Down::Beat(_)) | None => Ok(()),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn recorded(&self, recorded: Recorded) -> Result<(), End> {
        let book = self.context.book.clone();
        blocking(move || book.recorded(recorded.epoch, recorded.seq, recorded.index)).await
    }

    /// The coordinator keeps everything that follows in the chain, so being turned away means
    /// that the chains do not fit.
    async fn turned(&self, turned: Turned) -> Result<(), End> {
        let (rule, why) = (plain(&turned.rule), plain(&turned.why));
        if rule == "agent.duplicate" {
            return Ok(());
        }
        Err(End::Refused(format!(
            "The coordinator turned away statement {} of enrolment {} ({rule}): {why}.",
            turned.seq, turned.epoch,
        )))
    }

    /// Where this agent may hold: folders of its host, and object stores.
    fn inventory(&self) -> Vec<RootInfo> {
        let mut all = host::inventory(&self.roots);
        all.extend(host::stores(self.context.keeper.objects().stores()));
        all
    }

    /// Answers a question, without holding up the stream.
    fn locate(&self, locate: Locate, up: mpsc::Sender<FromAgent>) {
        let roots = self.roots.clone();
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let question = locate.question;
            let looked = tokio::task::spawn_blocking(move || {
                answer::answer(&context.keeper, &roots, locate)
            });
            let located = looked.await.unwrap_or_else(|_| Located {
                question,
                ..Located::default()
            });
            let _ = up.send(message(Up::Located(located))).await;
        });
    }

    /// Ends once the certificate was renewed.
    async fn keep_certified(&self, channel: Channel, tls: &Tls) {
        sleep(renew::due_in(tls)).await;
        loop {
            let (channel, place) = (channel.clone(), self.place.clone());
            let identity = Arc::clone(&self.identity);
            // Not ended with the stream: a certificate that was given is kept.
            let renewing =
                tokio::spawn(async move { renew::renew(channel, &identity, &place).await });
            match renewing.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::warn!("the certificate was not renewed: {error}"),
                Err(error) => tracing::warn!("the certificate was not renewed: {error}"),
            }
            sleep(RENEW_AGAIN).await;
        }
    }
}

fn message(message: Up) -> FromAgent {
    FromAgent {
        message: Some(message),
    }
}

/// Runs what blocks, and turns its trouble into an end of the stream.
async fn blocking(
    work: impl FnOnce() -> Result<(), crate::journal::error::JournalError> + Send + 'static,
) -> Result<(), End> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Trouble::from(error).into()),
        Err(error) => Err(End::Lost(error.to_string())),
    }
}

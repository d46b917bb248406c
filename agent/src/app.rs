//! The app: opens what the agent has, checks what it holds, and runs until it is told to stop.
//!
//! Holding comes first: before anybody is dialled, everything that is held is checked and made
//! true again. Trouble with the network never ends the agent; trouble with its own record does.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, Log, Place, RootConfig},
    durable,
    edge::Machine,
    enforce::{Keeper, Root, objects::Objects},
    exit::Trouble,
    fixity::{self, Fixity},
    gate,
    guest::{Guest, kept},
    journal::{Journal, SEGMENT, Voice, book::Book},
    link::{
        follow::Link,
        identity::{Identity, settle_all},
        upload::Uploads,
    },
    status::{self, Live},
    watch::Watch,
    work::{self, Context, check::check_all, evidence::Evidence, underway::Underways},
};

/// How long the steps under way may take to end after the agent was told to stop. Every one
/// of them can be interrupted: the next start goes on.
const DRAIN: Duration = Duration::from_secs(20);
/// How often the live state is written down, when it changed.
const WRITE_STATUS: Duration = Duration::from_secs(2);

/// Begins to log, to standard error. Names of customers' things stand in no line above debug.
pub fn log(log: &Log) -> Result<(), Trouble> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| {
        Trouble::Usage(format!(
            "`{}` is not a log level ({error}). Write error, warn, info, debug or trace.",
            log.level
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let begun = if log.json {
        lines.json().try_init()
    } else {
        lines.with_ansi(false).try_init()
    };
    begun.map_err(|error| Trouble::Failed(format!("Cannot log: {error}.")))
}

/// Runs the agent of a folder until SIGTERM or SIGINT.
pub async fn run(place: Place, config: Config, ready: Option<&Path>) -> Result<(), Trouble> {
    let stop = CancellationToken::new();
    listen_for_signals(stop.clone())?;
    run_until(place, config, ready, stop).await
}

/// Runs the agent of a folder until it is told to stop.
pub async fn run_until(
    place: Place,
    config: Config,
    ready: Option<&Path>,
    stop: CancellationToken,
) -> Result<(), Trouble> {
    let _lock = place.lock()?;
    settle_all(&place)?;
    let identity = Arc::new(Identity::load(&place)?);
    let roots = canonical(&config.roots);
    let (connection, connected) = watch::channel(None);
    let live = Arc::new(Live::default());
    let opened = {
        let place = place.clone();
        let (identity, live) = (Arc::clone(&identity), Arc::clone(&live));
        let config = config.clone();
        let guest = Arc::new(guest(&place, &config));
        move || {
            open(
                &place,
                &config,
                &identity,
                live,
                guest,
                Uploads::new(connected),
            )
        }
    };
    let context = Arc::new(blocking(opened).await?);
    tracing::info!(
        agent = %identity.enrolment.agent,
        epoch = identity.enrolment.epoch,
        roots = roots.len(),
        targets = context.keeper.all().len(),
        "the agent is up"
    );
    check_all(&context, &stop).await;
    write_ready(ready, &identity)?;

    let working = tokio::spawn(work::run(Arc::clone(&context), stop.clone()));
    let checking = tokio::spawn(check_regularly(
        Arc::clone(&context),
        config.check_minutes,
        stop.clone(),
    ));
    let watching = tokio::spawn(crate::watch::run(Arc::clone(&context), stop.clone()));
    let rereading = fixity::run::start(
        Arc::clone(&context),
        roots.iter().map(|root| root.path.clone()).collect(),
        config.fixity.period(),
        stop.clone(),
    );
    let telling = tokio::spawn(tell(place.clone(), Arc::clone(&live), stop.clone()));
    let link = Link {
        context: Arc::clone(&context),
        identity,
        place: place.clone(),
        roots,
        connection,
        stop: stop.clone(),
    };
    let outcome = tokio::select! {
        outcome = link.run() => outcome,
        () = context.book.broken().cancelled() => Err(Trouble::Failed(
            "The journal cannot go on: look at the log. What is held stays held.".to_owned(),
        )),
    };
    if let Err(trouble) = &outcome {
        tracing::error!("the agent stops; what is held stays held. {trouble}");
    }
    stop.cancel();
    let drained = timeout(DRAIN, async {
        let _ = working.await;
        let _ = checking.await;
        let _ = watching.await;
        let _ = rereading.await;
        let _ = telling.await;
    });
    if drained.await.is_err() {
        tracing::warn!("a step under way did not end in time; the next start goes on with it");
    }
    let mut last = live.now();
    last.connected = false;
    last.working.clear();
    if let Err(error) = status::write(&place, &last) {
        tracing::warn!(%error, "the status cannot be written");
    }
    tracing::info!("the agent is down");
    outcome
}

/// Opens the journal, the holds and the evidence.
fn open(
    place: &Place,
    config: &Config,
    identity: &Identity,
    live: Arc<Live>,
    guest: Arc<Guest>,
    uploads: Uploads,
) -> Result<Context, Trouble> {
    let own = |error| Trouble::file("open", &place.0, error);
    let machine = Machine::new().map_err(own)?;
    let voice = Voice {
        agent: identity.enrolment.agent,
        log: identity.enrolment.origin.clone(),
        key: custody::sign::SecretKey::from_seed(&identity.key.seed()),
        epoch: identity.enrolment.epoch,
    };
    let journal = Journal::open(&place.journal(), voice, SEGMENT)?;
    let book = Book::new(journal, Arc::new(machine))?;
    let everywhere = config.roots.iter().map(everywhere).collect::<Vec<_>>();
    let everywhere = everywhere.as_slice();
    // Before the vaults are made anew, where they are missing.
    gate::tell::look(place, &book, everywhere)?;
    let boot = book.edge().moment().map_err(own)?.boot;
    // Also those that are not there now: what they held is found missing, and again once it is.
    let keeper = Keeper::open(&place.holds(), everywhere.to_vec());
    let mut keeper = keeper.map_err(|error| Trouble::Failed(format!("{error}.")))?;
    // A root may contain the agent's own keys and journal: frozen with it, it could say no more.
    keeper.leave_out(&place.0);
    keeper.with_objects(Objects::new(config.stores.clone()));
    gate::wiped::note(place, everywhere).map_err(own)?;
    Ok(Context {
        book,
        keeper,
        evidence: Evidence::open(place).map_err(own)?,
        queue: work::queue::Queue::default(),
        uploads,
        live,
        guest,
        underway: Underways::default(),
        watch: Watch::open(&place.holds(), boot),
        fixity: Arc::new(Fixity::open(&place.0, config.second_copies.clone()).map_err(own)?),
        place: place.clone(),
    })
}

/// The guest, with the limits that the coordinator last set, or those of the configuration.
fn guest(place: &Place, config: &Config) -> Guest {
    let kept = kept::load(place).unwrap_or_else(|error| {
        // No reason not to hold. Connected, the agent is told them again.
        let path = place.limits();
        let path = path.display();
        tracing::error!(%error, "the limits in {path} cannot be read; those of agent.toml count");
        None
    });
    if config.guest.yield_above > 0 && !Guest::can_tell_load() {
        tracing::warn!(
            "this kernel does not say how long its programs wait (/proc/pressure is missing): \
             reading does not yield to the host's own load. Set limits instead"
        );
    }
    let limits = kept.or_else(|| config.guest.limits()).unwrap_or_default();
    Guest::new(limits, config.guest.yield_above)
}

/// A root, also one that is not there now.
fn everywhere(root: &RootConfig) -> Root {
    plain(root).as_ref().unwrap_or(root).root()
}

/// The roots with their paths made plain, as the keeper and the inventory use them. One that
/// is not there (a disk that is not mounted) is left out: what the others hold needs the agent.
fn canonical(roots: &[RootConfig]) -> Vec<RootConfig> {
    let mut found = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        match plain(root) {
            Ok(root) => found.push(root),
            Err(error) => tracing::error!(
                number,
                "a root of agent.toml cannot be opened ({error}); nothing in it can be held or \
                 checked. Mount it, or correct agent.toml, then restart the agent"
            ),
        }
    }
    found
}

/// A root with its path made plain.
fn plain(root: &RootConfig) -> std::io::Result<RootConfig> {
    let path = root.path.canonicalize()?;
    let vault = root.vault.clone();
    Ok(RootConfig {
        vault: vault.map(|vault| match vault.strip_prefix(&root.path) {
            Ok(inside) => path.join(inside),
            Err(_) => vault,
        }),
        path,
        accounts: root.accounts.clone(),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Trouble::Failed(format!("{error}."))))
}

async fn check_regularly(context: Arc<Context>, minutes: u64, stop: CancellationToken) {
    if minutes == 0 {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(Duration::from_secs(minutes.saturating_mul(60))) => {}
        }
        check_all(&context, &stop).await;
    }
}

/// Writes the live state down when it changed.
async fn tell(place: Place, live: Arc<Live>, stop: CancellationToken) {
    let (mut before, mut tick) = (None, interval(WRITE_STATUS));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = live.now();
        if before.as_ref() == Some(&now) {
            continue;
        }
        let (at, state) = (place.clone(), now.clone());
        let written = tokio::task::spawn_blocking(move || status::write(&at, &state)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the status cannot be written");
        }
        before = Some(now);
    }
}

/// Says that what is held was checked and that work goes on, connected or not.
fn write_ready(ready: Option<&Path>, identity: &Identity) -> Result<(), Trouble> {
    let Some(path) = ready else { return Ok(()) };
    let said = serde_json::json!({
        "agent": identity.enrolment.agent,
        "pid": std::process::id(),
    });
    durable::write(path, 0o644, said.to_string().as_bytes())
        .map_err(|error| Trouble::file("write", path, error))
}

fn listen_for_signals(stop: CancellationToken) -> Result<(), Trouble> {
    let failed = |error| Trouble::Failed(format!("Cannot listen for signals: {error}."));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("told to stop");
        stop.cancel();
    });
    Ok(())
}

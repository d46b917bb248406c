//! Status: how the agent stands, told without the coordinator.
//!
//! The running agent writes down what only it can know (the connection, work under way); all
//! else is read from its journal and its holds, so that it is told even when nothing runs.

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{house::limits::Limits, id::AgentId, time::Time};
use proto::v1::Underway;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, Place},
    durable,
    edge::now,
    exit::Trouble,
    guest::{Guest, kept},
    journal::{
        Journal,
        known::{Known, Outcome, Stage},
    },
    link::identity::Identity,
    watch::WatchState,
};

/// What only the running agent knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveState {
    /// The process.
    pub pid: u32,
    /// Whether the coordinator is there now.
    pub connected: bool,
    /// When it was last heard from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<Time>,
    /// Why it is not there, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Long work under way.
    #[serde(default)]
    pub working: BTreeMap<String, Working>,
    /// How the watch stands.
    #[serde(default)]
    pub watch: WatchState,
}

/// How far long work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// Things done.
    pub things: u64,
    /// Bytes read or sent.
    pub bytes: u64,
    /// Bytes that there are to read or send; 0 where it is not known.
    pub total_bytes: u64,
    /// Bytes read or sent in a second, lately.
    pub bytes_per_second: u64,
    /// Seconds until it is done at this rate; 0 where it is not known.
    pub seconds_left: u64,
    /// Why it is held back, in a word: `paused`, `hours`, `host-busy`, `limited`; else empty.
    #[serde(default)]
    pub waits: String,
}

impl From<&Underway> for Working {
    fn from(underway: &Underway) -> Self {
        Self {
            things: underway.things,
            bytes: underway.bytes,
            total_bytes: underway.total_bytes,
            bytes_per_second: underway.bytes_per_second,
            seconds_left: underway.seconds_left,
            waits: underway.waits.clone(),
        }
    }
}

impl Working {
    fn to_text(&self) -> String {
        let mut text = format!("{} things, {} bytes", self.things, self.bytes);
        if self.total_bytes > 0 {
            text.push_str(&format!(" of {}", self.total_bytes));
        }
        text.push_str(&format!(", {} bytes/s", self.bytes_per_second));
        if self.seconds_left > 0 {
            text.push_str(&format!(", {} s left", self.seconds_left));
        }
        if !self.waits.is_empty() {
            text.push_str(&format!(" ({})", self.waits));
        }
        text
    }
}

/// The running agent's own state, shared by its parts.
#[derive(Default)]
pub struct Live(Mutex<LiveState>);

impl Live {
    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The coordinator was heard from.
    pub fn contact(&self) {
        let mut state = self.state();
        state.connected = true;
        state.last_contact = Some(now());
        state.trouble = None;
    }

    /// The coordinator is not there.
    pub fn lost(&self, why: &str) {
        let mut state = self.state();
        state.connected = false;
        state.trouble = Some(why.to_owned());
    }

    /// Long work is under way.
    pub fn busy(&self, name: &str, working: Working) {
        self.state().working.insert(name.to_owned(), working);
    }

    /// It is over.
    pub fn idle(&self, name: &str) {
        self.state().working.remove(name);
    }

    /// The watch stands so.
    pub fn watch(&self, watch: WatchState) {
        self.state().watch = watch;
    }

    /// The state as it is now.
    pub fn now(&self) -> LiveState {
        LiveState {
            pid: std::process::id(),
            ..self.state().clone()
        }
    }
}

/// Writes what is live where `status` finds it.
pub fn write(place: &Place, live: &LiveState) -> io::Result<()> {
    durable::write(&place.status(), 0o600, &serde_json::to_vec(live)?)
}

/// Everything that can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The agent.
    pub agent: AgentId,
    /// Its coordinator.
    pub server: String,
    /// The log.
    pub origin: String,
    /// The enrolment's number.
    pub epoch: u64,
    /// Whether an agent runs on this folder now.
    pub running: bool,
    /// What it last said.
    pub live: LiveState,
    /// When the certificate ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Time>,
    /// Statements written.
    pub statements: u64,
    /// Statements that the coordinator has not recorded.
    pub queued: u64,
    /// The newest checkpoint seen: its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// What reading may take of the host, as the coordinator or agent.toml says.
    pub limits: Limits,
    /// Reading slows down while others wait for more than so many percent of the time; 0: never.
    pub yield_above: u64,
    /// Whether the kernel says how long others wait; where it does not, reading cannot yield.
    pub host_load: bool,
    /// Targets, with how far each is.
    pub targets: BTreeMap<String, Stage>,
    /// Snapshots, with how each ended.
    pub snapshots: BTreeMap<String, String>,
    /// Releases, with how each ended.
    pub releases: BTreeMap<String, String>,
}

fn outcome<T>(outcome: &Outcome<T>, done: &str) -> String {
    match outcome {
        Outcome::Done(_) => done.to_owned(),
        Outcome::Failed(reason) => format!("failed: {reason}"),
    }
}

/// Reads how the agent of a folder stands.
pub fn read(place: &Place) -> Result<Status, Trouble> {
    let identity = Identity::load(place)?;
    let journal = place.journal();
    let known = if journal.exists() {
        Journal::look(&journal)?
    } else {
        Known::default()
    };
    let live = fs::read(place.status()).ok();
    let mut live: LiveState = live
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let running = place.is_taken();
    if !running {
        live.connected = false;
        live.working.clear();
    }
    let ends = identity.tls.life().map(|(_, end)| end);
    let guest = Config::load(place).map(|config| config.guest);
    let guest = guest.unwrap_or_default();
    let kept = kept::load(place).ok().flatten();
    Ok(Status {
        agent: identity.enrolment.agent,
        server: identity.enrolment.server,
        origin: identity.enrolment.origin,
        epoch: identity.enrolment.epoch,
        running,
        live,
        certificate_ends: ends.map(|end| Time::from_millis(end.saturating_mul(1000))),
        statements: known.head.seq,
        queued: known.queued(),
        seen: known.seen.map(|seen| seen.size),
        limits: kept.or_else(|| guest.limits()).unwrap_or_default(),
        yield_above: guest.yield_above,
        host_load: Guest::can_tell_load(),
        targets: known
            .targets
            .iter()
            .map(|(id, target)| (id.to_string(), target.stage))
            .collect(),
        snapshots: known
            .snapshots
            .iter()
            .map(|(id, ended)| (id.to_string(), outcome(ended, "sealed")))
            .collect(),
        releases: known
            .releases
            .iter()
            .map(|(id, ended)| (id.to_string(), outcome(ended, "packed")))
            .collect(),
    })
}

impl Status {
    /// The status in words, a fact a line.
    pub fn to_text(&self) -> String {
        let mut lines = vec![
            format!("agent        {} (enrolment {})", self.agent, self.epoch),
            format!("coordinator  {}, log {}", self.server, self.origin),
        ];
        let contact = match self.live.last_contact {
            Some(time) => format!("last heard {time}"),
            None => "never heard".to_owned(),
        };
        let state = match (self.running, self.live.connected) {
            (false, _) => "the agent does not run",
            (true, true) => "connected",
            (true, false) => "not connected; holding goes on",
        };
        lines.push(format!("link         {state}; {contact}"));
        if let Some(trouble) = self.live.trouble.as_ref().filter(|_| self.running) {
            lines.push(format!("             {trouble}"));
        }
        if let Some(end) = self.certificate_ends {
            lines.push(format!("certificate  ends {end}"));
        }
        lines.push(format!(
            "journal      {} statements, {} not yet recorded by the coordinator",
            self.statements, self.queued
        ));
        lines.push(format!("reading      {}", self.guest()));
        if self.running {
            lines.push(format!("watch        {}", self.live.watch.to_text()));
        }
        for (id, stage) in &self.targets {
            let stage = serde_json::to_value(stage).ok();
            let word = stage.as_ref().and_then(|v| v.as_str()).unwrap_or("unknown");
            lines.push(format!("target       {id}  {word}"));
        }
        for (id, ended) in &self.snapshots {
            lines.push(format!("snapshot     {id}  {ended}"));
        }
        for (id, ended) in &self.releases {
            lines.push(format!("release      {id}  {ended}"));
        }
        for (name, working) in &self.live.working {
            lines.push(format!("working      {name}: {}", working.to_text()));
        }
        lines.join("\n")
    }

    /// What reading may take, in words.
    fn guest(&self) -> String {
        let limits = &self.limits;
        let mut parts = Vec::new();
        if limits.paused {
            parts.push("paused".to_owned());
        }
        let mut limit = |value: Option<u64>, unit: &str| {
            parts.extend(value.map(|value| format!("at most {value}{unit}")));
        };
        limit(limits.cpu_percent, " % of a core");
        limit(limits.read_bytes, " bytes/s");
        limit(limits.reads, " reads/s");
        if let (Some(from), Some(until)) = (limits.from_minute, limits.until_minute) {
            let time = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
            parts.push(format!("from {} to {} UTC", time(from), time(until)));
        }
        match (self.yield_above, self.host_load) {
            (0, _) => {}
            (above, true) => parts.push(format!("yields when others wait above {above} %")),
            (_, false) => parts.push(
                "cannot yield to the host's load: this kernel has no /proc/pressure".to_owned(),
            ),
        }
        if parts.is_empty() {
            parts.push("not limited".to_owned());
        }
        parts.join(", ")
    }
}

//! People and agents.

use custody::house::{agent::Agent, limits::Limits, person::Person};
use serde::Serialize;
use serde_json::Value;

use super::{
    Screen, View,
    media::{self, Disk, Reading},
    text,
    underway::Underway,
};
use crate::{exit::Outcome, records::Record};

/// A person.
#[derive(Clone, Debug, Serialize)]
pub struct PersonView {
    /// The id.
    pub id: String,
    /// The name; absent once erased.
    pub name: Option<String>,
    /// What the person may do.
    pub roles: Vec<String>,
    /// The key, in OpenSSH form.
    pub key: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether the key lives in hardware.
    pub hardware: bool,
    /// Whether the person is retired.
    pub retired: bool,
    /// The entry that added the person.
    pub entry: u64,
}

impl PersonView {
    /// Reads a record.
    pub fn read(record: &Record) -> Outcome<Self> {
        let person: Person = record.parse()?;
        Ok(Self {
            id: person.id.to_string(),
            name: record.text(&person.name),
            roles: person.roles.iter().map(ToString::to_string).collect(),
            fingerprint: person.key.fingerprint(),
            hardware: person.key.is_hardware(),
            key: person.key.to_openssh(),
            retired: person.retired,
            entry: person.entry,
        })
    }
}

impl View for PersonView {
    const PLURAL: &'static str = "persons";
    const COLUMNS: &'static [&'static str] = &["person", "name", "roles", "key", "state"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![
            screen.id(&self.id),
            text::or_dash(self.name.as_deref()),
            self.roles.join(","),
            self.fingerprint.clone(),
            if self.retired { "retired" } else { "active" }.to_owned(),
        ]
    }
}

/// A storage server.
#[derive(Clone, Debug, Serialize)]
pub struct AgentView {
    /// The id.
    pub id: String,
    /// The server's name; absent once erased.
    pub name: Option<String>,
    /// `invited`, `enrolled`, `retired` or `expired` (an invitation that nobody used).
    pub state: &'static str,
    /// Whether it is connected now.
    pub connected: bool,
    /// When it was last heard of, as the coordinator says.
    pub last_seen: Option<Value>,
    /// Its version.
    pub version: Option<String>,
    /// What it may hold.
    pub roots: Vec<Value>,
    /// What its reading may take of its host; absent where that was never said.
    pub limits: Option<Limits>,
    /// What it has under way now.
    pub underway: Vec<Underway>,
    /// Its disks, as it last spoke of them.
    pub disks: Vec<Disk>,
    /// How far reading again what it holds is.
    pub readings: Vec<Reading>,
    /// When it last spoke of either.
    pub health_heard: Option<Value>,
    /// Its epoch, which rises with each enrolment.
    pub epoch: Option<u64>,
    /// The next statement of its chain.
    pub next_seq: Option<u64>,
    /// The end of its newest certificate.
    pub certificate_ends: Option<String>,
    /// The end of its open invitation.
    pub invitation_ends: Option<String>,
    /// The entry that invited it.
    pub entry: u64,
}

impl AgentView {
    /// Reads a record.
    pub fn read(record: &Record) -> Outcome<Self> {
        let agent: Agent = record.parse()?;
        let live = &record.json["live"];
        let invitation = agent.invitation.as_ref();
        let state = match (&agent.enrolment, agent.retired, invitation) {
            (_, true, _) => "retired",
            (Some(_), _, _) => "enrolled",
            (None, _, Some(open)) if open.expires > crate::session::now() => "invited",
            _ => "expired",
        };
        let certificates = agent.enrolment.iter().flat_map(|e| &e.certificates);
        Ok(Self {
            id: agent.id.to_string(),
            name: record.text(&agent.name),
            state,
            connected: live["connected"].as_bool().unwrap_or(false),
            last_seen: Some(live["last_seen"].clone()).filter(|v| !v.is_null()),
            version: live["version"].as_str().map(str::to_owned),
            roots: live["roots"].as_array().cloned().unwrap_or_default(),
            limits: agent.limits.map(|limited| limited.limits),
            underway: live["underway"]
                .as_array()
                .map(|all| all.iter().filter_map(Underway::read).collect())
                .unwrap_or_default(),
            disks: media::read(&live["disks"]),
            readings: media::read(&live["readings"]),
            health_heard: Some(live["health_heard"].clone()).filter(|v| !v.is_null()),
            epoch: agent.enrolment.as_ref().map(|e| e.head.epoch),
            next_seq: agent.enrolment.as_ref().map(|e| e.head.seq),
            certificate_ends: certificates
                .map(|(_, end)| end)
                .max()
                .map(ToString::to_string),
            invitation_ends: invitation.map(|open| open.expires.to_string()),
            entry: agent.entry,
        })
    }

    /// What its reading may take, in words.
    fn reading(&self) -> String {
        let Some(limits) = &self.limits else {
            return "-".to_owned();
        };
        let mut parts = Vec::new();
        if limits.paused {
            parts.push("PAUSED".to_owned());
        }
        parts.extend(limits.cpu_percent.map(|percent| format!("{percent}% cpu")));
        parts.extend(
            limits
                .read_bytes
                .map(|bytes| format!("{}/s", text::size(bytes))),
        );
        parts.extend(limits.reads.map(|reads| format!("{reads} reads/s")));
        if let (Some(from), Some(until)) = (limits.from_minute, limits.until_minute) {
            let time = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
            parts.push(format!("{}-{} UTC", time(from), time(until)));
        }
        if parts.is_empty() {
            parts.push("not limited".to_owned());
        }
        parts.join(", ")
    }

    fn link(&self) -> &'static str {
        match (self.state, self.connected) {
            ("enrolled", true) => "connected",
            ("enrolled", false) => "OFFLINE",
            _ => "-",
        }
    }
}

impl View for AgentView {
    const PLURAL: &'static str = "agents";
    const COLUMNS: &'static [&'static str] = &[
        "agent", "name", "state", "link", "version", "reading", "roots",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let roots: Vec<_> = self.roots.iter().map(root).collect();
        vec![
            screen.id(&self.id),
            text::or_dash(self.name.as_deref()),
            self.state.to_owned(),
            self.link().to_owned(),
            text::or_dash(self.version.as_deref()),
            self.reading(),
            roots.join(", "),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        let underway = self.underway.iter();
        let underway: Vec<_> = underway
            .map(|one| one.named(&screen.id(&one.about)))
            .collect();
        if !underway.is_empty() {
            lines.push(("under way", underway.join("\n")));
        }
        if let Some(end) = &self.certificate_ends {
            lines.push(("certificate ends", end.clone()));
        }
        if let Some(end) = &self.invitation_ends {
            lines.push(("invitation ends", end.clone()));
        }
        if let (Some(epoch), Some(seq)) = (self.epoch, self.next_seq) {
            lines.push(("chain", format!("epoch {epoch}, next statement {seq}")));
        }
        lines
    }
}

fn root(root: &Value) -> String {
    let path = root["path"].as_str().unwrap_or("?");
    match root["file_system"].as_str() {
        Some(system) => format!("{path} ({system})"),
        None => path.to_owned(),
    }
}

//! Targets of holds. Only a verified target is ever called held.

use std::collections::BTreeMap;

use custody::{
    house::{
        hold::{HeldTarget, Means, State},
        mechanism::Keeps,
        regime::Holding,
    },
    id::AgentId,
    statement::{CopyMade, FixityChecked},
    time::Time,
};
use serde::Serialize;

use super::{Screen, View, next, people::AgentView, text, word::Word as _};
use crate::{exit::Outcome, records::Record};

/// The fleet, as far as the showing of targets needs it.
#[derive(Clone, Debug, Default)]
pub struct Fleet(BTreeMap<String, AgentView>);

impl Fleet {
    /// Reads the records of agents.
    pub fn read(records: &[Record]) -> Outcome<Self> {
        let views = records.iter().map(AgentView::read);
        let named = views.map(|view| view.map(|view| (view.id.clone(), view)));
        named.collect::<Outcome<_>>().map(Self)
    }

    /// An agent's name.
    pub fn name(&self, agent: &AgentId) -> Option<String> {
        self.0.get(&agent.to_string())?.name.clone()
    }

    /// Whether an agent is connected now.
    pub fn is_connected(&self, agent: &AgentId) -> bool {
        self.0
            .get(&agent.to_string())
            .is_some_and(|view| view.connected)
    }

    /// Everyone in it.
    pub fn agents(&self) -> impl Iterator<Item = &AgentView> {
        self.0.values()
    }
}

/// What came after the moment that is held, as its server says when it is asked.
#[derive(Clone, Debug, Serialize)]
pub struct LaterView {
    /// The moment that is held.
    pub as_of: String,
    /// `nothing` (nothing can), `unchanged`, `changed` or `gone`.
    pub word: String,
    /// Things below it that have changed or are new.
    pub things: u64,
    /// Whether all were looked at; else there may be more.
    pub all: bool,
}

impl LaterView {
    /// Reads one off the wire.
    pub fn read(later: proto::v1::Later) -> Self {
        Self {
            as_of: Time::from_millis(later.as_of_unix_ms).to_string(),
            word: later.word,
            things: later.things,
            all: later.all,
        }
    }

    fn text(&self) -> String {
        match self.word.as_str() {
            "nothing" => "nothing: the files themselves cannot change".to_owned(),
            "unchanged" => "nothing has changed beside it since".to_owned(),
            "gone" => "the living path is gone; what is held stays".to_owned(),
            _ => {
                let more = if self.all { "" } else { "at least " };
                let things = text::count(self.things, "thing");
                format!("{more}{things} changed or new beside it since; none of that is in it")
            }
        }
    }
}

/// A place that approvals took out of a target.
#[derive(Clone, Debug, Serialize)]
pub struct LeftView {
    /// Where; absent when the reader's roles do not show it, or it was erased: then it is held.
    pub path: Option<String>,
    /// Whether its server has freed it.
    pub free: bool,
}

/// One place that a hold stands on.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// Its id.
    pub id: String,
    /// The hold it belongs to.
    pub hold: String,
    /// The scope item it comes from.
    pub item: String,
    /// The server's id.
    pub agent: String,
    /// The server's name.
    pub agent_name: Option<String>,
    /// Whether the server is connected now.
    pub agent_connected: bool,
    /// Where; absent when the reader's roles do not show it.
    pub path: Option<String>,
    /// `freeze` or `preserve`.
    pub holding: Holding,
    /// `requested`, `acknowledged`, `verified`, `drifted`, `failed`, `lifting` or `lifted`.
    pub state: State,
    /// Whether it is proved to be held: true for `verified` alone.
    pub held: bool,
    /// How it is held, and what that does not prevent; absent until raised.
    pub means: Option<Means>,
    /// When its agent said that it was raised as it stands: what is held is of no later moment.
    pub since: Option<String>,
    /// What came later; absent unless `hold show` asked and its server answered.
    pub later: Option<LaterView>,
    /// The last round of reading it again.
    pub fixity: Option<FixityChecked>,
    /// Its second copy.
    pub copy: Option<CopyMade>,
    /// Places that approvals took out of it.
    pub left: Vec<LeftView>,
    /// What to do, where something is to be done.
    pub next: Option<&'static str>,
    /// Attempts to change it that were refused at the last proof.
    pub attempts: u64,
    /// Writers left at the last proof.
    pub writers: u64,
    /// The last trouble, in a word.
    pub trouble: Option<String>,
    /// The entry that last changed it.
    pub changed: u64,
}

impl TargetView {
    /// Reads a record.
    pub fn read(record: &Record, fleet: &Fleet) -> Outcome<Self> {
        let target: HeldTarget = record.parse()?;
        let out = |places: &[_], free| {
            let paths = places.iter().map(|place| record.text(place));
            paths
                .map(|path| LeftView { path, free })
                .collect::<Vec<_>>()
        };
        let trouble = target
            .trouble
            .as_deref()
            .filter(|_| target.state != State::Verified);
        Ok(Self {
            id: target.wish.target.to_string(),
            hold: target.hold.to_string(),
            item: target.wish.item.to_string(),
            agent: target.wish.agent.to_string(),
            agent_name: fleet.name(&target.wish.agent),
            agent_connected: fleet.is_connected(&target.wish.agent),
            path: record.text(&target.wish.path),
            holding: target.holding,
            state: target.state,
            held: target.state == State::Verified,
            since: target.since.map(|since| since.to_string()),
            later: None,
            left: [out(&target.left, true), out(&target.leaving, false)].concat(),
            next: trouble.and_then(next::of_trouble),
            means: target.means,
            fixity: target.fixity,
            copy: target.copy,
            attempts: target.attempts,
            writers: target.writers,
            trouble: target.trouble,
            changed: target.changed,
        })
    }

    /// What a person should know about its state, beyond the word.
    pub fn remark(&self) -> String {
        let offline = match (self.state.holds(), self.agent_connected) {
            (true, false) => "its server is OFFLINE; ",
            _ => "",
        };
        let said = match self.state {
            State::Requested => "NOT HELD YET: its server has not answered".to_owned(),
            State::Acknowledged if self.writers > 0 => {
                format!(
                    "NOT PROVED: {} left on it",
                    text::count(self.writers, "writer")
                )
            }
            State::Acknowledged => "not proved yet".to_owned(),
            State::Verified if !self.agent_connected => "held when last heard of".to_owned(),
            State::Verified => format!("held: {} refused", text::count(self.attempts, "attempt")),
            State::Drifted => "SOMETHING CHANGED: see the findings".to_owned(),
            State::Failed => "COULD NOT BE HELD".to_owned(),
            State::Lifting => "lifted, and final; its server is lowering it".to_owned(),
            State::Lifted => "free of this reason".to_owned(),
        };
        match &self.trouble {
            Some(trouble) if self.state != State::Verified => {
                format!("{offline}{said} ({trouble})")
            }
            _ => format!("{offline}{said}"),
        }
    }
}

/// A time as JSON has it, as people read it.
fn moment(text: &str) -> String {
    let time = text.parse().ok();
    time.map_or_else(|| text.to_owned(), |time| text::time(&time))
}

impl TargetView {
    /// What is held, since when, how it has fared, and what came later or left.
    pub fn story(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(means) = &self.means {
            let what = format!(
                "{}, {}, {}",
                text::count(means.files, "file"),
                text::count(means.folders, "folder"),
                text::size(means.bytes)
            );
            let since = self.since.as_deref().map(moment);
            lines.push((
                "frozen",
                match (&self.later, since) {
                    (Some(later), _) => format!("{what}, as of {}", moment(&later.as_of)),
                    (None, Some(since)) => format!("{what}, as of {since} or before"),
                    (None, None) => what,
                },
            ));
            let later = match (&self.later, means.mechanism.properties().lives_on) {
                (Some(later), _) => later.text(),
                (None, Keeps::Yes) => {
                    "the living files may go on changing; that is not in it".to_owned()
                }
                (None, Keeps::Found | Keeps::No) => {
                    "nothing: the files themselves cannot change".to_owned()
                }
            };
            lines.push(("what came later", later));
            lines.push(("fixity", self.fixed()));
            lines.push((
                "second copy",
                match &self.copy {
                    Some(copy) => {
                        let files = text::count(copy.files, "file");
                        format!("{files}, {}, of {}", text::size(copy.bytes), copy.snapshot)
                    }
                    None => "none".to_owned(),
                },
            ));
        }
        for out in &self.left {
            let path = text::or_dash(out.path.as_deref());
            lines.push((
                "has left",
                match out.free {
                    true => format!("{path}, freed"),
                    false => format!("{path}: final; its server is freeing it"),
                },
            ));
        }
        lines.extend(self.next.map(|next| ("next step", format!("{next}."))));
        lines
    }

    fn fixed(&self) -> String {
        let Some(round) = &self.fixity else {
            return "not read again yet".to_owned();
        };
        let ended = text::time(&round.ended);
        let head = format!("round {} ended {ended}", round.round);
        match (round.differ, round.unreadable) {
            (0, 0) => format!("{head}: {} as sealed", text::count(round.rows, "row")),
            (differ, unreadable) => format!(
                "{head}: of {}, {differ} DIFFER and {unreadable} CANNOT BE READ",
                text::count(round.rows, "row")
            ),
        }
    }
}

impl View for TargetView {
    const PLURAL: &'static str = "targets";
    const COLUMNS: &'static [&'static str] = &[
        "target",
        "server",
        "path",
        "state",
        "mechanism",
        "files",
        "size",
        "remark",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let of = |cell: &dyn Fn(&Means) -> String| {
            self.means.as_ref().map_or_else(|| "-".to_owned(), cell)
        };
        vec![
            screen.id(&self.id),
            self.agent_name
                .clone()
                .unwrap_or_else(|| screen.id(&self.agent)),
            text::or_dash(self.path.as_deref()),
            self.state.word(),
            of(&|means| format!("{} on {}", means.mechanism, means.file_system)),
            of(&|means| means.files.to_string()),
            of(&|means| text::size(means.bytes)),
            self.remark(),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        lines.push(("hold", screen.id(&self.hold)));
        lines.push(("holding", self.holding.word()));
        lines.extend(self.story());
        if let Some(means) = self
            .means
            .as_ref()
            .filter(|m| !m.does_not_prevent.is_empty())
        {
            lines.push(("does not prevent", means.does_not_prevent.join("\n")));
        }
        lines.push(("last changed", format!("entry {}", self.changed)));
        lines
    }
}

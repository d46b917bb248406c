//! Holds and their targets. Only a verified target is ever called held.

use std::collections::{BTreeMap, BTreeSet};

use custody::{
    house::{
        hold::{HeldTarget, Hold, Means, State},
        regime::Holding,
    },
    id::AgentId,
};
use serde::Serialize;

use super::{Screen, View, people::AgentView, text, word::Word as _};
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
            means: target.means,
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
            State::Lifting => "lifted; its server is lowering it".to_owned(),
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

/// A hold with its targets.
#[derive(Clone, Debug, Serialize)]
pub struct HoldView {
    /// The id.
    pub id: String,
    /// The order behind it.
    pub order: String,
    /// The request that lifted it.
    pub lifted_by: Option<String>,
    /// The entry that placed it.
    pub entry: u64,
    /// Whether every target that still holds is proved to.
    pub held: bool,
    /// How many targets stand in which state.
    pub states: BTreeMap<String, u64>,
    /// Its targets.
    pub targets: Vec<TargetView>,
}

impl HoldView {
    /// Joins a hold's record with its targets.
    pub fn read(record: &Record, targets: Vec<TargetView>) -> Outcome<Self> {
        let hold: Hold = record.parse()?;
        let mut states = BTreeMap::new();
        for target in &targets {
            *states.entry(target.state.word()).or_default() += 1;
        }
        let mut standing = targets.iter().filter(|t| t.state.holds()).peekable();
        Ok(Self {
            id: hold.id.to_string(),
            order: hold.order.to_string(),
            lifted_by: hold.lifted_by.as_ref().map(ToString::to_string),
            entry: hold.entry,
            held: standing.peek().is_some() && standing.all(|target| target.held),
            states,
            targets,
        })
    }
}

impl View for HoldView {
    const PLURAL: &'static str = "holds";
    const COLUMNS: &'static [&'static str] = &["hold", "order", "targets", "states", "warnings"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let states: Vec<_> = self
            .states
            .iter()
            .map(|(state, n)| format!("{n} {state}"))
            .collect();
        let away = self
            .targets
            .iter()
            .filter(|t| t.state.holds() && !t.agent_connected)
            .count();
        vec![
            screen.id(&self.id),
            screen.id(&self.order),
            self.targets.len().to_string(),
            states.join(", "),
            match away {
                0 => "-".to_owned(),
                away => format!(
                    "{} on servers that are OFFLINE",
                    text::count(away as u64, "target")
                ),
            },
        ]
    }
}

/// Prints a hold and each of its targets.
pub fn whole(screen: &Screen, view: &HoldView) {
    if screen.is_json() {
        return screen.value(view);
    }
    screen.one(view);
    screen.raw("\n");
    screen.list(&view.targets);
    let mut said = BTreeMap::<&str, BTreeSet<&str>>::new();
    for target in &view.targets {
        if let Some(means) = &target.means {
            let gaps = said.entry(means.mechanism.word()).or_default();
            gaps.extend(means.does_not_prevent.iter().map(String::as_str));
        }
    }
    for (mechanism, gaps) in said.iter().filter(|(_, gaps)| !gaps.is_empty()) {
        screen.raw(&format!("\n{} does not prevent:\n", text::plain(mechanism)));
        for gap in gaps {
            screen.raw(&format!("  - {}\n", text::plain(gap)));
        }
    }
}

//! Clearances.

use custody::house::clearance::{Clearance, State, What};
use serde::Serialize;

use super::{Screen, View, hold::Fleet, text};
use crate::{exit::Outcome, records::Record};

/// A clearance.
#[derive(Clone, Debug, Serialize)]
pub struct ClearanceView {
    /// The id.
    pub id: String,
    /// The server's id.
    pub agent: String,
    /// The server's name.
    pub agent_name: Option<String>,
    /// `server`, `disk` or `path`.
    pub what: What,
    /// The disk; absent for others, when it was erased or is not shown to the reader's roles.
    pub disk: Option<String>,
    /// The places concerned; none for a whole server.
    pub places: Vec<Option<String>>,
    /// `asked`, `given`, `refused` or `used`.
    pub state: &'static str,
    /// After this it is refused, where it was given.
    pub expires: Option<String>,
    /// The holds that stand in the way.
    pub holds: Vec<String>,
    /// Orders that may concern it and back no hold yet.
    pub orders: Vec<String>,
    /// The entry that asked.
    pub entry: u64,
    /// The entry that last changed it: the signed answer.
    pub changed: u64,
}

impl ClearanceView {
    /// Reads a record.
    pub fn read(record: &Record, fleet: &Fleet) -> Outcome<Self> {
        let clearance: Clearance = record.parse()?;
        let asked = &clearance.asked;
        let mut view = Self {
            id: asked.clearance.to_string(),
            agent: asked.agent.to_string(),
            agent_name: fleet.name(&asked.agent),
            what: asked.what,
            disk: asked.disk.as_ref().and_then(|disk| record.text(disk)),
            places: asked.places.iter().map(|p| record.text(p)).collect(),
            state: "asked",
            expires: None,
            holds: Vec::new(),
            orders: Vec::new(),
            entry: clearance.entry,
            changed: clearance.changed,
        };
        match clearance.state {
            State::Asked => {}
            State::Given { expires } => {
                view.state = "given";
                view.expires = Some(expires.to_string());
            }
            State::Refused { holds, orders } => {
                view.state = "refused";
                view.holds = holds.iter().map(ToString::to_string).collect();
                view.orders = orders.iter().map(ToString::to_string).collect();
            }
            State::Used => view.state = "used",
        }
        Ok(view)
    }

    /// Whether the coordinator has answered.
    pub fn is_answered(&self) -> bool {
        self.state != "asked"
    }

    fn subject(&self) -> String {
        let places = || {
            let places = self.places.iter().map(|p| text::or_dash(p.as_deref()));
            places.collect::<Vec<_>>().join(", ")
        };
        match self.what {
            What::Server => "the whole server".to_owned(),
            What::Disk => format!("disk {}", text::or_dash(self.disk.as_deref())),
            What::Path => places(),
        }
    }

    fn because(&self, screen: &Screen) -> String {
        let all = self.holds.iter().chain(&self.orders);
        all.map(|id| screen.id(id)).collect::<Vec<_>>().join(", ")
    }
}

impl View for ClearanceView {
    const PLURAL: &'static str = "clearances";
    const COLUMNS: &'static [&'static str] = &[
        "clearance",
        "server",
        "what",
        "state",
        "until",
        "in the way",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let or_dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        vec![
            screen.id(&self.id),
            self.agent_name
                .clone()
                .unwrap_or_else(|| screen.id(&self.agent)),
            self.subject(),
            match self.state {
                "refused" => "REFUSED".to_owned(),
                state => state.to_owned(),
            },
            text::or_dash(self.expires.as_deref()),
            or_dash(self.because(screen)),
        ]
    }
}

//! Holds with all that is known of them: targets, what their mechanisms do, findings.

use std::collections::{BTreeMap, BTreeSet};

use custody::house::{
    hold::Hold,
    mechanism::{Mechanism, Properties},
};
use serde::Serialize;

use super::{
    Screen, View,
    finding::{self, FindingView},
    hold::TargetView,
    mechanism, text,
    word::Word as _,
};
use crate::{exit::Outcome, records::Record};

/// A hold with its targets.
#[derive(Clone, Debug, Serialize)]
pub struct HoldView {
    /// The id.
    pub id: String,
    /// The order behind it.
    pub order: String,
    /// The weakest mechanism that will do.
    pub at_least: Option<Mechanism>,
    /// The request that lifted it.
    pub lifted_by: Option<String>,
    /// The entry that placed it.
    pub entry: u64,
    /// Whether every target that still holds is proved to.
    pub held: bool,
    /// How many targets stand in which state.
    pub states: BTreeMap<String, u64>,
    /// What the mechanisms do that hold its targets.
    pub mechanisms: BTreeMap<&'static str, Properties>,
    /// Its targets.
    pub targets: Vec<TargetView>,
    /// What was found about them.
    pub findings: Vec<FindingView>,
}

impl HoldView {
    /// Joins a hold's record with its targets and with what was found about them.
    pub fn read(
        record: &Record,
        targets: Vec<TargetView>,
        findings: Vec<FindingView>,
    ) -> Outcome<Self> {
        let hold: Hold = record.parse()?;
        let mut states = BTreeMap::new();
        for target in &targets {
            *states.entry(target.state.word()).or_default() += 1;
        }
        let mut standing = targets.iter().filter(|t| t.state.holds()).peekable();
        Ok(Self {
            id: hold.id.to_string(),
            order: hold.order.to_string(),
            at_least: hold.at_least,
            lifted_by: hold.lifted_by.as_ref().map(ToString::to_string),
            entry: hold.entry,
            held: standing.peek().is_some() && standing.all(|target| target.held),
            states,
            mechanisms: mechanism::table(&used(&targets)),
            targets,
            findings,
        })
    }
}

/// The mechanisms that hold these targets.
fn used(targets: &[TargetView]) -> BTreeSet<Mechanism> {
    let means = targets.iter().filter_map(|target| target.means.as_ref());
    means.map(|means| means.mechanism).collect()
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
        let standing = || self.targets.iter().filter(|t| t.state.holds());
        let away = standing().filter(|t| !t.agent_connected).count() as u64;
        let found = self.findings.len() as u64;
        let mut warnings = Vec::new();
        if away > 0 {
            let targets = text::count(away, "target");
            warnings.push(format!("{targets} on servers that are OFFLINE"));
        }
        if found > 0 {
            warnings.push(text::count(found, "finding"));
        }
        vec![
            screen.id(&self.id),
            screen.id(&self.order),
            self.targets.len().to_string(),
            states.join(", "),
            match warnings.is_empty() {
                true => "-".to_owned(),
                false => warnings.join("; "),
            },
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let cells = Self::COLUMNS.iter().copied().zip(self.row(screen));
        let mut lines: Vec<_> = cells.collect();
        if let Some(least) = self.at_least {
            lines.push(("at least", least.to_string()));
        }
        lines
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
    for target in &view.targets {
        let story = target.story();
        if !story.is_empty() {
            let path = text::or_dash(target.path.as_deref());
            screen.raw(&format!("\n{} {path}\n", screen.id(&target.id)));
            screen.pairs(&story);
        }
    }
    mechanism::properties(screen, &used(&view.targets));
    let mut said = BTreeMap::<&str, BTreeSet<&str>>::new();
    for target in &view.targets {
        if let Some(means) = &target.means {
            let gaps = said.entry(means.mechanism.word()).or_default();
            gaps.extend(means.does_not_prevent.iter().map(String::as_str));
        }
    }
    gaps(screen, &said);
    finding::all(screen, &view.findings);
}

/// Prints what each mechanism does not prevent where it was looked at.
pub fn gaps(screen: &Screen, said: &BTreeMap<&str, BTreeSet<&str>>) {
    for (mechanism, gaps) in said.iter().filter(|(_, gaps)| !gaps.is_empty()) {
        screen.raw(&format!("\n{} does not prevent:\n", text::plain(mechanism)));
        for gap in gaps {
            screen.raw(&format!("  - {}\n", text::plain(gap)));
        }
    }
}

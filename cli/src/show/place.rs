//! Where a hold would stand, and how: shown before anyone places it.

use std::collections::{BTreeMap, BTreeSet};

use custody::house::mechanism::{Mechanism, Properties};
use proto::v1;
use serde::Serialize;

use super::{Screen, View, held::gaps, mechanism, next, text};

/// How a server would hold a place, as it says.
#[derive(Clone, Debug, Serialize)]
pub struct SurveyView {
    /// What would keep it; empty where nothing can.
    pub mechanism: String,
    /// The file system it lies on.
    pub file_system: String,
    /// What that does not prevent there, as far as is known before.
    pub does_not_prevent: Vec<String>,
    /// Why this mechanism and no stronger one.
    pub because: String,
    /// Bytes of space that it takes at once.
    pub needs_bytes: u64,
    /// Bytes that are free there; absent where the file system has no measure.
    pub free_bytes: Option<u64>,
    /// Why it cannot be held, in a word.
    pub refused: Option<String>,
}

/// A target that is planned.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// The scope item it comes from.
    pub item: String,
    /// The server's id.
    pub agent: String,
    /// The server's name.
    pub agent_name: String,
    /// Where.
    pub path: String,
    /// How its server would hold it; absent when it did not say.
    pub survey: Option<SurveyView>,
    /// What to do, where it would not be held.
    pub next: Option<&'static str>,
    /// The path as it is signed.
    #[serde(skip)]
    pub raw: Vec<u8>,
}

impl Planned {
    /// Reads one off the wire. What is weaker than `at_least` will be refused there.
    pub fn read(target: v1::PlannedTarget, at_least: Option<Mechanism>) -> Self {
        let survey = target.survey.map(|survey| {
            let known = Mechanism::from_word(&survey.mechanism);
            let weak = known.is_some_and(|known| at_least.is_some_and(|least| known < least));
            let refused = match survey.refused.as_str() {
                "" if weak => Some("too-weak".to_owned()),
                "" => None,
                word => Some(word.to_owned()),
            };
            SurveyView {
                // Absent and none are one on the wire: only what needs room is measured.
                free_bytes: (survey.free_bytes > 0 || survey.needs_bytes > 0)
                    .then_some(survey.free_bytes),
                mechanism: survey.mechanism,
                file_system: survey.file_system,
                does_not_prevent: survey.does_not_prevent,
                because: survey.because,
                needs_bytes: survey.needs_bytes,
                refused,
            }
        });
        let refused = survey.as_ref().and_then(|survey| survey.refused.as_deref());
        Self {
            next: refused.and_then(next::of_trouble),
            item: target.item,
            agent: target.agent,
            agent_name: target.agent_name,
            path: text::bytes(&target.path),
            raw: target.path.to_vec(),
            survey,
        }
    }
}

impl View for Planned {
    const PLURAL: &'static str = "planned";
    const COLUMNS: &'static [&'static str] = &[
        "server",
        "path",
        "mechanism",
        "file system",
        "needs",
        "free",
        "from item",
    ];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let survey = self.survey.as_ref();
        let of = |cell: &dyn Fn(&SurveyView) -> String| survey.map_or_else(unknown, cell);
        vec![
            self.agent_name.clone(),
            self.path.clone(),
            of(&|survey| match &survey.refused {
                Some(word) => format!("REFUSED ({word})"),
                None => survey.mechanism.clone(),
            }),
            of(&|survey| survey.file_system.clone()),
            of(&|survey| text::size(survey.needs_bytes)),
            of(&|survey| survey.free_bytes.map_or_else(|| "-".to_owned(), text::size)),
            screen.id(&self.item),
        ]
    }
}

/// An item that matches nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Unresolved {
    /// The scope item.
    pub item: String,
    /// Why.
    pub reason: String,
}

impl From<v1::Unresolved> for Unresolved {
    fn from(wire: v1::Unresolved) -> Self {
        Self {
            item: wire.item,
            reason: wire.reason,
        }
    }
}

impl View for Unresolved {
    const PLURAL: &'static str = "unresolved";
    const COLUMNS: &'static [&'static str] = &["matches nothing", "why"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![screen.id(&self.item), self.reason.clone()]
    }
}

/// The mechanisms of a plan that would be used.
fn used(planned: &[Planned]) -> BTreeSet<Mechanism> {
    let surveys = planned.iter().filter_map(|one| one.survey.as_ref());
    let used = surveys.filter(|survey| survey.refused.is_none());
    used.filter_map(|survey| Mechanism::from_word(&survey.mechanism))
        .collect()
}

/// What the mechanisms of a plan do, for JSON.
pub fn mechanisms(planned: &[Planned]) -> BTreeMap<&'static str, Properties> {
    mechanism::table(&used(planned))
}

/// Prints a plan: each place, why it is held as it is, what that prevents, and what matches
/// nothing.
pub fn plan(screen: &Screen, planned: &[Planned], unresolved: &[Unresolved]) {
    if !planned.is_empty() {
        screen.list(planned);
    }
    let surveys = || planned.iter().filter_map(|one| one.survey.as_ref());
    let why: BTreeSet<_> = surveys()
        .filter(|survey| survey.refused.is_none() && !survey.because.is_empty())
        .map(|survey| survey.because.as_str())
        .collect();
    for because in why {
        screen.raw(&format!("why {}\n", text::plain(because)));
    }
    let silent = planned.iter().filter(|one| one.survey.is_none()).count();
    if silent > 0 {
        screen.raw(&format!(
            "{}: how it would be held is not known before it is placed, for its server did not \
             say.\n",
            text::count(silent as u64, "target")
        ));
    }
    for one in planned {
        let refused = one.survey.as_ref().and_then(|s| s.refused.as_deref());
        if let Some(word) = refused {
            let next = one.next.unwrap_or("Look at its agent's log");
            screen.raw(&format!(
                "{} on {} COULD NOT BE HELD ({}): {next}.\n",
                text::plain(&one.path),
                text::plain(&one.agent_name),
                text::plain(word),
            ));
        }
    }
    mechanism::properties(screen, &used(planned));
    let mut said = BTreeMap::<&str, BTreeSet<&str>>::new();
    for survey in surveys().filter(|survey| survey.refused.is_none()) {
        let gaps = said.entry(survey.mechanism.as_str()).or_default();
        gaps.extend(survey.does_not_prevent.iter().map(String::as_str));
    }
    gaps(screen, &said);
    if !unresolved.is_empty() {
        screen.raw("\n");
        screen.list(unresolved);
    }
}

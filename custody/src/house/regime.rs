//! Regimes: what each kind of order demands, as data. Durations change; code does not.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{
    clock::Duration,
    refusal::{Refusal, invalid},
};

/// What a hold does to a living system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holding {
    /// A seizure: nothing may change any more, where it lies.
    Freeze,
    /// Keep what exists now; the living files go on.
    Preserve,
}

/// Which moment a regime's clock starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// When the provider received it.
    Received,
    /// When it was issued.
    Issued,
}

/// One kind of order: its clocks and defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// Stable word, such as `us-2703f`.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Where it is written.
    pub source: String,
    /// Where its clocks start.
    pub anchor: Anchor,
    /// How long what is named must be kept; absent: until the order itself says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Duration>,
    /// By when the provider must have acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Duration>,
    /// The same in an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act_emergency: Option<Duration>,
    /// How many renewals the text allows; more needs legal's word and is flagged.
    pub renewals: u32,
    /// How long one renewal lasts; absent: as the renewal says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Duration>,
    /// What a hold under it does unless the order says otherwise.
    pub holding: Holding,
    /// Whether such orders are confidential unless they say otherwise.
    pub sealed_by_default: bool,
}

/// Every regime this build knows, from `regimes.json` beside this file.
pub fn all() -> &'static [Regime] {
    static ALL: OnceLock<Vec<Regime>> = OnceLock::new();
    ALL.get_or_init(|| serde_json::from_str(include_str!("regimes.json")).unwrap_or_default())
}

/// Finds a regime by its word.
pub fn find(id: &str) -> Result<&'static Regime, Refusal> {
    all().iter().find(|regime| regime.id == id).ok_or_else(|| {
        let known: Vec<_> = all().iter().map(|regime| regime.id.as_str()).collect();
        invalid(
            "order.unknown-kind",
            format!(
                "There is no order kind of that name; there are {}",
                known.join(", ")
            ),
            "Use one of these, or court-order with an explicit end",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_regimes_are_readable_and_each_word_is_its_own() {
        assert!(all().len() >= 5);
        for regime in all() {
            assert_eq!(find(&regime.id), Ok(regime));
        }
        assert_eq!(find("us-2703f").map(|r| r.renewals), Ok(1));
        assert!(find("letter-from-a-friend").is_err());
    }
}

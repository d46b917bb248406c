//! Refusals: a rule said no. Nothing happened, nothing is lost.

use std::fmt;

/// What kind of no it is; each becomes one gRPC status and one exit code at the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was said makes no sense: correct it.
    Invalid,
    /// What it speaks of is not here.
    Unknown,
    /// Who said it may not.
    Forbidden,
    /// It is not possible as things stand.
    Conflict,
}

/// A rule's no: which rule, what happened and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule's stable name, such as `approval.own-request`.
    pub rule: &'static str,
    /// What kind of no.
    pub kind: Kind,
    /// One sentence: what is wrong.
    pub why: String,
    /// One sentence: the next step.
    pub next: &'static str,
}

impl Refusal {
    pub(crate) fn new(
        kind: Kind,
        rule: &'static str,
        why: impl Into<String>,
        next: &'static str,
    ) -> Self {
        Self {
            rule,
            kind,
            why: why.into(),
            next,
        }
    }

    /// Whether outsiders should be able to see, in the ledger, that this was tried.
    ///
    /// Mistakes of typing are not recorded; attempts to act alone, out of role or against
    /// a hold are.
    pub fn is_recorded(&self) -> bool {
        matches!(self.kind, Kind::Forbidden)
            || self.rule.starts_with("approval.")
            || self.rule.starts_with("release.")
            || self.rule.starts_with("clearance.")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}.", self.why, self.next)
    }
}

impl std::error::Error for Refusal {}

pub(crate) fn unknown(what: impl fmt::Display) -> Refusal {
    Refusal::new(
        Kind::Unknown,
        "unknown",
        format!("There is no {what} here"),
        "List what there is and use its id",
    )
}

pub(crate) fn invalid(rule: &'static str, why: impl Into<String>, next: &'static str) -> Refusal {
    Refusal::new(Kind::Invalid, rule, why, next)
}

pub(crate) fn forbidden(rule: &'static str, why: impl Into<String>, next: &'static str) -> Refusal {
    Refusal::new(Kind::Forbidden, rule, why, next)
}

pub(crate) fn conflict(rule: &'static str, why: impl Into<String>, next: &'static str) -> Refusal {
    Refusal::new(Kind::Conflict, rule, why, next)
}

//! Exit codes: the one place where trouble becomes a code and a sentence.
//!
//! 0 done; 1 the world broke; 2 usage; 3 refused by a rule; 4 does not verify; 5 consistent
//! but unanchored. Scripts depend on them; they never change.

use std::fmt;

use custody::house::refusal::Refusal;
use tonic::Code;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `verify`: valid and anchored.
    Done = 0,
    /// The world broke: try again.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A rule said no.
    Refused = 3,
    /// Something does not verify.
    Broken = 4,
    /// Everything fits, but nothing from outside anchors it.
    Unanchored = 5,
}

/// Why a command did not succeed: what happened, why, and the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The rule or kind of trouble, as a stable word.
    pub rule: String,
    /// Whole sentences: what happened, why, the next step.
    pub message: String,
    /// How the process ends.
    pub exit: Exit,
}

/// What a command gives.
pub type Outcome<T = ()> = Result<T, Trouble>;

impl Trouble {
    fn new(exit: Exit, rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            message: message.into(),
            exit,
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The world broke.
    pub fn failed(rule: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, rule, message)
    }

    /// A rule said no.
    pub fn refused(rule: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, rule, message)
    }

    /// A promise is broken: stop, and tell people.
    pub fn breach(rule: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Broken, rule, message)
    }

    /// A file could not be read or written.
    pub fn file(what: &str, path: &std::path::Path, error: &dyn fmt::Display) -> Self {
        let path = path.display();
        Self::failed("file", format!("Cannot {what} {path}: {error}."))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Trouble {}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.rule, refusal.to_string())
    }
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        let rule = status.metadata().get("holdfast-rule");
        let rule = rule.and_then(|value| value.to_str().ok());
        let said = crate::show::text::plain(status.message());
        match status.code() {
            Code::Unauthenticated => Self::refused(
                rule.unwrap_or("not-logged-in"),
                sentence(
                    &said,
                    "The coordinator does not know you. Run `holdfast login`.",
                ),
            ),
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::ResourceExhausted => Self::refused(
                rule.unwrap_or("refused"),
                sentence(&said, "The coordinator refused, without saying why."),
            ),
            // Internal without a rule is the transport's own word for a broken stream.
            Code::DataLoss | Code::Internal
                if status.code() == Code::DataLoss || rule.is_some() =>
            {
                Self::breach(
                    rule.unwrap_or("breach"),
                    sentence(&said, "The coordinator says that a promise is broken."),
                )
            }
            Code::Unimplemented => Self::failed(
                rule.unwrap_or("version"),
                "The coordinator does not know this call. Use the tool of its version.",
            ),
            Code::DeadlineExceeded | Code::Cancelled => Self::failed(
                rule.unwrap_or("no-answer"),
                "The coordinator did not answer in time. Try again; what was sent twice is done \
                 once.",
            ),
            // Whole sentences are the coordinator's own, with their next step.
            _ if said.ends_with('.') => Self::failed(rule.unwrap_or("coordinator"), said),
            _ => Self::failed(
                rule.unwrap_or("coordinator"),
                format!(
                    "The coordinator could not answer: {said}. Try again; `holdfast doctor` says \
                     what is wrong on this side."
                ),
            ),
        }
    }
}

fn sentence(said: &str, otherwise: &str) -> String {
    if said.is_empty() {
        otherwise.to_owned()
    } else {
        said.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_no_ends_with_three_and_a_broken_world_with_one() {
        let refused = |code| Trouble::from(tonic::Status::new(code, "No. Do this.")).exit;
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Unauthenticated,
            Code::AlreadyExists,
            Code::OutOfRange,
            Code::ResourceExhausted,
        ] {
            assert_eq!(refused(code), Exit::Refused, "{code:?}");
        }
        assert_eq!(refused(Code::Unavailable), Exit::Failed);
        assert_eq!(refused(Code::DataLoss), Exit::Broken);
    }

    #[test]
    fn the_rule_that_said_no_is_named() {
        let mut status = tonic::Status::new(Code::FailedPrecondition, "No.");
        status.metadata_mut().insert(
            "holdfast-rule",
            tonic::metadata::MetadataValue::from_static("hold.lifted"),
        );
        assert_eq!(Trouble::from(status).rule, "hold.lifted");
    }
}

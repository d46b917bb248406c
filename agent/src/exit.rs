//! Exit codes: the one place where trouble becomes a code and a sentence.
//!
//! 0 done; 1 the world broke; 2 usage (clap's own too); 3 refused by a rule; 4 a promise is
//! broken. Scripts and service managers depend on them.

use std::{fmt, path::Path, process::ExitCode};

use tonic::{Code, Status};

use crate::journal::error::JournalError;

/// Why the agent could not do something: what happened, why, and the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The command line or configuration makes no sense.
    Usage(String),
    /// A rule said no.
    Refused(String),
    /// The world broke: try again.
    Failed(String),
    /// A promise is broken: stop, and tell people.
    Breach(String),
}

impl Trouble {
    /// A file of the agent's own could not be read or written.
    pub fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::Failed(format!("Cannot {what} {}: {error}.", path.display()))
    }

    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Breach(_) => 4,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Refused(text) | Self::Failed(text) | Self::Breach(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Trouble {}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        let text = format!("{error}.");
        match error {
            JournalError::Damaged { .. } => Self::Breach(text),
            JournalError::Other { .. } => Self::Refused(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let said = plain(status.message());
        let said = if said.is_empty() {
            format!(
                "The coordinator answered {:?} without saying why.",
                status.code()
            )
        } else {
            said
        };
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::ResourceExhausted => Self::Refused(said),
            Code::DataLoss => Self::Breach(said),
            _ => Self::Failed(said),
        }
    }
}

/// What a peer said, without what could steer a terminal or a log.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// Says what went wrong on standard error and gives the code for it.
pub fn code(outcome: Result<(), Trouble>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("holdfast-agent: {trouble}");
            ExitCode::from(trouble.code())
        }
    }
}

//! Statuses: the one place where a rule's no and the world's trouble become gRPC statuses.
//!
//! The message is what happened, why, and the next step. The rule's name, where a rule said
//! no, travels in the metadata `holdfast-rule`.

use custody::house::refusal::{Kind, Refusal};
use tonic::{Code, Status, metadata::MetadataValue};

use crate::desk::{DeskError, Failure};

/// Metadata that carries the rule's name.
pub const RULE: &str = "holdfast-rule";

/// Why a call is not answered with yes.
#[derive(Clone, Debug)]
pub enum No {
    /// A rule said no.
    Refused(Refusal),
    /// Nobody knows who is calling: not logged in, or a certificate that is not admitted.
    Unauthenticated(String),
    /// The world broke; trying again may help.
    Failed(String),
    /// There is no room, on disk or for one more.
    Full(String),
    /// A promise is broken: stored evidence is not what it must be.
    Breach(String),
    /// Another call took this one's place, or the coordinator is stopping.
    Cut(String),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl From<DeskError> for No {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Refused(refusal) => refusal.into(),
            DeskError::Failed(failure) => failure.into(),
        }
    }
}

impl From<std::io::Error> for No {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        // Never the error's own words alone: they may name a place on this machine.
        match error.kind() {
            StorageFull | QuotaExceeded => Self::Full(
                "The coordinator's disk is full. Free space for its data folder; what was sent \
                 so far is kept, and sending goes on from there"
                    .to_owned(),
            ),
            kind => Self::Failed(format!(
                "The coordinator's disk failed ({kind}). Look at its log, then try again"
            )),
        }
    }
}

impl From<No> for Status {
    fn from(no: No) -> Self {
        match no {
            No::Refused(refusal) => of(&refusal),
            No::Unauthenticated(why) => Status::unauthenticated(sentence(why)),
            No::Failed(why) | No::Cut(why) => Status::unavailable(sentence(why)),
            No::Full(why) => Status::resource_exhausted(sentence(why)),
            No::Breach(why) => Status::data_loss(sentence(why)),
        }
    }
}

fn sentence(mut why: String) -> String {
    if !why.ends_with('.') {
        why.push('.');
    }
    why
}

/// A refusal's status.
pub fn of(refusal: &Refusal) -> Status {
    let code = match refusal.kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unknown => Code::NotFound,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Conflict => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, refusal.to_string());
    if let Ok(rule) = MetadataValue::try_from(refusal.rule) {
        status.metadata_mut().insert(RULE, rule);
    }
    status
}

/// Makes a refusal at the door.
pub fn refuse(
    kind: Kind,
    rule: &'static str,
    why: impl Into<String>,
    next: &'static str,
) -> Refusal {
    Refusal {
        rule,
        kind,
        why: why.into(),
        next,
    }
}

/// Refuses a message that makes no sense.
pub fn invalid(rule: &'static str, why: impl Into<String>, next: &'static str) -> No {
    refuse(Kind::Invalid, rule, why, next).into()
}

/// Refuses what is not possible as things stand.
pub fn conflict(rule: &'static str, why: impl Into<String>, next: &'static str) -> No {
    refuse(Kind::Conflict, rule, why, next).into()
}

/// Refuses for want of the thing spoken of.
pub fn unknown(what: impl std::fmt::Display) -> No {
    refuse(
        Kind::Unknown,
        "unknown",
        format!("There is no {what} here"),
        "List what there is and use its id",
    )
    .into()
}

/// Parses an id at the door.
pub fn id<T: std::str::FromStr<Err = custody::id::NotAnId>>(text: &str) -> Result<T, No> {
    text.parse().map_err(|error: custody::id::NotAnId| {
        invalid("id", sentence_head(&error.to_string()), "Copy the id whole")
    })
}

fn sentence_head(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    shown
}

/// Parses an opening at the door.
pub fn opening(opening: proto::v1::Opening) -> Result<custody::commit::Opening, No> {
    let r = opening.r.as_ref().try_into().map_err(|_| {
        invalid(
            "opening.r",
            "An opening has not exactly 32 random bytes",
            "Use the tool of the coordinator's version",
        )
    })?;
    Ok(custody::commit::Opening::new(
        opening.field,
        opening.value.to_vec(),
        r,
    ))
}

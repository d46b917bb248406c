//! Trouble with a store: what it refused or why it could not be asked, with the next step.

use std::io;

/// Why a store could not be worked with.
#[derive(Debug, thiserror::Error)]
pub enum StoreTrouble {
    /// No credentials to show.
    #[error("the store's credentials file {why}. Correct it, or `credentials` in agent.toml")]
    Credentials {
        /// What is wrong with the file.
        why: String,
    },
    /// The store does not know the credentials.
    #[error(
        "the store does not accept the credentials ({code}). Put valid ones into the store's \
         credentials file"
    )]
    Unauthorized {
        /// The store's word.
        code: String,
    },
    /// The store knows us and forbids it.
    #[error(
        "the store forbids {doing} ({code}). Allow it to the agent's key in the store's policy"
    )]
    Denied {
        /// What was asked.
        doing: &'static str,
        /// The store's word.
        code: String,
    },
    /// There is no such bucket.
    #[error("the store has no such bucket. Correct `bucket` or `endpoint` in agent.toml")]
    NoBucket,
    /// Versions are not kept.
    #[error(
        "the bucket does not keep versions ({status}), so what is overwritten is lost. Enable \
         versioning and Object Lock on it"
    )]
    NoVersioning {
        /// What the store says of versioning.
        status: String,
    },
    /// There is no Object Lock.
    #[error(
        "the bucket has no Object Lock, so nothing in it can be held. Enable Object Lock on it, or \
         copy its objects into a bucket that has it"
    )]
    NoObjectLock,
    /// Another region's bucket.
    #[error("the bucket is in another region ({region}). Correct `region` in agent.toml")]
    Region {
        /// The store's word.
        region: String,
    },
    /// Our clock is off.
    #[error("the store says that this host's clock is wrong. Set the clock, then try again")]
    Clock,
    /// The version is not there.
    #[error("the store has no such version of the object")]
    Gone,
    /// It answered with an error.
    #[error("the store answered {status} {code} to {doing}. Look at the store, then try again")]
    Answer {
        /// What was asked.
        doing: &'static str,
        /// HTTP status.
        status: u16,
        /// The store's word.
        code: String,
    },
    /// It answered what no store may answer.
    #[error("the store's answer to {doing} cannot be used: {why}. This store is not S3-compatible")]
    Nonsense {
        /// What was asked.
        doing: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It could not be reached, or did not answer in time.
    #[error("the store cannot be reached ({why}). Check the endpoint and the network")]
    Unreachable {
        /// What the network said.
        why: String,
    },
    /// The content ended early or was of another version.
    #[error("the store broke off in the middle of an object. Try again")]
    Broken,
    /// The agent's own files.
    #[error("{doing}: {source}. Look at the host's log, then try again")]
    Own {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target's list of versions is not the one that was written.
    #[error(
        "the list of held versions beside the record was changed. Restore the agent's data folder, \
         or lift the hold and place it anew"
    )]
    ListChanged,
}

impl StoreTrouble {
    /// The word that stands in statements; it never changes.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Credentials { .. } | Self::Unauthorized { .. } => "store-credentials",
            Self::Denied { .. } => "store-denied",
            Self::NoBucket => "no-bucket",
            Self::NoVersioning { .. } => "no-versioning",
            Self::NoObjectLock => "no-object-lock",
            Self::Region { .. } => "store-region",
            Self::Clock => "clock",
            Self::Gone => "not-found",
            Self::Answer { .. } | Self::Nonsense { .. } | Self::Broken => "store-answer",
            Self::Unreachable { .. } => "store-unreachable",
            Self::Own { .. } => "io-error",
            Self::ListChanged => "list-changed",
        }
    }
}

/// Says what was being done with a file of our own.
pub fn own(doing: &'static str) -> impl Fn(io::Error) -> StoreTrouble {
    move |source| StoreTrouble::Own { doing, source }
}

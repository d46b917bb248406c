//! The gate: runs a command that wipes only when a clearance allows it now.
//!
//! Everything must say yes, in this order: the command names nothing else of ours, this agent's
//! own records hold nothing there, and the coordinator, asked at this moment over the agent's own
//! connection, lets the clearance be used and has that on record. No answer is a no. Then the
//! use is noted here, for whoever later finds the place wiped, and the command takes this
//! process's place: no shell stands between.

pub mod scope;
pub mod tell;
pub mod uses;
pub mod wiped;

use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use custody::id::ClearanceId;
use proto::v1::{GateRequest, fleet_client::FleetClient};

use self::{
    scope::{Scope, Stands},
    uses::Use,
};
use crate::{
    config::{Config, Place},
    edge::now,
    enforce::record::Store,
    exit::{Trouble, plain},
    link::{dial::Dialer, identity::Identity},
};

/// What the gate is asked to let through.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The clearance, as `holdfast clearance ask` gave it.
    pub clearance: String,
    /// Only this disk is wiped.
    pub disk: Option<String>,
    /// Only these paths are wiped.
    pub paths: Vec<PathBuf>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

impl Pass {
    fn scope(&self) -> Scope {
        match &self.disk {
            Some(disk) => Scope::Disk(disk.strip_prefix("/dev/").unwrap_or(disk).to_owned()),
            None if self.paths.is_empty() => Scope::Server,
            None => Scope::Paths(self.paths.clone()),
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Trouble {
    Trouble::Refused(format!("{why} Nothing was run."))
}

/// Asks everything there is to ask. `Ok` means that the command may run now, once.
pub async fn ask(place: &Place, pass: &Pass) -> Result<(), Trouble> {
    let clearance: ClearanceId = pass
        .clearance
        .parse()
        .map_err(|error| Trouble::Usage(format!("{error}.")))?;
    let config = Config::load(place)?;
    let scope = pass.scope();
    let roots: Vec<_> = config.roots.iter().map(|root| root.root()).collect();
    let places = scope::places(&scope, &roots)?;
    if let Some(other) = scope::strays(&scope, &places, &roots, &pass.command) {
        return Err(refused(format!(
            "The command names {}, which lies outside what is to be wiped. Name it with --path or \
             --disk, or leave it out.",
            plain(&other.to_string_lossy())
        )));
    }
    let failed = |error| Trouble::file("read", &place.holds(), error);
    let records = Store::open(&place.holds()).map_err(failed)?;
    let records = records.all().map_err(failed)?;
    if let Some(Stands { target, phase }) = scope::stands(&scope, &places, &roots, records.values())
    {
        return Err(refused(format!(
            "This agent has {target} there ({phase}). It must be lifted and lowered first: \
             holdfast hold show {target}."
        )));
    }
    let identity = Identity::load(place)?;
    let (server, authority) = (&identity.enrolment.server, &identity.authority);
    let channel = Dialer::new(server, authority, Some(&identity.tls))?;
    let unreached = |trouble: Trouble| {
        Trouble::Failed(format!(
            "{trouble} Without its answer nothing is wiped, and nothing was run."
        ))
    };
    let channel = channel.connect().await.map_err(unreached)?;
    let request = GateRequest {
        clearance: clearance.to_string(),
        places: places.iter().cloned().map(Into::into).collect(),
    };
    let answer = FleetClient::new(channel).gate(request).await;
    let answer = answer
        .map_err(|status| unreached(status.into()))?
        .into_inner();
    if !answer.allowed {
        return Err(refused(plain(&answer.why)));
    }
    let used = Use {
        clearance,
        used: now(),
        places: places.iter().map(hex::encode).collect(),
    };
    uses::note(place, &used).map_err(|error| Trouble::file("write", &place.0, error))
}

/// Becomes the command. Returns only when it could not be started.
pub fn run(command: &[OsString]) -> Trouble {
    let Some((program, arguments)) = command.split_first() else {
        return Trouble::Usage("Say what to run, after `--`.".to_owned());
    };
    let error = Command::new(program).args(arguments).exec();
    Trouble::Failed(format!(
        "Cannot run {}: {error}. The clearance is used up; ask for another.",
        plain(&OsStr::from_bytes(program.as_bytes()).to_string_lossy())
    ))
}

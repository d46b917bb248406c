//! The command line: what may be typed, in the tool's words. They are stable.
//!
//! Each verb group's own arguments stand beside its code in `cmd/`.

pub mod limits;
pub mod selector;
pub mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cmd;

/// Keeps data exactly as it is under an order, proves it, and gives innocent people their own
/// files back.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 the world broke, 2 usage, 3 refused by a rule, 4 does not \
                  verify, 5 consistent but unanchored."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Which profile: who you are, and to which coordinator.
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_PROFILE",
        default_value = "default",
        value_name = "NAME",
        help_heading = "Everywhere"
    )]
    pub profile: String,
    /// Another address of the same coordinator: https://HOST:PORT.
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub server: Option<String>,
    /// Answer in JSON, as cli/JSON.md describes.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Do not ask; for scripts.
    #[arg(long, short = 'y', global = true, help_heading = "Everywhere")]
    pub yes: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a whole case on this machine: a coordinator, two agents, and people with SSH keys.
    Demo(crate::demo::DemoArgs),
    /// Log in with your SSH key, and write the profile the first time.
    Login(cmd::login::Login),
    /// Say who you are to the coordinator.
    Whoami,
    /// Check this side: profile, address, certificate, log key, SSH key, clock.
    Doctor,
    /// People: a name, roles and an SSH key each.
    #[command(subcommand)]
    Person(cmd::person::Verb),
    /// Storage servers.
    #[command(subcommand)]
    Agent(cmd::agent::Verb),
    /// Orders as they were served.
    #[command(subcommand)]
    Order(cmd::order::Verb),
    /// Holds: where they stand, and what each really does.
    #[command(subcommand)]
    Hold(cmd::hold::Verb),
    /// Snapshots: sealed manifests of what is held.
    #[command(subcommand)]
    Snapshot(cmd::snapshot::Verb),
    /// Owners' claims to their own files.
    #[command(subcommand)]
    Claim(cmd::claim::Verb),
    /// Everything that needs several people.
    #[command(subcommand)]
    Request(cmd::request::Verb),
    /// Approve a request, after reading it.
    Approve(cmd::vote::Approve),
    /// Reject a request, which ends it.
    Reject(cmd::vote::Reject),
    /// Releases of files to their owners.
    #[command(subcommand)]
    Release(cmd::release::Verb),
    /// Clearances: may this server, disk or path be wiped and used again?
    #[command(subcommand)]
    Clearance(cmd::clearance::Verb),
    /// Exclusion lists: hashes of what may never leave.
    #[command(subcommand)]
    Lists(cmd::lists::Verb),
    /// The log.
    #[command(subcommand)]
    Ledger(cmd::ledger::Verb),
    /// Verify offline: a log, a snapshot, a release or a whole folder.
    Verify(Verify),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    Man {
        /// The folder to write them to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What `verify` takes. It needs no profile and no network.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// A log folder, a snapshot, a receipt, a parcel's folder or a whole demo folder.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The log's verifier key, from a source you trust: a file or the text itself.
    #[arg(long, value_name = "KEY")]
    pub vkey: Option<String>,
    /// An older checkpoint of the same log, kept by somebody else than the provider.
    #[arg(long, value_name = "OLD")]
    pub checkpoint: Option<PathBuf>,
    /// Which witnesses must have signed: a C2SP tlog-policy file.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

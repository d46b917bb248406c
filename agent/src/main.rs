//! `holdfast-agent`: the command line of the storage-server agent.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use agent::{
    app,
    config::{Config, Place},
    edge::Machine,
    exit::{self, Trouble},
    fixity, gate,
    link::enrol::{Enrolled, enrol},
    status,
};
use clap::{Parser, Subcommand};

/// The storage-server agent of Holdfast: holds, captures, releases.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join a coordinator with an invitation from `holdfast agent invite`.
    Enrol {
        /// The invitation.
        #[arg(long)]
        invite: PathBuf,
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// A folder in which it may hold things, with where accounts lie below it.
        #[arg(long = "root", value_name = "PATH[=TEMPLATE]")]
        roots: Vec<PathBuf>,
    },
    /// Run until SIGTERM.
    Run {
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// Written once what is held was checked and work goes on.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Run a command that wipes, only with a valid clearance: mkfs, wipefs, a provisioning hook.
    /// Exit codes: 3 when it may not run; else the command's own.
    Gate {
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// The clearance, as `holdfast clearance ask` gave it.
        #[arg(long, value_name = "ID")]
        clearance: String,
        /// Only this disk is wiped.
        #[arg(long, value_name = "DISK", conflicts_with = "paths")]
        disk: Option<String>,
        /// Only this path is wiped; repeat it.
        #[arg(long = "path", value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Say how far reading again what is held is, and what is lost; works without the coordinator.
    Fixity {
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say how the agent stands; works without the coordinator.
    Status {
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Threads that serve the network and the clocks.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    open_enough();
    exit::code(run(Arguments::parse().command))
}

/// Lets this process have as many files open as it may: a walk, a capture and a proof at a time
/// have some thousands, and a file that could not be opened for want of one would be missing in
/// the evidence.
fn open_enough() {
    let files = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(files);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(files, limit);
}

fn run(command: Command) -> Result<(), Trouble> {
    // The network and the clocks need no more, however many cores there are; what takes long runs on
    // threads that come and go.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Trouble::Failed(format!("Cannot start: {error}.")))?;
    let outcome = match command {
        Command::Enrol {
            invite,
            data,
            roots,
        } => {
            let machine = Machine::new()
                .map_err(|error| Trouble::Failed(format!("Cannot read the boot id: {error}.")))?;
            let place = Place(data);
            let enrolled = runtime.block_on(enrol(&invite, &place, &roots, &machine))?;
            say(&match enrolled {
                Enrolled::Now { agent, epoch } => format!("enrolled {agent} (enrolment {epoch})"),
                Enrolled::Already(agent) => {
                    format!("{agent} was enrolled with this invitation before; nothing to do")
                }
            });
            Ok(())
        }
        Command::Run { data, ready_file } => {
            let place = Place(data);
            let config = Config::load(&place)?;
            app::log(&config.log)?;
            runtime.block_on(app::run(place, config, ready_file.as_deref()))
        }
        Command::Gate {
            data,
            clearance,
            disk,
            paths,
            command,
        } => {
            let pass = gate::Pass {
                clearance,
                disk,
                paths,
                command,
            };
            runtime.block_on(gate::ask(&Place(data), &pass))?;
            Err(gate::run(&pass.command))
        }
        Command::Fixity { data, json } => {
            let all = fixity::show::read(&Place(data))?;
            let text = match json {
                true => serde_json::to_string(&serde_json::json!({ "snapshots": all }))
                    .map_err(|error| Trouble::Failed(format!("{error}.")))?,
                false => fixity::show::text(&all),
            };
            say(&text);
            Ok(())
        }
        Command::Status { data, json } => {
            let status = status::read(&Place(data))?;
            let text = match json {
                true => serde_json::to_string(&status)
                    .map_err(|error| Trouble::Failed(format!("{error}.")))?,
                false => status.to_text(),
            };
            say(&text);
            Ok(())
        }
    };
    // A step that cannot be interrupted does not keep the process: the next start goes on.
    runtime.shutdown_background();
    outcome
}

/// The one place that prints.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

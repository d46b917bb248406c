//! The commands and their arguments. The one module that prints to standard output.
#![allow(clippy::print_stdout)]

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use custody::sign::PublicKey;
use server::{
    app,
    config::{Config, Data},
    init::{self, Admin},
    replay,
};

use crate::exit;

#[derive(Parser)]
#[command(
    name = "holdfast-server",
    version,
    about = "The coordinator of Holdfast"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a data folder: configuration, keys, authority, and a log with its first entry
    Init(Init),
    /// Runs the coordinator until SIGTERM or SIGINT
    Run {
        /// The data folder
        #[arg(long)]
        data: PathBuf,
        /// Written once connections are accepted: {"address":"HOST:PORT"}
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Folds the journal anew and compares: state, tree and newest checkpoint
    Replay {
        /// Changes nothing; exit code 4 when something differs
        #[arg(long, required = true)]
        check: bool,
        /// The data folder
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Args)]
struct Init {
    /// The data folder; it must be empty or not be there
    #[arg(long)]
    data: PathBuf,
    /// A prepared config.toml to start from: the one way to open a log with other policies than
    /// the defaults. What else is said here wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The log's name for ever, for example holdfast.example.net/log1
    #[arg(long, required_unless_present = "config")]
    origin: Option<String>,
    /// The first administrator's name
    #[arg(long)]
    admin_name: String,
    /// The first administrator's SSH public key, an ssh-ed25519 `.pub` file
    #[arg(long)]
    admin_key: PathBuf,
    /// Where to listen; port 0 takes any free port
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// A name or address that the coordinator is reached by; may be repeated
    #[arg(long = "name")]
    names: Vec<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command that was asked for; gives its exit code.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.command {
        Command::Init(arguments) => init(arguments).await,
        Command::Run { data, ready_file } => {
            app::run(Data(data), ready_file.as_deref()).await?;
            Ok(exit::DONE)
        }
        Command::Replay { check: _, data } => check(&Data(data)).await,
    }
}

async fn init(arguments: Init) -> anyhow::Result<u8> {
    let path = &arguments.admin_key;
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the administrator's key {}", path.display()))?;
    let key = PublicKey::from_openssh(text.trim())
        .with_context(|| format!("{} is not a key to use", path.display()))?;
    let mut config = match &arguments.config {
        Some(path) => Config::prepared(path)?,
        None => Config::new(String::new()),
    };
    if let Some(origin) = arguments.origin {
        config.origin = origin;
    }
    if let Some(address) = arguments.listen {
        config.listen.address = address;
    }
    if !arguments.names.is_empty() {
        config.listen.names = arguments.names;
    }
    let admin = Admin {
        name: arguments.admin_name,
        key,
    };
    let made = init::init(&Data(arguments.data), &config, admin).await?;
    let said = [
        ("origin", made.origin),
        ("vkey", made.vkey),
        ("authority", made.authority.display().to_string()),
        ("person", made.person.to_string()),
        ("listen", config.listen.address.to_string()),
    ];
    if arguments.json {
        let object = said
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()));
        println!("{}", serde_json::Value::Object(object.collect()));
    } else {
        for (key, value) in said {
            println!("{key}: {value}");
        }
    }
    Ok(exit::DONE)
}

async fn check(data: &Data) -> anyhow::Result<u8> {
    let report = replay::check(data).await?;
    println!(
        "{} entries give {} records; the newest checkpoint covers {}",
        report.entries, report.records, report.checkpoint
    );
    if report.is_whole() {
        println!("everything is as the entries say");
        return Ok(exit::DONE);
    }
    for difference in &report.differences {
        println!("differs: {difference}");
    }
    println!("{} differences", report.count);
    Ok(exit::DOES_NOT_VERIFY)
}

//! The `holdfast` tool: what people type.
//!
//! In the order data flows: the command line ([`args`]) is read, a [`session`] is opened with a
//! [`profile`] over the wire ([`connect`]), a verb ([`cmd`]) says and reads what it must, signed
//! with the person's own key ([`sign`]), and the result is printed ([`show`]). [`verify`] and
//! [`parcel`] work offline and trust nobody. It never deletes anything, and it decides nothing:
//! the rules are custody's.

pub mod args;
pub mod cmd;
pub mod connect;
pub mod demo;
pub mod exit;
pub mod fetch;
pub mod parcel;
pub mod profile;
pub mod records;
pub mod session;
pub mod show;
pub mod sign;
pub mod verify;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use exit::{Exit, Outcome, Trouble};

/// Runs the tool on the process's own arguments.
pub fn main() -> ExitCode {
    // A second installation, as in a test, changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(not_understood(&error)),
    };
    let json = cli.global.json;
    let code = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Verify(args) => verify::run(
            verify::VerifyArgs {
                path: args.path,
                vkey: args.vkey,
                checkpoint: args.checkpoint,
                policy: args.policy,
            },
            json,
        ),
        Command::Ledger(cmd::ledger::Verb::Fsck { dir, vkey }) => verify::run(
            verify::VerifyArgs {
                path: dir,
                vkey,
                checkpoint: None,
                policy: None,
            },
            json,
        ),
        Command::Completions { shell } => ended(completions(shell), json),
        Command::Man { out } => ended(manual(&out), json),
        Command::Order(cmd::order::Verb::Kinds) => {
            cmd::order::kinds(&cli.global);
            0
        }
        Command::Release(cmd::release::Verb::Open(args)) => {
            ended(cmd::release::open(&cli.global, &args), json)
        }
        _ => ended(in_runtime(cli), json),
    };
    ExitCode::from(code)
}

fn in_runtime(cli: Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Trouble::failed("runtime", format!("The tool cannot start: {error}.")))?;
    runtime.block_on(cmd::run(cli))
}

fn ended(outcome: Outcome, json: bool) -> u8 {
    match outcome {
        Ok(()) => Exit::Done as u8,
        Err(trouble) => {
            show::trouble(&trouble, json);
            trouble.exit as u8
        }
    }
}

/// What clap has to say: help and versions are results, all else is usage.
fn not_understood(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        let _ = error.print();
        return Exit::Done as u8;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        show::trouble(&Trouble::usage(message.trim()), true);
    } else {
        let _ = error.print();
    }
    Exit::Usage as u8
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut script);
    // Who closed the pipe has read enough.
    let _ = std::io::stdout().lock().write_all(&script);
    Ok(())
}

fn manual(out: &std::path::Path) -> Outcome {
    std::fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), out))
        .map_err(|error| Trouble::file("write the manual pages to", out, &error))
}

//! The coordinator's entry point: one command in, one exit code out.

mod commands;
mod exit;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;

/// How long what cannot be cut, such as reading a manifest, may hold up the end.
const LINGER: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // Nothing can have installed another provider before: this is the first thing that runs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = commands::Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::code(Err(error.into())),
    };
    let outcome = runtime.block_on(commands::run(arguments));
    runtime.shutdown_timeout(LINGER);
    exit::code(outcome)
}

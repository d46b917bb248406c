//! The coordinator's entry point: one command in, one exit code out.

mod commands;
mod exit;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    // Nothing can have installed another provider before: this is the first thing that runs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    exit::code(commands::run(commands::Arguments::parse()).await)
}

//! Exit codes: the one place where an error becomes a number for scripts.

use std::process::ExitCode;

use custody::house::refusal::Refusal;

/// What was asked for is done.
pub(crate) const DONE: u8 = 0;
/// The world broke: disk, network, another process.
const FAILED: u8 = 1;
/// A rule said no.
const REFUSED: u8 = 3;
/// What is stored does not verify.
pub(crate) const DOES_NOT_VERIFY: u8 = 4;

/// Says what went wrong on standard error and gives the code for it. (Usage errors are
/// clap's, which exits with 2.)
pub(crate) fn code(outcome: anyhow::Result<u8>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    eprintln!("holdfast-server: {error:#}");
    let refused = error.chain().any(|cause| cause.is::<Refusal>());
    ExitCode::from(if refused { REFUSED } else { FAILED })
}

//! Progress of long work: rate and time left on a terminal, silence elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Global;

fn bar(global: &Global, length: Option<u64>) -> ProgressBar {
    let target = if global.json || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    ProgressBar::with_draw_target(length, target)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Progress over bytes.
pub fn over_bytes(global: &Global, what: &str, total: u64) -> ProgressBar {
    let template = "{msg} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    styled(bar(global, Some(total)), template).with_message(what.to_owned())
}

/// Progress over things that are counted.
pub fn over_things(global: &Global, what: &str, total: u64) -> ProgressBar {
    let template = "{msg} {human_pos}/{human_len} {per_sec}, {eta} left";
    styled(bar(global, Some(total)), template).with_message(what.to_owned())
}

/// Waiting for others: a turning mark and a sentence.
pub fn waiting(global: &Global, what: &str) -> ProgressBar {
    let bar = styled(bar(global, None), "{spinner} {msg} ({elapsed})");
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(what.to_owned())
}

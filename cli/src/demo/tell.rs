//! Tells the story: one plain sentence a step, the command behind it, and how long it took.
#![allow(clippy::print_stdout)]

use std::{
    cell::RefCell,
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{cast, summary::Summary};

/// Prints the story.
pub(super) struct Teller {
    colour: bool,
    live: bool,
    begun: Instant,
    chapter: RefCell<u32>,
}

impl Teller {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            live: terminal,
            begun: Instant::now(),
            chapter: RefCell::new(0),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// The opening line.
    pub(super) fn begins(&self, dir: &Path) {
        println!(
            "{}\nEverything happens in {}.",
            self.paint(
                "1",
                "Holdfast: one order, from the letter to the owner's file"
            ),
            dir.display()
        );
    }

    /// A chapter begins.
    pub(super) fn chapter(&self, title: &str) {
        let mut number = self.chapter.borrow_mut();
        *number += 1;
        println!("\n{}", self.paint("1;36", &format!("{number}. {title}")));
    }

    /// A sentence of the story.
    pub(super) fn say(&self, sentence: &str) {
        println!("   {sentence}");
    }

    /// A command that a person of the story types.
    pub(super) fn command<S: AsRef<str>>(&self, who: &str, words: &[S]) {
        let line = format!("   {who}$ holdfast {}", cast::line(words));
        println!("{}", self.paint("2", &line));
    }

    /// Runs a step with a spinner on a terminal, and gives back how long it took too.
    pub(super) fn during<T>(&self, doing: &str, step: impl FnOnce() -> T) -> (T, Duration) {
        let begun = Instant::now();
        let bar = self.live.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("   {spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(doing.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let done = step();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        (done, begun.elapsed())
    }

    /// The closing lines.
    pub(super) fn done(&self, dir: &Path, summary: &Summary) {
        println!(
            "\n{} {} holds, {} snapshots, {} release in {:.1} s. Ids, paths and roots: {}",
            self.paint("1;32", "Done."),
            summary.holds.len(),
            summary.snapshots.len(),
            summary.releases.len(),
            self.begun.elapsed().as_secs_f64(),
            dir.join("summary.json").display()
        );
    }

    /// How to try it while it stays up.
    pub(super) fn stays_up(&self, dir: &Path, address: &str) {
        let config = dir.join("people/auditor/config");
        println!(
            "\nThe coordinator stays up at {address}. Try it as the auditor, in another \
             terminal:\n\n   export HOLDFAST_CONFIG={}\n   holdfast hold list\n   holdfast ledger \
             show\n   holdfast verify {} --vkey {}\n\nEvery person of the cast has a profile below {}. \
             Ctrl-C ends it.",
            config.display(),
            dir.display(),
            dir.join("people/auditor/log.vkey").display(),
            dir.join("people").display()
        );
    }

    /// How to remove what is held for real.
    pub(super) fn removal(&self, dir: &Path) {
        println!(
            "\nWhat was held is held still: no command of Holdfast removes it. To remove the demo's \
             folder by force, as root:\n\n   chattr -R -f -i {0}; chmod -R u+w {0}; rm -r {0}",
            dir.display()
        );
    }
}

/// The story broke off.
pub(super) fn trouble(error: &anyhow::Error) {
    eprintln!("holdfast: the demo broke off: {error:#}");
}

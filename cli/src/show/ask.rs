//! Talking with the person at the terminal: notes, questions, passphrases.
//!
//! Nothing here goes to standard output, which belongs to results.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{
    args::Global,
    exit::{Outcome, Trouble},
};

/// Says something to the person; standard error.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks before something is done that cannot be taken back. `--yes` answers for scripts.
pub fn confirm(global: &Global, question: &str) -> Outcome {
    if global.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Trouble::usage(format!(
            "{question} Nobody is here to answer. Nothing was done; add --yes if you mean it."
        )));
    }
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Trouble::refused("declined", "Nothing was done."))
    }
}

/// Puts the terminal back as it was, also when reading fails.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks for a secret on the terminal itself, without showing it.
pub fn secret(question: &str) -> Outcome<String> {
    let nobody = |_| {
        Trouble::failed(
            "key.passphrase",
            "The key needs its passphrase and there is no terminal to ask on. Add the key to the \
             ssh-agent with `ssh-add`.",
        )
    };
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(nobody)?;
    let before = tcgetattr(&terminal).map_err(|error| nobody(error.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|error| nobody(error.into()))?;
    let _quiet = Quiet {
        terminal: &terminal,
        before,
    };
    (&terminal).write_all(question.as_bytes()).map_err(nobody)?;
    let mut line = String::new();
    BufReader::new(&terminal)
        .read_line(&mut line)
        .map_err(nobody)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

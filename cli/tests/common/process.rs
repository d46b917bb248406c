//! Processes of ours: started with their output in a file, stopped kindly or killed, never left.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// A process that is stopped, kindly, when the test is over.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a process; what it writes is added to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Waits until it has written its ready file; an end before that is given back.
    pub fn ready(&mut self, file: &Path) -> Result<(), ExitStatus> {
        let begun = Instant::now();
        while !file.exists() {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return Err(ended);
            }
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "not up; its log: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What it has written, with what earlier processes wrote to the same file.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Kills it at once: it can do nothing about it.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end; gives how it did.
    pub fn stop(mut self) -> ExitStatus {
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        if let Some(ended) = self.child.try_wait().unwrap() {
            return ended;
        }
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

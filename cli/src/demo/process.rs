//! Child processes: started with their output in a file, stopped in order, never left behind.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of our programs, found beside this one or on the path.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("cannot find this program")?;
    let beside = here.with_file_name(name);
    if beside.is_file() {
        return Ok(beside);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("`{name}` is neither beside this program nor on the path: build or install it")
        })
}

/// A process that runs until it is stopped.
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a process; what it writes goes to `log`.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Waits until it has written its ready file, and gives back what stands there.
    pub(super) fn ready(&mut self, file: &Path) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(file)
                && !text.is_empty()
            {
                return Ok(text);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status}: read {}",
                    self.name,
                    self.log.display()
                );
            }
            if begun.elapsed() > PATIENCE {
                bail!(
                    "{} does not get ready: read {}",
                    self.name,
                    self.log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end and waits until it has.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.signal();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!(
                        "{} ended with {status}: read {}",
                        self.name,
                        self.log.display()
                    );
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} did not end when it was asked to", self.name)
    }

    fn signal(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until the person presses Ctrl-C or the process is asked to end.
pub(super) fn wait_for_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended?,
            _ = end.recv() => {}
        }
        Ok(())
    })
}

//! The `zfs` program, run with exact arguments: no shell, no environment, a time limit.

use std::{
    fmt, io,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::enforce::mounts::{self, Mount};

/// Where the program is looked for.
const PLACES: [&str; 3] = ["/usr/sbin/zfs", "/sbin/zfs", "/usr/local/sbin/zfs"];
/// How long one call may take: a pool that hangs must not keep the agent for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// What the program answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it ended with 0.
    pub done: bool,
    /// Its output.
    pub out: String,
    /// What it said was wrong.
    pub error: String,
}

/// A host that has ZFS, or not.
pub trait Zfs: fmt::Debug + Send + Sync {
    /// Whether there is the program at all.
    fn is_here(&self) -> bool;
    /// Runs it with these arguments.
    fn run(&self, arguments: &[&str]) -> io::Result<Answer>;
    /// What is mounted where.
    fn mounts(&self) -> Vec<Mount>;
}

/// This host.
#[derive(Clone, Copy, Debug)]
pub struct ThisHost;

impl ThisHost {
    fn program() -> Option<&'static str> {
        PLACES.into_iter().find(|place| Path::new(place).is_file())
    }
}

impl Zfs for ThisHost {
    fn is_here(&self) -> bool {
        Self::program().is_some()
    }

    fn run(&self, arguments: &[&str]) -> io::Result<Answer> {
        let program = Self::program().ok_or(io::ErrorKind::NotFound)?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // What these calls print fits into a pipe.
        let text = |from: Option<&mut dyn io::Read>| {
            let mut bytes = Vec::new();
            from.map(|from| from.read_to_end(&mut bytes)).transpose()?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Answer {
            done: status.success(),
            out: text(child.stdout.as_mut().map(|out| out as &mut dyn io::Read))?,
            error: text(child.stderr.as_mut().map(|out| out as &mut dyn io::Read))?,
        })
    }

    fn mounts(&self) -> Vec<Mount> {
        mounts::table()
    }
}

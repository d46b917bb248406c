//! A test that runs in a process of its own, so that it can be traced, measured, killed, and ended
//! where it would take for ever.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The variable that tells the test that it is the process, and where to work.
pub const PLACE: &str = "HOLDFAST_CHILD";

/// The place where a test is to do its work, if this is its own process.
pub fn place() -> Option<std::path::PathBuf> {
    std::env::var_os(PLACE).map(Into::into)
}

/// The command that runs one test of this binary at a place, behind `wrapper` if there is one.
pub fn command(wrapper: &[&OsStr], test: &str, place: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().copied().chain([own.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, place);
    command
}

/// Says something to whoever started this process.
pub fn say(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}

/// Runs it to its end, which must come within `limit`; gives what it printed.
pub fn run(mut command: Command, limit: Duration) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let out = File::create(&log).unwrap();
    let mut child = command
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let ended = ends(&mut child, limit);
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let ended = ended.unwrap_or_else(|| panic!("it hangs: {command:?}\n{said}"));
    assert!(ended.success(), "{command:?}: {ended}\n{said}");
    said
}

/// Waits for a process; one that does not end within `limit` is killed, and gives none.
pub fn ends(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            return Some(ended);
        }
        if Instant::now() >= until {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

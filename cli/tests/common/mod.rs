//! What the tests of the tool share: real keys, a real coordinator, a real agent.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Says that a test could not run here. The runner counts these, and CI allows none.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let mut out = std::fs::File::options()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        writeln!(out, "{test}: {why}").unwrap();
    }
}

/// The tool.
pub fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("HOLDFAST_PROFILE")
        .env_remove("HOLDFAST_CONFIG")
        .stdin(Stdio::null());
    command
}

/// Another program of the workspace, built if it is not there yet.
pub fn program(package: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = folder.join(name);
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let status = Command::new(cargo)
            .args(["build", "--locked", "-p", package, "--bin", name])
            .status();
        assert!(status.unwrap().success(), "building {name}");
    }
    path
}

/// A process that is stopped, kindly, when the test is over.
pub struct Running(Child);

impl Running {
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait_for(path: &Path, what: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < until, "{what} did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A coordinator with its people.
pub struct Desk {
    /// Everything is below it.
    pub dir: tempfile::TempDir,
    server: Option<Running>,
    agents: Vec<Running>,
}

impl Desk {
    /// Starts a coordinator; its administrator is `admin` and is logged in.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = Self {
            dir,
            server: None,
            agents: Vec::new(),
        };
        desk.make_key("admin", "");
        let init = Command::new(program("server", "holdfast-server"))
            .args(["init", "--origin", "test.holdfast.invalid/log"])
            .args(["--admin-name", "Ada", "--listen", "127.0.0.1:0"])
            .args(["--name", "127.0.0.1", "--admin-key"])
            .arg(desk.at("admin.pub"))
            .arg("--data")
            .arg(desk.at("server"))
            .output()
            .unwrap();
        assert!(init.status.success(), "{init:?}");
        desk.start();
        desk.log_in("admin");
        desk
    }

    /// A path below the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// Makes a key with ssh-keygen.
    pub fn make_key(&self, name: &str, passphrase: &str) {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f"])
            .arg(self.at(name))
            .status();
        assert!(status.unwrap().success());
    }

    /// Starts the coordinator.
    pub fn start(&mut self) {
        let ready = self.at("server.ready");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(self.at("server.log")).unwrap();
        let child = Command::new(program("server", "holdfast-server"))
            .arg("run")
            .arg("--data")
            .arg(self.at("server"))
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(Running(child));
        wait_for(&ready, "the coordinator");
    }

    /// Stops the coordinator.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Its address.
    pub fn url(&self) -> String {
        let ready = std::fs::read(self.at("server.ready")).unwrap();
        let ready: Value = serde_json::from_slice(&ready).unwrap();
        format!("https://{}", ready["address"].as_str().unwrap())
    }

    /// The tool as one person uses it.
    pub fn person(&self, name: &str) -> Command {
        let mut command = tool();
        command.env("HOLDFAST_CONFIG", self.at(&format!("config/{name}")));
        command
    }

    /// The options of a log-in with a key.
    pub fn login_words(&self, key: &str) -> Vec<String> {
        let mut words = vec!["login".to_owned(), "--server".to_owned(), self.url()];
        for (option, file) in [
            ("--authority", "server/pki/ca.pem"),
            ("--vkey", "server/log.vkey"),
            ("--key", key),
        ] {
            words.extend([option.to_owned(), self.text(file)]);
        }
        words
    }

    /// Logs a person in with the key of the same name.
    pub fn log_in(&self, name: &str) {
        let output = self.person(name).args(self.login_words(name)).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Adds a person with a role and logs it in; the name is the role's.
    pub fn add(&self, name: &str, roles: &str) {
        self.make_key(name, "");
        let key = self.text(&format!("{name}.pub"));
        self.run(
            "admin",
            &["person", "add", name, "--role", roles, "--key", &key],
        );
        self.log_in(name);
    }

    /// Runs a command as a person; it must succeed. Gives its JSON.
    pub fn run(&self, who: &str, words: &[&str]) -> Value {
        let output = self.output(who, words);
        assert!(
            output.status.success(),
            "{who}: {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command as a person; it must end with this code. Gives the error.
    pub fn fails(&self, who: &str, words: &[&str], code: i32) -> Value {
        error(&self.output(who, words), code)
    }

    fn output(&self, who: &str, words: &[&str]) -> Output {
        self.person(who)
            .args(["--json", "--yes"])
            .args(words)
            .output()
            .unwrap()
    }

    /// Enrols and starts an agent that may hold `name` below the folder.
    pub fn agent(&mut self, name: &str) {
        let invitation = self.text(&format!("{name}.invitation"));
        self.run("admin", &["agent", "invite", name, "--out", &invitation]);
        let (data, root) = (self.at(&format!("{name}.agent")), self.text(name));
        let agent = program("agent", "holdfast-agent");
        let enrol = Command::new(&agent)
            .args(["enrol", "--invite", &invitation, "--root"])
            .arg(format!("{root}={{account}}"))
            .arg("--data")
            .arg(&data)
            .output()
            .unwrap();
        assert!(enrol.status.success(), "{enrol:?}");
        let ready = self.at(&format!("{name}.ready"));
        let child = Command::new(&agent)
            .arg("run")
            .arg("--data")
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(std::fs::File::create(self.at(&format!("{name}.log"))).unwrap())
            .spawn()
            .unwrap();
        self.agents.push(Running(child));
        wait_for(&ready, "the agent");
        let until = Instant::now() + Duration::from_secs(30);
        while self.run("admin", &["agent", "show", name])["connected"] != true {
            assert!(Instant::now() < until, "the agent did not connect");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops every agent.
    pub fn stop_agents(&mut self) {
        self.agents.clear();
    }
}

/// What a command that ended with this code said on standard error, with `--json`.
pub fn error(output: &Output, code: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(value["error"]["exit"], code);
    assert!(!value["error"]["rule"].as_str().unwrap().is_empty());
    value["error"].clone()
}

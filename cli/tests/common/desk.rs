//! A house below one folder: a coordinator, its people and its agents.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, ExitStatus, Output},
};

use serde_json::Value;

use super::{done, error, process::Running, program, tool, until};

/// The name of every test's log.
pub const ORIGIN: &str = "test.holdfast.invalid/log";

/// A coordinator with its people and agents.
pub struct Desk {
    /// Everything is below it.
    pub dir: tempfile::TempDir,
    /// An address of its own on this machine, so that a restart comes back to the same place.
    address: String,
    server: Option<Running>,
    agents: BTreeMap<String, Running>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.agents.clear();
        self.server = None;
        // What is held stays held: without this the folder would outlive the test.
        let _ = Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(self.dir.path())
            .status();
    }
}

impl Desk {
    /// Starts a coordinator; its administrator is `admin` and is logged in.
    pub fn new() -> Self {
        Self::with(&["--origin", ORIGIN])
    }

    /// The same, with options of `holdfast-server init`.
    pub fn with(options: &[&str]) -> Self {
        let mut desk = Self::bare();
        desk.init(options);
        desk.start();
        desk.log_in("admin");
        desk
    }

    /// A folder with the administrator's key and nothing else.
    pub fn bare() -> Self {
        let mut random = [0; 3];
        getrandom::fill(&mut random).unwrap();
        let [a, b, c] = random.map(|byte| u32::from(byte) % 254 + 1);
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
            address: format!("127.{a}.{b}.{c}"),
            server: None,
            agents: BTreeMap::new(),
        };
        desk.make_key("admin", "");
        desk
    }

    /// Opens the log.
    pub fn init(&self, options: &[&str]) -> Output {
        let output = self.init_command(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// The command that opens the log.
    pub fn init_command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(program("server", "holdfast-server"));
        command
            .arg("init")
            .args(options)
            .args(["--admin-name", "Ada", "--name", &self.address])
            .args(["--listen", &format!("{}:7443", self.address)])
            .arg("--admin-key")
            .arg(self.at("admin.pub"))
            .arg("--data")
            .arg(self.at("server"));
        command
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
        done(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f"])
                .arg(self.at(name)),
        );
    }

    /// Starts the coordinator.
    pub fn start(&mut self) {
        if let Err(ended) = self.try_start() {
            panic!("the coordinator ended with {ended}: {}", self.log("server"));
        }
    }

    /// Starts the coordinator; gives how it ended where it did not come up.
    pub fn try_start(&mut self) -> Result<(), ExitStatus> {
        let mut server = self.spawn();
        server.ready(&self.at("server.ready"))?;
        self.server = Some(server);
        Ok(())
    }

    /// Starts the coordinator's process and does not wait for it.
    pub fn spawn(&mut self) -> Running {
        self.server = None;
        let ready = self.at("server.ready");
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(program("server", "holdfast-server"));
        command.args(["run", "--data"]).arg(self.at("server"));
        command.arg("--ready-file").arg(&ready);
        Running::start(&mut command, &self.at("server.log"))
    }

    /// Stops the coordinator; gives how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.server.take().unwrap().stop()
    }

    /// Kills the coordinator.
    pub fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// What the coordinator or an agent wrote since the test began.
    pub fn log(&self, name: &str) -> String {
        let log = std::fs::read(self.at(&format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// `holdfast-server replay --check` on the folder, which no coordinator may be running on.
    pub fn replay(&self) -> String {
        let mut command = Command::new(program("server", "holdfast-server"));
        command.args(["replay", "--check", "--data"]);
        done(command.arg(self.at("server")))
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://{}:7443", self.address)
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
        done(self.person(name).args(self.login_words(name)));
    }

    /// Adds a person with a role and logs it in; the name is the role's.
    pub fn add(&self, name: &str, roles: &str) {
        self.add_called(name, name, roles);
    }

    /// The same with a name for people.
    pub fn add_called(&self, name: &str, called: &str, roles: &str) {
        self.make_key(name, "");
        let key = self.text(&format!("{name}.pub"));
        self.run(
            "admin",
            &["person", "add", called, "--role", roles, "--key", &key],
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

    /// Runs a command as a person.
    pub fn output(&self, who: &str, words: &[&str]) -> Output {
        self.person(who)
            .args(["--json", "--yes"])
            .args(words)
            .output()
            .unwrap()
    }

    /// Every entry of the log, as `ledger show` gives it.
    pub fn entries(&self, who: &str) -> Vec<Value> {
        let words = ["ledger", "show", "--from", "0", "--count", "1000000"];
        let all = self.run(who, &words);
        all["entries"].as_array().unwrap().clone()
    }

    /// Enrols and starts an agent that may hold `name` below the folder.
    pub fn agent(&mut self, name: &str) {
        let root = self.text(name);
        let config = format!("[[roots]]\npath = {root:?}\naccounts = \"{{account}}\"\n");
        self.agent_with(name, &config);
    }

    /// The same with a configuration of its own.
    pub fn agent_with(&mut self, name: &str, config: &str) {
        self.enrol(name, config);
        self.start_agent(name);
        until("the agent connects", || {
            (self.run("admin", &["agent", "show", name])["connected"] == true).then_some(())
        });
    }

    /// Enrols an agent.
    pub fn enrol(&self, name: &str, config: &str) {
        self.enrol_called(name, name, config);
    }

    /// The same with a name for people.
    pub fn enrol_called(&self, name: &str, called: &str, config: &str) {
        let invitation = self.text(&format!("{name}.invitation"));
        self.run("admin", &["agent", "invite", called, "--out", &invitation]);
        std::fs::create_dir_all(self.agent_data(name)).unwrap();
        std::fs::write(self.agent_data(name).join("agent.toml"), config).unwrap();
        done(&mut self.enrol_command(name));
    }

    /// The command that enrols an agent with its invitation.
    pub fn enrol_command(&self, name: &str) -> Command {
        let mut command = Command::new(program("agent", "holdfast-agent"));
        command
            .args(["enrol", "--invite"])
            .arg(self.at(&format!("{name}.invitation")))
            .arg("--data")
            .arg(self.agent_data(name));
        command
    }

    /// An agent's own folder.
    pub fn agent_data(&self, name: &str) -> PathBuf {
        self.at(&format!("{name}.agent"))
    }

    /// Starts an enrolled agent.
    pub fn start_agent(&mut self, name: &str) {
        let ready = self.at(&format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(program("agent", "holdfast-agent"));
        command.args(["run", "--data"]).arg(self.agent_data(name));
        command.arg("--ready-file").arg(&ready);
        let mut agent = Running::start(&mut command, &self.at(&format!("{name}.log")));
        if let Err(ended) = agent.ready(&ready) {
            panic!("agent {name} ended with {ended}: {}", self.log(name));
        }
        self.agents.insert(name.to_owned(), agent);
    }

    /// A running agent.
    pub fn running(&self, name: &str) -> &Running {
        &self.agents[name]
    }

    /// Stops an agent; gives how it ended.
    pub fn stop_agent(&mut self, name: &str) -> ExitStatus {
        self.agents.remove(name).unwrap().stop()
    }

    /// Kills an agent.
    pub fn kill_agent(&mut self, name: &str) {
        self.agents.remove(name).unwrap().kill();
    }

    /// Stops every agent.
    pub fn stop_agents(&mut self) {
        self.agents.clear();
    }
}

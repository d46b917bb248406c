//! The stage: a coordinator, two agents and the people, as processes and folders below one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{
    cast::{CAST, Person},
    process::{Running, program},
    tell::Teller,
};

/// The storage servers.
pub(super) const SERVERS: [&str; 2] = ["store-1", "store-2"];

/// Everything that is up.
pub(super) struct Stage {
    pub(super) dir: PathBuf,
    pub(super) people: Vec<Person>,
    coordinator: Option<Running>,
    agents: Vec<Running>,
    address: String,
    tool: PathBuf,
}

impl Stage {
    /// Makes the folders and the people's keys; nothing runs yet.
    pub(super) fn new(dir: &Path, tell: &Teller) -> anyhow::Result<Self> {
        let tool = std::env::current_exe()?;
        program("holdfast-server")?;
        program("holdfast-agent")?;
        for folder in ["people", "agents", "owners", "released"] {
            std::fs::create_dir_all(dir.join(folder))?;
        }
        let people = CAST
            .iter()
            .map(|(name, _)| Person::create(&dir.join("people"), name, &tool))
            .collect::<anyhow::Result<_>>()?;
        tell.begins(dir);
        Ok(Self {
            dir: dir.to_owned(),
            people,
            coordinator: None,
            agents: Vec::new(),
            address: String::new(),
            tool,
        })
    }

    /// A person of the cast.
    pub(super) fn person(&self, name: &str) -> anyhow::Result<&Person> {
        let found = self.people.iter().find(|person| person.name == name);
        found.with_context(|| format!("nobody in the cast is called {name}"))
    }

    /// The coordinator's address.
    pub(super) fn address(&self) -> anyhow::Result<&str> {
        ensure!(!self.address.is_empty(), "the coordinator is not up");
        Ok(&self.address)
    }

    /// This program, for commands that need nobody's profile.
    pub(super) fn tool(&self) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .env("HOLDFAST_CONFIG", self.dir.join("nobody"))
            .env_remove("HOLDFAST_PROFILE");
        command
    }

    /// The folder of the coordinator's data.
    pub(super) fn server(&self) -> PathBuf {
        self.dir.join("server")
    }

    /// The folder of what customers keep on a server.
    pub(super) fn data(&self, server: &str) -> PathBuf {
        self.dir.join("agents").join(server).join("data")
    }

    /// Opens a new log and starts the coordinator.
    pub(super) fn start_coordinator(&mut self) -> anyhow::Result<()> {
        let administrator = self.person("administrator")?;
        let init = Command::new(program("holdfast-server")?)
            .arg("init")
            .arg("--data")
            .arg(self.server())
            .args(["--origin", "demo.holdfast.invalid/log"])
            .args(["--admin-name", "administrator"])
            .arg("--admin-key")
            .arg(administrator.public_key())
            .args(["--listen", "127.0.0.1:0", "--name", "127.0.0.1"])
            .output()?;
        ensure!(
            init.status.success(),
            "holdfast-server init ended with {}: {}",
            init.status,
            String::from_utf8_lossy(&init.stderr).trim()
        );
        let ready = self.dir.join("server.ready");
        let mut coordinator = Running::start(
            "holdfast-server",
            Command::new(program("holdfast-server")?)
                .args(["run", "--data"])
                .arg(self.server())
                .arg("--ready-file")
                .arg(&ready),
            &self.dir.join("server.log"),
        )?;
        let text = coordinator.ready(&ready)?;
        let said: Value = serde_json::from_str(&text).context("the ready file is not JSON")?;
        let address = said["address"]
            .as_str()
            .context("the ready file names no address")?;
        self.address = address.to_owned();
        self.coordinator = Some(coordinator);
        Ok(())
    }

    /// Logs a person in, which writes the profile and pins the log's key. The key is the person's
    /// own copy: what is checked against it later does not come from the coordinator's folder.
    pub(super) fn log_in(&self, person: &Person) -> anyhow::Result<()> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        std::fs::copy(self.server().join("log.vkey"), person.log_key())?;
        person.run(&[
            "login",
            "--server",
            &format!("https://{}", self.address()?),
            "--authority",
            &path(self.server().join("pki/ca.pem")),
            "--vkey",
            &path(person.log_key()),
            "--key",
            &path(person.key()),
        ])?;
        Ok(())
    }

    /// Invites an agent, enrols it and starts it.
    pub(super) fn start_agent(&mut self, server: &str) -> anyhow::Result<()> {
        let home = self.dir.join("agents").join(server);
        let (state, vault) = (home.join("state"), home.join("vault"));
        std::fs::create_dir_all(&state)?;
        let invitation = home.join("invitation.toml");
        let file = invitation.to_string_lossy();
        let words = ["agent", "invite", server, "--out", &file];
        self.person("administrator")?.run(&words)?;
        std::fs::write(
            state.join("agent.toml"),
            format!(
                "[[roots]]\npath = {:?}\naccounts = \"{{account}}\"\nvault = {:?}\n",
                self.data(server),
                vault
            ),
        )?;
        let enrol = Command::new(program("holdfast-agent")?)
            .args(["enrol", "--invite"])
            .arg(&invitation)
            .arg("--data")
            .arg(&state)
            .output()?;
        ensure!(
            enrol.status.success(),
            "holdfast-agent enrol ended with {}: {}",
            enrol.status,
            String::from_utf8_lossy(&enrol.stderr).trim()
        );
        let ready = home.join("ready");
        let mut agent = Running::start(
            server,
            Command::new(program("holdfast-agent")?)
                .args(["run", "--data"])
                .arg(&state)
                .arg("--ready-file")
                .arg(&ready),
            &home.join("agent.log"),
        )?;
        agent.ready(&ready)?;
        self.agents.push(agent);
        Ok(())
    }

    /// Stops the agents, then the coordinator.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        for agent in self.agents.drain(..) {
            agent.stop()?;
        }
        self.coordinator.take().map_or(Ok(()), Running::stop)
    }
}

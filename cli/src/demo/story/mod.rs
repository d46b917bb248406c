//! The story, chapter by chapter. Each chapter is one function; each reads what really happened.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::Value;

mod checking;
mod holding;
mod returning;

use super::{
    cast::{CAST, Person, line},
    data,
    stage::{SERVERS, Stage},
    summary::{Player, Summary},
    tell::Teller,
};

/// One telling: the stage, what was learnt on the way, and what will stand in the summary.
struct Story<'a> {
    stage: &'a mut Stage,
    tell: &'a Teller,
    summary: &'a mut Summary,
}

/// Tells the whole story.
pub(super) fn tell(
    stage: &mut Stage,
    tell: &Teller,
    source: Option<&Path>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut story = Story {
        stage,
        tell,
        summary,
    };
    story.opening(source)?;
    let hold = story.order_arrives()?;
    story.attempts(&hold)?;
    story.evidence(&hold)?;
    story.second_order(&hold)?;
    let release = story.owner_claims()?;
    story.delivery(&release)?;
    story.record_holds()?;
    story.audit()?;
    story.damage()
}

/// A text at a place of a command's answer.
fn text<'v>(value: &'v Value, at: &str) -> anyhow::Result<&'v str> {
    let found = value.pointer(at).and_then(Value::as_str);
    found.with_context(|| format!("the answer has no `{at}`: {value}"))
}

fn number(value: &Value, at: &str) -> anyhow::Result<u64> {
    let found = value.pointer(at).and_then(Value::as_u64);
    found.with_context(|| format!("the answer has no `{at}`: {value}"))
}

fn list<'v>(value: &'v Value, at: &str) -> anyhow::Result<&'v Vec<Value>> {
    let found = value.pointer(at).and_then(Value::as_array);
    found.with_context(|| format!("the answer has no `{at}`: {value}"))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Story<'_> {
    fn person(&self, name: &str) -> anyhow::Result<Person> {
        self.stage.person(name).cloned()
    }

    /// Runs a command as a person, shown as it would be typed.
    fn act(&mut self, who: &str, step: &str, words: &[&str]) -> anyhow::Result<Value> {
        self.tell.command(who, words);
        let person = self.person(who)?;
        let (answer, took) = self.tell.during(step, || person.run(words));
        self.took(step, took);
        answer
    }

    fn took(&mut self, step: &str, took: std::time::Duration) {
        *self.summary.timings_ms.entry(step.to_owned()).or_default() += millis(took);
    }

    fn relative(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.stage.dir).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    }

    fn opening(&mut self, source: Option<&Path>) -> anyhow::Result<()> {
        self.tell.chapter("A hosting provider on an ordinary day");
        for (at, server) in SERVERS.into_iter().enumerate() {
            let data = self.stage.data(server);
            fs::create_dir_all(&data)?;
            let (laid, took) = self.tell.during("laying down customers' files", || {
                match source.filter(|_| at == 0) {
                    Some(source) => data::copy(source, &data),
                    None => data::sample(&data, server).map_err(Into::into),
                }
            });
            let laid = laid?;
            self.took("files", took);
            self.tell.say(&format!(
                "Storage server {server} keeps {} files of customers, {:.1} MB.{}",
                laid.files,
                laid.bytes as f64 / 1e6,
                match laid.left_out {
                    0 => String::new(),
                    some => format!(" {some} things of the source could not be copied."),
                }
            ));
        }
        let (started, took) = self
            .tell
            .during("starting", || self.stage.start_coordinator());
        started?;
        self.took("coordinator", took);
        self.stage.log_in(&self.person("administrator")?)?;
        for (name, roles) in CAST {
            let person = self.person(name)?;
            if name != "administrator" {
                let key = person.public_key().to_string_lossy().into_owned();
                let mut words = vec!["person", "add", name, "--key", &key];
                for role in roles {
                    words.extend(["--role", role]);
                }
                self.person("administrator")?.run(&words)?;
                self.stage.log_in(&person)?;
            }
            self.summary.people.push(Player {
                name: name.to_owned(),
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                public_key: self.relative(&person.public_key()),
            });
        }
        for server in SERVERS {
            let (started, took) = self
                .tell
                .during("enrolling", || self.stage.start_agent(server));
            started?;
            self.took("agents", took);
        }
        self.tell.say(&format!(
            "A coordinator runs at {}; {} and {} have joined it over mutual TLS with one-time \
             tokens.",
            self.stage.address()?,
            SERVERS[0],
            SERVERS[1]
        ));
        self.tell.say(
            "An intake clerk, legal counsel, an operator, a claims officer, two approvers and an \
             auditor have logged in with their SSH keys.",
        );
        self.summary.log = "server/log".to_owned();
        self.summary.vkey = "server/log.vkey".to_owned();
        Ok(())
    }

    /// Runs a command that needs no account and no network.
    fn offline(&mut self, who: &str, step: &str, words: &[&str]) -> anyhow::Result<String> {
        self.tell.command(who, words);
        let mut command = self.stage.tool();
        command.args(words);
        let (output, took) = self.tell.during(step, || command.output());
        self.took(step, took);
        let output = output?;
        ensure!(
            output.status.success(),
            "`holdfast {}` ended with {}: {}{}",
            line(words),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

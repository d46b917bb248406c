//! What the story leaves behind, and whether outsiders can check it.

use std::path::Path;

use anyhow::ensure;

use super::{
    super::{summary::Held, tamper},
    Story, list, text,
};

impl Story<'_> {
    pub(super) fn record_holds(&mut self) -> anyhow::Result<()> {
        let auditor = self.person("auditor")?;
        let holds = auditor.run(&["hold", "list"])?;
        for hold in list(&holds, "/holds")? {
            let id = text(hold, "/id")?;
            let shown = auditor.run(&["hold", "show", id])?;
            for target in list(&shown, "/targets")? {
                self.summary.holds.push(Held {
                    id: id.to_owned(),
                    agent: text(target, "/agent_name")?.to_owned(),
                    path: self.relative(Path::new(text(target, "/path")?)),
                    mechanism: text(target, "/means/mechanism")?.to_owned(),
                    state: text(target, "/state")?.to_owned(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn audit(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("An auditor checks everything, offline");
        self.summary.write(&self.stage.dir)?;
        let dir = self.stage.dir.to_string_lossy().into_owned();
        let noted = self.person("auditor")?.log_key();
        let noted = noted.to_string_lossy().into_owned();
        let report = self.offline("auditor", "verify", &["verify", &dir, "--vkey", &noted])?;
        for sentence in report.lines().filter(|line| !line.trim().is_empty()) {
            self.tell.say(sentence);
        }
        Ok(())
    }

    pub(super) fn damage(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("Someone changes one byte of the record");
        let copy = self.stage.dir.join("tampered");
        let (file, at) = tamper::damaged_copy(&self.stage.server().join("log"), &copy)?;
        self.tell.say(&format!(
            "In a copy of the log, byte {at} of {} is changed.",
            self.relative(&file)
        ));
        let (copy, vkey) = (
            copy.to_string_lossy().into_owned(),
            self.person("auditor")?
                .log_key()
                .to_string_lossy()
                .into_owned(),
        );
        let words = ["verify", &copy, "--vkey", &vkey];
        self.tell.command("auditor", &words);
        let output = self.stage.tool().arg("--json").args(words).output()?;
        ensure!(
            output.status.code() == Some(4),
            "the verifier was to refuse the damaged copy and ended with {}",
            output.status
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let broken = list(&report, "/findings")?
            .iter()
            .filter(|finding| finding["level"] == "broken");
        for finding in broken {
            let (place, what) = (text(finding, "/place")?, text(finding, "/what")?);
            self.tell.say(&format!("{place}: {what}."));
        }
        self.tell.say("It does not verify.");
        Ok(())
    }
}

//! From the order to the evidence: holds, attempts on them, snapshots, and a second order.

use anyhow::{Context as _, ensure};

use super::{
    super::{data, stage::SERVERS, summary::Shot, tamper},
    Story, list, number, text,
};

impl Story<'_> {
    pub(super) fn order_arrives(&mut self) -> anyhow::Result<String> {
        self.tell.chapter("A preservation order arrives");
        let now = jiff::Timestamp::now().to_string();
        let (one, two) = (
            format!("server:{}", SERVERS[0]),
            format!("server:{}", SERVERS[1]),
        );
        let order = self.act(
            "intake-clerk",
            "order",
            &[
                "order",
                "add",
                "--kind",
                "us-2703f",
                "--authority",
                "the requesting authority",
                "--reference",
                "case 1",
                "--received",
                &now,
                "--include",
                &one,
                "--include",
                &two,
            ],
        )?;
        let id = text(&order, "/id")?.to_owned();
        self.tell.say(
            "It is on the record, signed by the clerk: keep what exists now, for 90 days; the \
             customers' service goes on.",
        );
        let held = self.act(
            "operator",
            "hold",
            &["hold", "place", "--order", &id, "--wait"],
        )?;
        let hold = text(&held, "/id")?.to_owned();
        for target in list(&held, "/targets")? {
            ensure!(
                text(target, "/state")? == "verified",
                "a target is not verified: {target}"
            );
            self.tell.say(&format!(
                "{} holds it by {} on {}: {} files, proved by {} refused attempts to change them.",
                text(target, "/agent_name")?,
                text(target, "/means/mechanism")?,
                text(target, "/means/file_system")?,
                number(target, "/means/files")?,
                number(target, "/attempts")?,
            ));
            for gap in list(target, "/means/does_not_prevent")? {
                self.tell.say(&format!(
                    "  It does not prevent: {}.",
                    gap.as_str().unwrap_or("")
                ));
            }
        }
        Ok(hold)
    }

    pub(super) fn attempts(&mut self, hold: &str) -> anyhow::Result<()> {
        self.tell.chapter("Someone tries to make it go away");
        let shown = self.person("operator")?.run(&["hold", "show", hold])?;
        let target = list(&shown, "/targets")?
            .first()
            .context("the hold has no target")?;
        let target = text(target, "/id")?;
        let vault = self.stage.dir.join("agents").join(SERVERS[0]).join("vault");
        let first = vault.join(target);
        let file = tamper::something_held(if first.is_dir() { &first } else { &vault })?;
        for attempt in tamper::attack(&file)? {
            self.tell.say(&format!(
                "Tried to {} a held file: {}.",
                attempt.what, attempt.answer
            ));
        }
        let sentence = self
            .person("claims-officer")?
            .refused(&["hold", "lift", "--hold", hold])?;
        self.tell
            .say("A claims officer tries to have the hold lifted:");
        self.tell.say(&format!("  {sentence}"));
        Ok(())
    }

    pub(super) fn evidence(&mut self, hold: &str) -> anyhow::Result<()> {
        self.tell.chapter("Evidence is taken");
        let taken = self.act(
            "operator",
            "snapshot",
            &["snapshot", "take", "--hold", hold, "--wait"],
        )?;
        for shot in list(&taken, "/snapshots")? {
            let id = text(shot, "/id")?.to_owned();
            let agent = text(shot, "/agent_name")?.to_owned();
            let (rows, bytes) = (
                number(shot, "/sealed/rows")?,
                number(shot, "/sealed/bytes")?,
            );
            let root = text(shot, "/sealed/root")?.to_owned();
            self.tell.say(&format!(
                "{agent}: {rows} rows, {:.1} MB hashed, {} unreadable; root {}...",
                bytes as f64 / 1e6,
                number(shot, "/sealed/unreadable")?,
                &root[..16]
            ));
            self.summary.snapshots.push(Shot {
                manifest: format!("server/manifests/{id}.parquet"),
                path: self.relative(&self.stage.data(&agent)),
                id,
                agent,
                root,
                rows,
                bytes,
            });
        }
        Ok(())
    }

    pub(super) fn second_order(&mut self, first: &str) -> anyhow::Result<()> {
        self.tell
            .chapter("A second order overlaps, and is withdrawn");
        let now = jiff::Timestamp::now().to_string();
        let account = data::account_to_claim(&self.stage.data(SERVERS[0]))?;
        let scope = format!("account:{}:{account}", SERVERS[0]);
        let order = self.act(
            "intake-clerk",
            "order",
            &[
                "order",
                "add",
                "--kind",
                "eu-epoc-pr",
                "--authority",
                "another authority",
                "--reference",
                "case 2",
                "--received",
                &now,
                "--include",
                &scope,
            ],
        )?;
        let order = text(&order, "/id")?.to_owned();
        let held = self.act(
            "operator",
            "hold",
            &["hold", "place", "--order", &order, "--wait"],
        )?;
        let second = text(&held, "/id")?.to_owned();
        self.tell
            .say("The same account is held for two reasons now.");
        self.act("legal-counsel", "withdraw", &["order", "withdraw", &order])?;
        for (hold, which) in [(first, "first"), (second.as_str(), "second")] {
            let shown = self.person("auditor")?.run(&["hold", "show", hold])?;
            for target in list(&shown, "/targets")? {
                ensure!(
                    text(target, "/state")? == "verified",
                    "the {which} hold is not what it was: {target}"
                );
            }
        }
        self.tell.say(
            "It is withdrawn. The first order's hold has not changed, and even the second's stays \
             until several people lift it: no clock and no letter frees anything.",
        );
        Ok(())
    }
}

//! P10: with no coordinator an agent goes on holding and recording, and nothing leaves.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    all_held,
    common::{Desk, attempts::is_held, done, is_root, program, until},
    hold, house, id,
};

fn status(desk: &Desk) -> Value {
    let mut status = Command::new(program("agent", "holdfast-agent"));
    status.args(["status", "--json", "--data"]);
    let said = done(status.arg(desk.agent_data("store")));
    serde_json::from_str(&said).unwrap()
}

#[test]
fn cut_off_an_agent_goes_on_holding_and_recording_and_nothing_leaves_or_is_freed() {
    let test = "cut_off_an_agent_goes_on_holding_and_recording_and_nothing_leaves_or_is_freed";
    if !is_root(test) {
        return;
    }
    let mut desk = house();
    let (_, held) = hold(&desk, "account:store:alice", &["--freeze"]);
    let (letter, mail) = (desk.at("store/alice/letter"), desk.at("store/alice/mail/1"));
    // Somebody takes the coordinator away and, as root, the flag of one file; both are changed,
    // and the other looks untouched.
    desk.kill();
    desk.stop_agent("store");
    let flag = |how: &str, file: &Path| done(Command::new("chattr").arg(how).arg(file));
    flag("-i", &letter);
    flag("-i", &mail);
    for file in [&letter, &mail] {
        fs::write(file, "not as it was").unwrap();
    }
    flag("+i", &mail);
    desk.start_agent("store");
    // It is protected again before anybody was asked, and what was done by force is on record.
    until("the file is protected again", || {
        let opened = fs::File::options().write(true).open(&letter);
        opened.is_err().then_some(())
    });
    for file in [&letter, &mail] {
        assert!(is_held(file, b"not as it was"));
    }
    let alone = until("it is recorded", || {
        let status = status(&desk);
        (status["queued"].as_u64() > Some(0)).then_some(status)
    });
    assert_eq!(alone["live"]["connected"], false);
    for words in [
        &["hold", "lift", "--hold", id(&held)][..],
        &["whoami"],
        &["release", "list"],
    ] {
        desk.fails("legal", words, 1);
    }

    desk.start();
    until("the coordinator knows", || {
        let log = desk.entries("legal");
        let found = log.iter().filter(|entry| entry["kind"] == "finding");
        let found = found.map(|entry| &entry["statement"]["body"]);
        let said: Vec<_> = found.map(|body| (&body["what"], &body["count"])).collect();
        (said.contains(&(&"protection-gone".into(), &1.into()))
            && said.contains(&(&"held-changed".into(), &2.into())))
        .then_some(())
    });
    all_held(&desk);
    let checked = desk.run("operator", &["hold", "check"]);
    assert!(!checked["findings"].as_array().unwrap().is_empty());
    desk.stop();
    assert!(desk.replay().contains("everything is as the entries say"));
}

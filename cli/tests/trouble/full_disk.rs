//! Full disks: work stops with a clear word and no damage, and goes on when there is room.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use cli::exit::{Exit, Trouble};
use custody::{house::regime::Holding, statement::Body};
use tokio::runtime::Runtime;

use crate::{
    common::{
        Desk, done,
        mounted::{Mounted, can_mount},
        tool, until,
        wire::{At, Hand, Letter, Openings, order, submit},
    },
    hold, house_on, id, is_clear, order_for,
};

/// Fills a file system to its last block; gives the file that does.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    file.sync_all().unwrap();
    path
}

fn some_order(hand: &Hand) -> Letter {
    let mut openings = Openings::default();
    let place = At::Account("alice");
    let new = order(&mut openings, "us-2703f", Holding::Preserve, place);
    hand.seal(Body::OrderAdd(new), openings)
}

#[test]
fn a_coordinator_whose_disk_is_full_says_so_loses_nothing_and_goes_on_when_there_is_room() {
    let test =
        "a_coordinator_whose_disk_is_full_says_so_loses_nothing_and_goes_on_when_there_is_room";
    if !can_mount(test) {
        return;
    }
    let disk = Mounted::new("ext4", 24);
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut desk = Desk::bare();
    symlink(&data, desk.at("server")).unwrap();
    let mut desk = house_on({
        desk.init(&["--origin", "test.holdfast.invalid/log"]);
        desk.start();
        desk.log_in("admin");
        desk
    });
    let runtime = Runtime::new().unwrap();
    let intake = Hand::of(&desk, "intake");
    let services = runtime.block_on(intake.connect()).unwrap();
    let filler = fill(disk.path());

    // What still fits in the last blocks is acknowledged, until nothing does.
    let mut acknowledged = Vec::new();
    let (unanswered, no) = loop {
        let letter = some_order(&intake);
        match runtime.block_on(submit(&services, &letter)) {
            Ok(answer) => acknowledged.push((answer.index, letter)),
            Err(status) => break (letter, status),
        }
        assert!(acknowledged.len() < 5_000, "the disk is never full");
    };
    assert_eq!(no.code(), tonic::Code::Unavailable);
    let said = no.message();
    assert!(
        said.contains("disk is full") && said.contains("Make room"),
        "{said}"
    );
    is_clear(said);
    // The tool tries again for a while, then ends as the world breaking, never as a rule.
    let trouble = Trouble::from(no.clone());
    assert_eq!(trouble.exit, Exit::Failed);
    is_clear(&trouble.message);
    // Reading goes on, and what was not recorded is not there.
    let orders = desk.run("intake", &["order", "list"]);
    assert_eq!(
        orders["orders"].as_array().unwrap().len(),
        acknowledged.len()
    );
    let again = runtime
        .block_on(submit(&services, &unanswered))
        .unwrap_err();
    assert_eq!(again.code(), tonic::Code::Unavailable);

    // Killed and started on the full disk it comes up, or says what is wrong; it harms nothing.
    desk.kill();
    if let Err(ended) = desk.try_start() {
        assert_eq!(ended.code(), Some(1), "{}", desk.log("server"));
        assert!(
            desk.log("server").contains("full"),
            "{}",
            desk.log("server")
        );
    } else {
        desk.kill();
    }
    fs::remove_file(&filler).unwrap();
    desk.start();
    let services = runtime.block_on(intake.connect()).unwrap();
    let late = runtime.block_on(submit(&services, &unanswered)).unwrap();
    assert!(!late.duplicate);
    acknowledged.push((late.index, unanswered));
    for (index, letter) in &acknowledged {
        let answer = runtime.block_on(submit(&services, letter)).unwrap();
        assert!(answer.duplicate && answer.index == *index);
    }
    until("everything is published", || {
        let newest = desk.run("intake", &["ledger", "checkpoint"]);
        (newest["size"].as_u64().unwrap() > late.index).then_some(())
    });
    assert!(desk.stop().success());
    assert!(desk.replay().contains("everything is as the entries say"));
    let mut verify = tool();
    verify.arg("verify").arg(desk.at("server/log"));
    done(verify.arg("--vkey").arg(desk.at("server/log.vkey")));
    drop(desk);
}

#[test]
fn an_agent_whose_vault_is_full_says_no_space_and_holds_once_there_is_room() {
    let test = "an_agent_whose_vault_is_full_says_no_space_and_holds_once_there_is_room";
    if !can_mount(test) {
        return;
    }
    let disk = Mounted::new("ext4", 32);
    let (data, vault) = (disk.path().join("data"), disk.path().join("vault"));
    fs::create_dir_all(data.join("alice")).unwrap();
    for number in 0..40 {
        let path = data.join(format!("alice/{number}"));
        fs::write(path, vec![number; 100_000]).unwrap();
    }
    let mut desk = house_on(Desk::new());
    let config = format!("[[roots]]\npath = {data:?}\nvault = {vault:?}\n");
    desk.agent_with("store", &config);
    let filler = fill(disk.path());
    let order = order_for(&desk, "account:store:alice");
    let words = ["hold", "place", "--order", &order, "--wait"];
    let output = desk.output("operator", &words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let placed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = &placed["targets"][0];
    assert_eq!(
        (&target["state"], &target["trouble"], &target["held"]),
        (&"failed".into(), &"no-space".into(), &false.into())
    );
    let no: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    is_clear(no["error"]["message"].as_str().unwrap());
    assert_eq!(no["error"]["rule"], "hold.not-verified");
    // Nothing half-done lies in the vault, and the living files are as they were.
    let left = fs::read_dir(&vault).map_or(0, Iterator::count);
    assert_eq!(left, 0, "something was left in the vault");
    assert_eq!(fs::read(data.join("alice/7")).unwrap(), vec![7; 100_000]);

    fs::remove_file(&filler).unwrap();
    let held = until("it is held once there is room", || {
        let shown = desk.run("operator", &["hold", "show", id(&placed)]);
        (shown["held"] == true).then_some(shown)
    });
    assert_eq!(held["targets"][0]["means"]["files"], 40);
    let kinds: Vec<_> = desk
        .entries("admin")
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["hold.failed", "hold.verified"] {
        assert_eq!(kinds.iter().filter(|k| *k == kind).count(), 1, "{kinds:?}");
    }
    // A second hold beside it needs room of its own, and gets it.
    assert_eq!(
        hold(&desk, "account:store:alice", &["--wait"])["held"],
        true
    );
}

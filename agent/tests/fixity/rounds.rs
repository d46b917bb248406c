//! Rounds: they go on after a restart, read nothing twice, and begin with what is at risk.

use std::sync::atomic::Ordering;

use agent::fixity::worker::Step;
use custody::{house::regime::Holding, statement::Body};

use crate::{
    common::mounted::can_mount,
    desk::{Host, damage, snapshot, target},
};

#[test]
fn a_round_goes_on_after_a_restart_and_reads_nothing_twice() {
    if !can_mount("a_round_goes_on_after_a_restart_and_reads_nothing_twice") {
        return;
    }
    let host = Host::new("ext4", 64);
    let sizes: Vec<_> = (0..700).map(|n| 1_000 + n * 3).collect();
    host.files("alice", &sizes);
    let sealed = host.hold(1, "alice", Holding::Freeze);
    let fixity = host.fixity(Vec::new());
    let (mut steps, mut restarts) = (0, 0);
    let mut worker = host.worker(&fixity);
    loop {
        match worker.step() {
            Step::Rest(_) => break,
            Step::Did { .. } => drop(host.clock.fetch_add(20_000, Ordering::Relaxed)),
        }
        steps += 1;
        if steps % 150 == 0 {
            worker.flush();
            worker = host.worker(&fixity);
            restarts += 1;
        }
        if steps == 400 {
            // A crash: what was not noted is read again, and nothing else.
            worker = host.worker(&fixity);
        }
    }
    assert!(restarts >= 3, "{steps} steps");
    let said = host.said();
    let Some((Body::FixityChecked(checked), _)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!((checked.rows, checked.bytes), (700, sealed.bytes));
    assert_eq!((checked.differ, checked.unreadable), (0, 0));
    let asked = host.desk.asked.load(Ordering::Relaxed);
    let longest = 1_000 + 700 * 3;
    assert!(
        (sealed.bytes..=sealed.bytes + 3 * longest).contains(&asked),
        "{asked} bytes were read of {}",
        sealed.bytes
    );
    // And the window is over only a month later.
    let shown = host.shown();
    assert_eq!(
        (shown[0].state.round.number, shown[0].state.round.next),
        (2, 0)
    );
    let opens = shown[0].state.opens;
    assert!((opens - sealed.ended).millis() >= custody::time::Span::days(30).millis());
    assert_eq!(worker.step(), Step::Rest(Some(opens)));
}

#[test]
fn what_was_found_amiss_is_read_before_all_else() {
    if !can_mount("what_was_found_amiss_is_read_before_all_else") {
        return;
    }
    let host = Host::new("ext4", 64);
    let mut files = Vec::new();
    for n in 1..=3_u8 {
        let folder = format!("customer-{n}");
        files.push(host.files(&folder, &[8_192, 8_192]));
        host.hold(n, &folder, Holding::Freeze);
        host.clock.fetch_add(60_000, Ordering::Relaxed);
    }
    let fixity = host.fixity(Vec::new());
    let mut worker = host.worker(&fixity);
    host.work(&mut worker);
    let order = |host: &Host| -> Vec<_> {
        let said = host.said().into_iter();
        said.filter_map(|(body, _)| match body {
            Body::FixityChecked(checked) => Some(checked.target),
            _ => None,
        })
        .collect()
    };
    assert_eq!(order(&host), [1, 2, 3].map(target), "what is due first");
    damage(&host.disk, &files[2][1], 1);
    host.days_pass(30);
    host.work(&mut worker);
    assert_eq!(order(&host)[3..], [1, 2, 3].map(target), "nobody knows yet");
    host.days_pass(31);
    host.work(&mut worker);
    assert_eq!(order(&host)[6..], [3, 1, 2].map(target));
}

#[test]
fn what_was_let_go_is_neither_read_nor_accused() {
    if !can_mount("what_was_let_go_is_neither_read_nor_accused") {
        return;
    }
    let host = Host::new("ext4", 64);
    let files = host.files("alice", &[8_192, 8_192]);
    host.hold(1, "alice", Holding::Freeze);
    let fixity = host.fixity(Vec::new());
    let mut worker = host.worker(&fixity);
    // A lift is under way: its owner may change it from now on.
    host.desk.leaving.store(true, Ordering::Relaxed);
    host.lower(1);
    std::fs::write(&files[0], b"mine again").unwrap();
    host.work(&mut worker);
    host.desk.leaving.store(false, Ordering::Relaxed);
    host.days_pass(31);
    host.work(&mut worker);
    assert_eq!(host.kinds(), [""; 0]);
    assert!(
        host.shown().is_empty(),
        "nothing is kept of {}",
        snapshot(1)
    );
}

#[test]
fn a_manifest_that_is_not_the_sealed_one_accuses_no_file() {
    if !can_mount("a_manifest_that_is_not_the_sealed_one_accuses_no_file") {
        return;
    }
    let host = Host::new("ext4", 64);
    host.files("alice", &[8_192]);
    host.hold(1, "alice", Holding::Freeze);
    let manifest = host.desk.evidence.manifest(&snapshot(1));
    let mut bytes = std::fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    let fixity = host.fixity(Vec::new());
    let mut worker = host.worker(&fixity);
    for _ in 0..5 {
        host.work(&mut worker);
        host.days_pass(1);
    }
    assert_eq!(host.kinds(), ["finding"], "once");
    let trouble = host.shown()[0].state.trouble.clone().unwrap();
    assert!(trouble.contains("manifest"), "{trouble}");
}

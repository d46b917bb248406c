//! Reasons: a legal hold comes off with the last of them, and none of others ever does.

use std::{collections::BTreeSet, path::Path};

use agent::enforce::{HoldTrouble, Progress};
use custody::house::{finding::FindingKind, regime::Holding};

use crate::{Agent, store, target};

#[test]
fn overlapping_targets_count_their_reasons_in_any_order() {
    let Some(s3) = store("overlapping_targets_count_their_reasons_in_any_order") else {
        return;
    };
    // Which keys each of three targets covers.
    let keys = ["alice/mail/one", "alice/mail/two", "alice/three"];
    let targets = [
        ("/s3/archive/alice", vec![0, 1, 2]),
        ("/s3/archive/alice/mail", vec![0, 1]),
        ("/s3/archive/alice/mail/one", vec![0]),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let bucket = s3.bucket(true);
        let ids = keys.map(|key| bucket.put(key, key));
        let agent = Agent::new(s3.config(&bucket.name, "", 0));
        let mut standing: BTreeSet<usize> = BTreeSet::new();
        let right = |standing: &BTreeSet<usize>| {
            for (at, key) in keys.iter().enumerate() {
                let held = standing.iter().any(|one| targets[*one].1.contains(&at));
                assert_eq!(
                    bucket.is_held(key, &ids[at]),
                    held,
                    "{key} {order:?} {standing:?}"
                );
            }
        };
        for n in order {
            agent.raise(n as u8, targets[n].0).unwrap();
            standing.insert(n);
            right(&standing);
        }
        for n in order {
            standing.remove(&n);
            let covers = &targets[n].1;
            let other = |at: &usize| standing.iter().any(|one| targets[*one].1.contains(at));
            let kept = covers.iter().filter(|at| other(at)).count() as u64;
            assert_eq!(agent.lower(n as u8), (covers.len() as u64 - kept, kept));
            right(&standing);
        }
    }
}

#[test]
fn a_target_that_waits_to_be_raised_keeps_what_it_needs() {
    let Some(s3) = store("a_target_that_waits_to_be_raised_keeps_what_it_needs") else {
        return;
    };
    let bucket = s3.bucket(true);
    let id = bucket.put("alice/mail/one", "1");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    // Asked for, written down, and stopped before anything else.
    let stopped = agent.keeper().raise(
        target(2),
        Path::new("/s3/archive/alice/mail"),
        Holding::Freeze,
        &Progress::stop_after(1),
    );
    assert!(matches!(stopped, Err(HoldTrouble::Stopped)));
    assert_eq!(agent.lower(1), (0, 1));
    assert!(bucket.is_held("alice/mail/one", &id));
    agent.raise(2, "/s3/archive/alice/mail").unwrap();
    assert_eq!(agent.lower(2), (1, 0), "it was ours, and no one else's");
    assert!(!bucket.is_held("alice/mail/one", &id));
}

#[test]
fn what_leaves_a_hold_is_free_unless_another_needs_it() {
    let Some(s3) = store("what_leaves_a_hold_is_free_unless_another_needs_it") else {
        return;
    };
    let bucket = s3.bucket(true);
    let keys = ["a/mail", "a/mail/one", "a/mail/two", "a/mail2", "a/other"];
    let ids = keys.map(|key| bucket.put(key, key));
    let held = || -> Vec<bool> {
        let all = keys.iter().zip(&ids);
        all.map(|(key, id)| bucket.is_held(key, id)).collect()
    };
    let leave = [Path::new("/s3/archive/a/mail").to_owned()];
    let mut step = 0;
    loop {
        let agent = Agent::new(s3.config(&bucket.name, "", 0));
        agent.raise(1, "/s3/archive/a").unwrap();
        agent.raise(2, "/s3/archive/a/mail/two").unwrap();
        let progress = Progress::default();
        let weighed = agent.keeper().weigh(target(1), &leave, &progress).unwrap();
        let files = [weighed.leaving, weighed.kept, weighed.staying].map(|amount| amount.files);
        assert_eq!(files, [2, 1, 2]);
        assert_eq!(held(), [true; 5], "weighing changes nothing");

        // A crash at any step, then again.
        let stopped = agent
            .keeper()
            .narrow(target(1), &leave, &Progress::stop_after(step));
        let through = !matches!(stopped, Err(HoldTrouble::Stopped));
        let narrowed = agent.keeper().narrow(target(1), &leave, &progress).unwrap();
        assert_eq!((narrowed.freed, narrowed.kept), (2, 1), "step {step}");
        assert_eq!(held(), [false, false, true, true, true]);
        assert_eq!(agent.check(1), [], "what left is not missed");
        agent.raise(1, "/s3/archive/a").unwrap();
        assert_eq!(held(), [false, false, true, true, true], "nor taken back");
        assert_eq!(agent.lower(2), (1, 0));
        assert_eq!(agent.lower(1), (2, 0));
        assert_eq!(held(), [false; 5]);
        if through {
            break;
        }
        step += 1;
    }
    assert!(step > 4, "{step}");
}

#[test]
fn a_hold_that_others_set_is_never_taken_off() {
    let Some(s3) = store("a_hold_that_others_set_is_never_taken_off") else {
        return;
    };
    let bucket = s3.bucket(true);
    let (theirs, ours) = (bucket.put("alice/1", "1"), bucket.put("alice/2", "2"));
    bucket.hold("alice/1", &theirs, "ON");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    for n in [1, 2] {
        agent.raise(n, "/s3/archive/alice").unwrap();
    }
    assert_eq!(agent.lower(1), (0, 2));
    assert_eq!(agent.lower(2), (1, 1));
    assert!(bucket.is_held("alice/1", &theirs));
    assert!(!bucket.is_held("alice/2", &ours));

    // Taken off by those who set it, while we count on it: found, and ours takes its place.
    agent.raise(3, "/s3/archive/alice").unwrap();
    bucket.hold("alice/1", &theirs, "OFF");
    let found = agent.check(3);
    assert_eq!(
        (found[0].what, found[0].count),
        (FindingKind::ProtectionGone, 1)
    );
    agent.raise(3, "/s3/archive/alice").unwrap();
    assert!(bucket.is_held("alice/1", &theirs));
    assert_eq!(agent.check(3), []);
    assert_eq!(agent.lower(3), (2, 0));
    assert!(!bucket.is_held("alice/1", &theirs));
}

//! What is held, and what is not because it came later; and crashes in the middle.

use std::{path::Path, time::Duration};

use agent::enforce::{HoldTrouble, Phase, Progress, after::Later};
use custody::house::{mechanism::Mechanism, regime::Holding};
use serde_json::json;

use crate::{Agent, store, target};

#[test]
fn what_exists_at_the_moment_is_held_and_nothing_else() {
    let Some(s3) = store("what_exists_at_the_moment_is_held_and_nothing_else") else {
        return;
    };
    let bucket = s3.bucket(true);
    let put = |key: &str| (key.to_owned(), bucket.put(key, key));
    let inside = [
        put("c/alice/a"),
        put("c/alice/a"),
        put("c/alice//odd/../key &<ü"),
        put("c/alice"),
        put("c/alice/hidden"),
        put("c/alice/z"),
    ];
    bucket
        .call("delete_object", json!({"Key": "c/alice/hidden"}))
        .unwrap();
    let outside = [
        put("c/alice2"),
        put("c/alice2/x"),
        put("alice/x"),
        put("c/bob"),
    ];

    let agent = Agent::new(s3.config(&bucket.name, "c/", 0));
    let path = Path::new("/s3/archive/alice");
    let plan = agent
        .keeper()
        .plan_counted(path, Holding::Freeze, &Progress::default())
        .unwrap();
    assert_eq!(
        (plan.mechanism, plan.files),
        (Mechanism::ObjectLock, Some(6))
    );
    assert!(
        inside.iter().all(|(key, id)| !bucket.is_held(key, id)),
        "a plan changes nothing"
    );

    let raised = agent.raise(1, "/s3/archive/alice").unwrap();
    assert_eq!((raised.mechanism, raised.files), (Mechanism::ObjectLock, 6));
    let says = |word: &str| {
        raised
            .does_not_prevent
            .iter()
            .any(|line| line.contains(word))
    };
    assert!(says("1 delete markers") && says("take them off"));
    assert!(inside.iter().all(|(key, id)| bucket.is_held(key, id)));
    assert!(outside.iter().all(|(key, id)| !bucket.is_held(key, id)));
    for (key, id) in &inside {
        assert_eq!(bucket.delete(key, id).unwrap_err(), "AccessDenied", "{key}");
        assert_eq!(bucket.read(key, id).unwrap(), *key);
    }
    assert!(agent.proved(1));
    assert!(
        !bucket.keys().iter().any(|key| key.contains("holdfast")),
        "nothing of it is left"
    );

    // Life goes on, and is no finding.
    let later = [put("c/alice/a"), put("c/alice/new")];
    bucket
        .call("delete_object", json!({"Key": "c/alice/z"}))
        .unwrap();
    assert_eq!(agent.check(1), []);
    agent.raise(1, "/s3/archive/alice").unwrap();
    for (key, id) in &later {
        assert!(!bucket.is_held(key, id));
        bucket.delete(key, id).unwrap();
    }
    assert_eq!(agent.check(1), []);
    assert_eq!(agent.lower(1), (6, 0));
    assert_eq!(agent.lower(1), (6, 0), "said again it is the same");
    for (key, id) in &inside {
        assert!(!bucket.is_held(key, id));
        bucket.delete(key, id).unwrap();
    }
}

#[test]
fn what_came_later_is_counted_and_not_held() {
    let Some(s3) = store("what_came_later_is_counted_and_not_held") else {
        return;
    };
    let bucket = s3.bucket(true);
    bucket.put("alice/x", "1");
    let agent = Agent::new(s3.config(&bucket.name, "", 0));
    agent.raise(1, "/s3/archive/alice").unwrap();
    let later = || {
        let after = agent.keeper().after(target(1), &Progress::default());
        after.unwrap().later
    };
    assert_eq!(later(), Later::Unchanged);
    // The store's clock is read in whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    bucket.put("alice/x", "2");
    bucket.put("alice/y", "2");
    assert_eq!(
        later(),
        Later::Changed {
            things: 2,
            all: true
        }
    );
}

#[test]
fn a_crash_at_any_step_is_gone_on_from() {
    let Some(s3) = store("a_crash_at_any_step_is_gone_on_from") else {
        return;
    };
    let bucket = s3.bucket(true);
    let ids: Vec<_> = (0..4)
        .map(|n| bucket.put("alice/file", &n.to_string()))
        .collect();
    let theirs = bucket.put("alice/theirs", "t");
    bucket.hold("alice/theirs", &theirs, "ON");
    let config = s3.config(&bucket.name, "", 0);
    let all = |on: bool| {
        assert!(ids.iter().all(|id| bucket.is_held("alice/file", id) == on));
        assert!(bucket.is_held("alice/theirs", &theirs));
    };
    let path = Path::new("/s3/archive/alice");
    let mut steps = (0, 0);
    loop {
        let agent = Agent::new(config.clone());
        let progress = Progress::stop_after(steps.0);
        let raised = agent
            .keeper()
            .raise(target(1), path, Holding::Freeze, &progress);
        match raised {
            Err(HoldTrouble::Stopped) => steps.0 += 1,
            done => {
                done.unwrap();
                agent.lower(1);
                break;
            }
        }
        assert_eq!(agent.raise(1, "/s3/archive/alice").unwrap().files, 5);
        all(true);
        assert_eq!(agent.check(1), []);
        assert_eq!(agent.lower(1), (4, 1), "after a crash at step {}", steps.0);
        all(false);
    }
    loop {
        let agent = Agent::new(config.clone());
        agent.raise(1, "/s3/archive/alice").unwrap();
        let lowered = agent
            .keeper()
            .lower(target(1), &Progress::stop_after(steps.1));
        match lowered {
            Err(HoldTrouble::Stopped) => steps.1 += 1,
            done => {
                done.unwrap();
                break;
            }
        }
        assert_eq!(agent.lower(1), (4, 1));
        all(false);
        assert_eq!(agent.keeper().all()[0].phase, Phase::Lowered);
    }
    assert!(steps.0 > 10 && steps.1 > 4, "{steps:?}");
}

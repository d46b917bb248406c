//! The link: statements arrive to the byte and in order whatever breaks, and nobody but the
//! coordinator of the invitation is spoken to.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/stage.rs"]
mod stage;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use agent::{
    edge::Machine,
    link::enrol::{Enrolled, enrol},
    status,
};
use coordinator::Coordinator;
use custody::id::AgentId;
use stage::{AGENT, Host, count, said};

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_is_safe_and_a_used_token_is_refused_in_clear_words() {
    let host = Host::new().await;
    for name in [
        "agent.key",
        "tls.key",
        "tls.pem",
        "ca.pem",
        "enrolment.toml",
    ] {
        let mode = fs::metadata(host.place.0.join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    let before = fs::read(host.place.0.join("agent.key")).unwrap();
    assert_eq!(host.enrol().await.unwrap(), Enrolled::Already(AGENT));
    assert_eq!(fs::read(host.place.0.join("agent.key")).unwrap(), before);
    // Another folder with the same invitation.
    let other = Host::bare(host.coordinator.clone());
    let refused = other.enrol().await.unwrap_err();
    assert_eq!(refused.code(), 3);
    assert!(refused.to_string().contains("used already"), "{refused}");
    assert!(!other.place.0.join("enrolment.toml").exists());
    // Another agent into this folder.
    let invite = host
        .coordinator
        .invitation(host.base.path(), AgentId::from_random([2; 16]));
    let machine = Machine::new().unwrap();
    let refused = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_log_is_a_breach_and_nothing_is_stored() {
    let coordinator = Coordinator::start().await;
    let host = Host::bare(coordinator.clone());
    let invite = coordinator.invitation(host.base.path(), AGENT);
    let text = fs::read_to_string(&invite).unwrap();
    let other = custody::ledger::note::NoteKey::from_seed(coordinator::ORIGIN, 1, &[99; 32]);
    let other = other.unwrap().verifier().to_string();
    fs::write(&invite, text.replace(&coordinator.vkey, &other)).unwrap();
    let machine = Machine::new().unwrap();
    let breach = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(breach.code(), 4);
    assert!(!host.place.0.join("enrolment.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_another_authority_is_not_spoken_to() {
    let (coordinator, other) = (Coordinator::start().await, Coordinator::start().await);
    let host = Host::bare(coordinator.clone());
    let invite = coordinator.invitation(host.base.path(), AGENT);
    let text = fs::read_to_string(&invite).unwrap();
    let port = |c: &Coordinator| format!("localhost:{}\"", c.address.port());
    fs::write(&invite, text.replace(&port(&coordinator), &port(&other))).unwrap();
    let machine = Machine::new().unwrap();
    let failed = enrol(&invite, &host.place, &[], &machine)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), 1, "{failed}");
    assert!(!other.get(|script| script.token_used));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_were_not_acknowledged_come_again_to_the_byte_and_nothing_twice() {
    let host = Host::new().await;
    host.tasks(vec![host.raise(1, 5, "alice")]);
    // Every stream is cut after one statement, and none is acknowledged.
    host.coordinator.set(|script| script.cut_after = Some(1));
    let running = host.run();
    host.coordinator
        .until("verified", said("hold.verified", 1))
        .await;
    // The coordinator is restored from a backup: it knows nothing of the chain any more.
    let first = host.coordinator.get(|script| script.statements.clone());
    host.coordinator.set(|script| {
        script.cut_after = None;
        script.statements.clear();
        script.head = Some(custody::ledger::chain::ChainHead::start(0));
    });
    host.coordinator
        .until("all again", |script| script.statements.len() >= first.len())
        .await;
    // What was taken is acknowledged a moment later.
    host.coordinator
        .until("acknowledged", |_| {
            status::read(&host.place).is_ok_and(|status| status.queued == 0)
        })
        .await;
    running.stop().await.unwrap();
    let again = host.coordinator.get(|script| script.statements.clone());
    assert_eq!(again[..first.len()], first);
    let kinds = host.coordinator.kinds();
    for kind in ["hold.acknowledged", "hold.raised"] {
        assert_eq!(count(&kinds, kind), 1, "{kinds:?}");
    }
    assert!(host.coordinator.get(|script| script.hellos.len()) > 2);
    let status = status::read(&host.place).unwrap();
    assert_eq!(status.queued, 0);
    assert_eq!(status.targets.len(), 1);
    assert!(!status.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_more_than_was_written_stops_the_agent() {
    let host = Host::new().await;
    host.coordinator.set(|script| script.boast = 3);
    let running = host.run();
    let breach = tokio::time::timeout(Duration::from_secs(20), running.ended).await;
    let breach = breach.unwrap().unwrap().unwrap_err();
    assert_eq!(breach.code(), 4);
    assert!(
        breach.to_string().contains("restored from an older copy"),
        "{breach}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_it_ends() {
    let coordinator = Coordinator::start().await;
    coordinator.set(|script| script.life = Some(Duration::from_secs(6)));
    let host = Host::bare(coordinator);
    host.enrol().await.unwrap();
    let before = coordinator::certificate(&host.place.0);
    let running = host.run();
    host.coordinator
        .until("renewed", |script| script.renewals == 1)
        .await;
    host.coordinator
        .until("again", |script| script.hellos.len() == 2)
        .await;
    running.stop().await.unwrap();
    assert_ne!(coordinator::certificate(&host.place.0), before);
}

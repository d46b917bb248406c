//! The process's log at its loudest: no token, name, path, account, reference or key is in it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Coordinator, Human,
    agent::Agent,
    fetch,
    story::{self, MANIFEST},
};
use custody::house::scope::Selector;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_at_its_loudest_carries_no_secret_and_nothing_personal() {
    let mut coordinator = Coordinator::new().await;
    let config = coordinator.data().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("level = \"info\"", "level = \"trace\""),
    )
    .unwrap();
    coordinator.kill_and_restart();
    coordinator.admin.token = coordinator.login(&coordinator.admin.key).await.unwrap();

    let people = story::people(&coordinator).await;
    let mut agent = Agent::new(&coordinator).await;
    let (target, mut stream) = story::held(&coordinator, &people, &mut agent).await;
    let evidence = story::seal(&coordinator, &people, &mut agent, &mut stream, target, 20).await;
    let (id, bytes) = (evidence.snapshot.to_string(), &evidence.manifest);
    let whole = (0, bytes.len());
    let sent = agent.upload(&coordinator, (MANIFEST, &id), bytes, whole, 1 << 20);
    assert!(sent.await.unwrap().complete);
    let claim = story::claim(&coordinator, &people, &[(Selector::Account, "alice")]).await;
    story::matched(&coordinator, claim, evidence.snapshot).await;
    for kind in ["persons", "orders", "targets", "claims", "snapshots"] {
        coordinator.list(&people.legal, kind).await;
    }
    fetch(&coordinator, &people.legal, MANIFEST, &id, 0)
        .await
        .unwrap();
    let Human { token, .. } = &people.legal;

    let log = std::fs::read(coordinator.folder.path().join("server.log")).unwrap();
    assert!(log.len() > 100_000, "it is loud: {}", log.len());
    let key = std::fs::read_to_string(coordinator.data().join("pki/log.key")).unwrap();
    let secrets = [
        token.as_str(),
        coordinator.admin.token.as_str(),
        key.trim(),
        "Lena",
        "alice",
        "/srv/data",
        "Court of Example",
        "12/34",
        "age1example",
    ];
    for secret in secrets {
        let found = log
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        let shown = found.map(|at| {
            let around = &log[at.saturating_sub(300)..log.len().min(at + 100)];
            String::from_utf8_lossy(around).into_owned()
        });
        assert_eq!(shown, None, "the log has {secret}");
    }
}

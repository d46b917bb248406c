//! P9: names, paths and accounts enter no entry, no record, no file in the clear and no log line.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use custody::{ledger::entry::Entry, statement::Body};
use house::{
    House, contains, files, plain,
    story::{self, CANARIES},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_in_every_kind_of_entry_comes_out_nowhere() {
    let log = Log::default();
    let sink = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .init();
    let mut house = House::with_config(|config| {
        config.policy.get_mut("lift").unwrap().notice_hours = 0;
    })
    .await;
    let cast = story::whole(&house).await;
    // A fork keeps the refused entry whole.
    let body = Body::HoldAcknowledged(custody::statement::HoldAcknowledged {
        target: *house.desk().house().targets.keys().next().unwrap(),
    });
    let fork = cast.robot.at(0, custody::digest::Digest::of(b""), body);
    assert!(house.submit(plain(fork)).await.is_err());
    house.published().await;

    let size = *house.desk().changed().borrow();
    let entries = house.desk().entries(0, size).await.unwrap();
    let kinds: BTreeSet<_> = entries
        .iter()
        .map(|e| {
            Entry::parse(&e.bytes)
                .unwrap()
                .statement()
                .unwrap()
                .body
                .kind()
        })
        .collect();
    let expected = Body::KINDS.iter().copied().filter(|kind| *kind != "sealed");
    assert_eq!(
        kinds,
        expected.collect(),
        "every kind must be said, or nothing is shown"
    );
    for canary in CANARIES {
        for entry in &entries {
            assert!(
                !contains(&entry.bytes, canary.as_bytes()),
                "entry {}",
                entry.index
            );
        }
        for (key, record) in house.desk().house().all() {
            assert!(!record.to_string().contains(canary), "{key:?}");
        }
    }
    house.close().await;
    for file in files(&house.data.0) {
        let bytes = fs::read(&file).unwrap();
        for canary in CANARIES {
            assert!(!contains(&bytes, canary.as_bytes()), "{}", file.display());
        }
    }
    let log = log.0.lock().unwrap().clone();
    assert!(log.len() > 1000, "the log was captured");
    for canary in CANARIES {
        assert!(!contains(&log, canary.as_bytes()), "in the process's log");
    }
}

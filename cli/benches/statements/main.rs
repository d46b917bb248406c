//! Durable, acknowledged statements through gRPC and TLS, beside `pgbench` single-row commits.
//!
//! Everything is real: `holdfast-server` as it ships, on the disk of `HOLDFAST_BENCH_DIR`, 64
//! people's connections over TLS, each statement an order signed with its author's key, three
//! openings sealed with it. PostgreSQL runs on the same disk with its defaults (`fsync` on). They
//! run in turn, so that a noisy machine is noisy for both. The load generators run on the same
//! cores as what they load. At the end the coordinator is stopped, its log is checked against
//! every acknowledgement, and it is started again.
//!
//! `cargo bench -p cli --bench statements`, or `make bench` for all.
//! `HOLDFAST_BENCH_SECONDS` (10) and `HOLDFAST_BENCH_ROUNDS` (3) set its length.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod house;
mod load;
mod peer;
mod report;

use std::{path::PathBuf, time::Duration};

use house::{Connecting, House};
use load::{Load, Pace};
use peer::Postgres;
use report::Row;

/// Writers, and PostgreSQL's clients.
const WRITERS: usize = 64;
/// People that the writers speak for, so that the log has several authors.
const PEOPLE: usize = 8;
/// Connections in the second contest: as behind a portal or a relay that shares them.
const SHARED: usize = 4;
const WARM_UP: Duration = Duration::from_secs(2);

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a whole number"))
}

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let seconds = Duration::from_secs(setting("HOLDFAST_BENCH_SECONDS", 10));
    let rounds = setting("HOLDFAST_BENCH_ROUNDS", 3);
    let folder = std::env::var_os("HOLDFAST_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
        .join("statements");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut house = House::init(&folder.join("server"));
    house.start();
    let people = runtime.block_on(house.people(PEOPLE));
    let connect = |connections| Connecting {
        house: &house,
        people: &people,
        writers: WRITERS,
        connections,
    };
    let postgres = Postgres::start(&folder.join("postgres"));
    let mut rows = Vec::new();
    let mut acknowledged = 1 + PEOPLE as u64;
    let mut run = |connecting: &Connecting, pace: Pace, signing| {
        let load = Load {
            warm_up: WARM_UP,
            seconds,
            pace,
            signing,
        };
        let before = house.cpu();
        let outcome = runtime.block_on(load.run(connecting));
        acknowledged += outcome.all;
        outcome.with_server_cpu(house.cpu() - before)
    };
    for round in 1..=rounds {
        let each = connect(WRITERS);
        let shared = connect(SHARED);
        let most = run(&each, Pace::Most, true);
        let half = Pace::Rate(most.rate() / 2.0);
        rows.push(Row::ours("64 connections", round, most));
        rows.push(Row::peer(round, postgres.pgbench(WRITERS, seconds, None)));
        rows.push(Row::ours(
            "64 connections, signed beforehand",
            round,
            run(&each, Pace::Most, false),
        ));
        rows.push(Row::ours(
            "4 shared connections",
            round,
            run(&shared, Pace::Most, true),
        ));
        rows.push(Row::ours(
            "64 connections at half the load",
            round,
            run(&each, half, true),
        ));
    }
    report::print(&rows);
    drop(postgres);

    let log = runtime.block_on(house.published(acknowledged));
    house.stop();
    let (replayed, entries) = house.replay();
    assert_eq!(
        entries, log,
        "the journal holds what was acknowledged, no more"
    );
    let started = house.start();
    house.stop();
    report::print_after(log, house.bytes(), replayed, started);
    let _ = std::fs::remove_dir_all(&folder);
}

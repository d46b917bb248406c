//! Two hundred seeded kills: whatever was acknowledged is there, once, in the place that was
//! said, whenever the coordinator or an agent dies.
//!
//! HOLDFAST_SEED gives another campaign, HOLDFAST_ROUNDS a longer one. A round is one SIGKILL and
//! the restart after it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod agent;
mod chance;
#[path = "../common/mod.rs"]
mod common;
mod truth;
mod writers;

use chance::Chance;
use common::Desk;
use truth::Truth;
use writers::{How, Writers};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The seed and how many rounds: four fifths are the coordinator's.
fn campaign() -> (u64, u64) {
    let (seed, rounds) = (
        number("HOLDFAST_SEED", 2012),
        number("HOLDFAST_ROUNDS", 200),
    );
    eprintln!("HOLDFAST_SEED={seed} HOLDFAST_ROUNDS={rounds}");
    (seed, rounds)
}

#[test]
fn a_coordinator_killed_at_any_moment_loses_nothing_it_acknowledged_and_does_nothing_twice() {
    let (seed, rounds) = campaign();
    let rounds = rounds - rounds / 5;
    let mut chance = Chance::new(seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut desk = Desk::new();
    let mut writers = Writers::new(&desk, &mut chance);
    let mut truth = Truth::new(&desk);
    desk.kill();
    for round in 1..=rounds {
        let how = How::drawn(&mut chance);
        if how == How::StartingUp {
            let starting = desk.spawn();
            std::thread::sleep(chance.up_to_micros(30_000));
            starting.kill();
        } else {
            desk.start();
            runtime.block_on(truth.catch_up());
            runtime.block_on(writers.work(how, &mut chance, &mut truth, || desk.kill()));
        }
        truth.look(&desk);
        if round % 20 == 0 {
            desk.replay();
            eprintln!("{round} rounds: {}", truth.summary());
        }
    }
    desk.start();
    runtime.block_on(writers.finish(&mut truth));
    runtime.block_on(truth.read_again());
    truth.each_once(writers.said());
    truth.every_checkpoint_kept(&desk);
    let ended = desk.stop();
    assert!(ended.success(), "{ended}: {}", desk.log("server"));
    truth.holds_to_the_end(&desk);
    eprintln!("{}; {:?}", truth.summary(), writers.met);
    // Kills that meet nothing show nothing.
    let met = &writers.met;
    let enough = met.unanswered >= rounds && met.durable > 0 && met.ahead > rounds / 20;
    assert!(enough || rounds < 50, "{met:?}");
}

#[test]
fn an_agent_killed_at_any_moment_goes_on_holding_and_ends_each_thing_once() {
    let test = "an_agent_killed_at_any_moment_goes_on_holding_and_ends_each_thing_once";
    if !common::is_root(test) {
        return;
    }
    let (seed, rounds) = campaign();
    agent::campaign(Chance::new(seed ^ 0xa9e7), rounds / 5);
}

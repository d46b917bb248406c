//! P4: the state is a fold of the entries, and whatever differs from that fold is found.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::fs;

use custody::{
    digest::Digest,
    house::{finding::FindingKind, person::Role},
    id::{ClaimId, OrderId, SubjectId, TargetId},
    sign::{SecretKey, Signer as _},
    statement::{Body, Finding, HoldAcknowledged, HoldProof, PersonRetire},
};
use house::{House, plain, story};
use server::{config::Config, init, replay};
use sqlx::{AnyConnection, Connection as _, Executor as _};

/// Small numbers from a seed, so that a run that failed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

async fn something(
    house: &House,
    cast: &mut story::Cast,
    dice: &mut Dice,
    orders: &mut Vec<(OrderId, custody::id::ItemId)>,
    targets: &mut Vec<TargetId>,
    claims: &mut Vec<(ClaimId, SubjectId)>,
) {
    match dice.below(11) {
        0 => orders.push(story::order(house, cast, None).await),
        1 if !orders.is_empty() => {
            let (order, item) = orders[dice.below(orders.len())];
            targets.push(story::place(house, cast, order, item).await.1);
        }
        2 => {
            let (claim, subject, _) = story::claim(house, cast).await;
            claims.push((claim, subject));
        }
        3 if !claims.is_empty() => {
            let (claim, subject) = claims.swap_remove(dice.below(claims.len()));
            story::withdraw(house, cast, claim).await;
            story::erase(house, cast, subject).await;
        }
        4 => {
            let gone = house.person(&[Role::Auditor]).await;
            let body = Body::PersonRetire(PersonRetire { person: gone.id });
            house.submit(plain(house.admin.says(body))).await.unwrap();
        }
        5 => cast.robot = house.enrol(cast.robot.id, cast.robot.epoch + 1).await,
        6 if !targets.is_empty() => {
            let target = targets[dice.below(targets.len())];
            story::raise(house, &mut cast.robot, target).await;
        }
        7 => {
            // Turned down by a rule: it stands without effect.
            let target = TargetId::from_random(house::random());
            let body = match dice.below(2) {
                0 => Body::HoldAcknowledged(HoldAcknowledged { target }),
                _ => Body::HoldVerified(HoldProof {
                    target,
                    attempts: 0,
                    refused: 0,
                    writers: 0,
                }),
            };
            let recorded = house.submit(plain(cast.robot.says(body))).await.unwrap();
            assert!(recorded.void.is_some());
        }
        8 => {
            let finding = Finding {
                what: FindingKind::HeldChanged,
                target: targets.first().copied(),
                count: 1,
                evidence: vec![Digest::of(b"x")],
                entry: None,
                places: Vec::new(),
                by: None,
                noticed: None,
            };
            house
                .submit(plain(cast.robot.says(Body::Finding(finding))))
                .await
                .unwrap();
        }
        9 if cast.robot.seq > 0 => {
            // Two things at one place.
            let target = TargetId::from_random(house::random());
            let body = Body::HoldAcknowledged(HoldAcknowledged { target });
            let fork = cast.robot.at(0, Digest::of(b""), body);
            assert_eq!(house::rule(&house.submit(plain(fork)).await), "agent.chain");
        }
        _ => {
            // Refused, and on record or not.
            let key = SecretKey::from_seed(&house::random()).public_key();
            let (_, mut bad) = house.add_person(key, &[Role::Admin]);
            if dice.below(2) == 0 {
                bad.openings.clear();
            } else {
                let statement = custody::ledger::entry::Entry::parse(&bad.entry)
                    .unwrap()
                    .statement()
                    .unwrap();
                bad.entry = cast.claims.says(statement.body);
            }
            assert!(house.submit(bad).await.is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_said_replaying_it_gives_the_same_state() {
    for seed in 1..=6 {
        eprintln!("seed {seed}");
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut house = House::new().await;
        let mut cast = story::Cast::new(&house).await;
        let (mut orders, mut targets, mut claims) = (vec![], vec![], vec![]);
        for _ in 0..40 {
            something(
                &house,
                &mut cast,
                &mut dice,
                &mut orders,
                &mut targets,
                &mut claims,
            )
            .await;
        }
        let before = house.desk().house().clone();
        house.reopen().await;
        assert!(*house.desk().house() == before, "from the records");
        house.close().await;
        let report = replay::check(&house.data).await.unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!(report.checkpoint, report.entries);
        sql(&house, "DELETE FROM records").await;
        sql(&house, "UPDATE meta SET value = '0' WHERE name = 'folded'").await;
        house.open().await.unwrap();
        assert!(*house.desk().house() == before, "from the entries");
        house.close().await;
        assert!(replay::check(&house.data).await.unwrap().is_whole());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_case_replays_to_the_state_that_was_acknowledged() {
    let mut house = House::with_config(|config| {
        config.policy.get_mut("lift").unwrap().notice_hours = 0;
    })
    .await;
    story::whole(&house).await;
    let before = house.desk().house().clone();
    house.close().await;
    let report = replay::check(&house.data).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
    sql(&house, "DELETE FROM records").await;
    house.open().await.unwrap();
    assert!(*house.desk().house() == before);
}

/// Changes the journal behind the coordinator's back.
async fn sql(house: &House, text: &'static str) {
    let url = format!("sqlite://{}", house.data.journal().display());
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let done = connection.execute(text).await.unwrap();
    assert!(done.rows_affected() > 0, "{text} changed nothing");
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_damage_is_reported_and_all_of_it_at_once() {
    let mut house = House::new().await;
    let cast = story::Cast::new(&house).await;
    story::claim(&house, &cast).await;
    house.published().await;
    house.close().await;
    let good = house.folder.path().join("good");
    house::copy(&house.data.0, &good);
    assert!(replay::check(&house.data).await.unwrap().is_whole());
    for (damage, expected) in [
        (
            "UPDATE records SET json = replace(json, 'auditor', 'admin') || ' ' WHERE kind = 'persons'",
            "",
        ),
        (
            "UPDATE records SET json = replace(json, 'legal', 'admin') WHERE kind = 'persons'",
            "is not what the entries give",
        ),
        ("DELETE FROM records WHERE kind = 'claims'", "is missing"),
        (
            "INSERT INTO records SELECT kind, 'per-00', json FROM records WHERE kind = 'persons' LIMIT 1",
            "follows from no entry",
        ),
        (
            "UPDATE entries SET leaf = zeroblob(32) WHERE idx = 3",
            "the columns of entry 3",
        ),
        (
            "UPDATE entries SET command = zeroblob(16) WHERE idx = 3",
            "the columns of entry 3",
        ),
        (
            "UPDATE entries SET place = zeroblob(32) WHERE idx = 3",
            "the columns of entry 3",
        ),
        (
            "UPDATE entries SET bytes = CAST(replace(bytes, 'approver', 'operator') AS BLOB) WHERE idx = 4",
            "is not signed by its author",
        ),
        (
            "UPDATE entries SET bytes = zeroblob(9) WHERE idx = 2",
            "entry 2",
        ),
        ("DELETE FROM entries WHERE idx = 4", "cannot be read"),
        (
            "UPDATE openings SET sealed = zeroblob(99)",
            "cannot be unsealed",
        ),
        ("DELETE FROM subject_keys WHERE subject <> ''", "has no key"),
        (
            "UPDATE checkpoints SET note = replace(note, 'holdfast', 'holdfest')",
            "the recorded checkpoint",
        ),
    ] {
        sql(&house, damage).await;
        let report = replay::check(&house.data).await.unwrap();
        let found = report
            .differences
            .iter()
            .any(|line| line.contains(expected));
        match expected {
            // What means the same is the same.
            "" => assert!(report.is_whole(), "{damage}: {report:?}"),
            _ => assert!(found, "{damage}: {report:?}"),
        }
        fs::remove_dir_all(&house.data.0).unwrap();
        house::copy(&good, &house.data.0);
    }
    // All at once, files too.
    sql(&house, "UPDATE openings SET sealed = zeroblob(99)").await;
    sql(&house, "DELETE FROM records WHERE kind = 'claims'").await;
    let size = replay::check(&house.data).await.unwrap().checkpoint;
    let tile = house.data.log().join(format!("tile/0/000.p/{size}"));
    fs::write(&tile, [0; 32]).unwrap();
    fs::remove_file(house.data.log().join(format!("tile/entries/000.p/{size}"))).unwrap();
    let lines = replay::check(&house.data)
        .await
        .unwrap()
        .differences
        .join("\n");
    for expected in ["unsealed", "claims", "tile/0/000.p", "tile/entries/000.p"] {
        assert!(lines.contains(expected), "{expected}: {lines}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_writes_into_an_empty_folder_only_and_says_what_it_found() {
    let mut house = House::new().await;
    house.close().await;
    let again = |house: &House| {
        let admin = init::Admin {
            name: "x".to_owned(),
            key: SecretKey::from_seed(&[1; 32]).public_key(),
        };
        let (data, config) = (house.data.clone(), Config::new(house::ORIGIN.to_owned()));
        async move {
            init::init(&data, &config, admin)
                .await
                .unwrap_err()
                .to_string()
        }
    };
    assert!(again(&house).await.contains("initialised already"));
    fs::remove_file(house.data.log().join("checkpoint")).unwrap();
    assert!(again(&house).await.contains("stopped before it ended"));
    fs::remove_file(house.data.config()).unwrap();
    assert!(again(&house).await.contains("stopped before it ended"));
    fs::remove_dir_all(&house.data.0).unwrap();
    fs::create_dir(&house.data.0).unwrap();
    fs::write(house.data.0.join("photo.jpg"), "x").unwrap();
    assert!(
        again(&house)
            .await
            .contains("is not empty (it holds photo.jpg)")
    );
    assert!(house.open().await.is_err());
}

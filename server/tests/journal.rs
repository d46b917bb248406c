//! The desk and its journal: what is acknowledged stands, what is refused does not.

#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use std::fs;

use custody::{
    digest::Digest,
    house::{finding::FindingKind, person::Role},
    id::{AgentId, TargetId},
    ledger::entry::Entry,
    sign::{SecretKey, Signer as _},
    statement::{Author, Body, HoldAcknowledged, Statement},
};
use house::{House, Person, contains, copy, files, opening, plain, rule, story, with};
use server::{
    config::Data,
    desk::{Desk, DeskError},
    replay,
};

/// The statements of a log, in order.
async fn statements(house: &House) -> Vec<Statement> {
    let size = *house.desk().changed().borrow();
    let entries = house.desk().entries(0, size).await.unwrap();
    entries
        .iter()
        .map(|e| Entry::parse(&e.bytes).unwrap().statement().unwrap())
        .collect()
}

fn acknowledged() -> Body {
    Body::HoldAcknowledged(HoldAcknowledged {
        target: TargetId::from_random(house::random()),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_given_only_when_a_crash_can_no_longer_lose_the_entry() {
    let house = House::new().await;
    for round in 0..5 {
        let (id, submission) = house.add_person(
            SecretKey::from_seed(&house::random()).public_key(),
            &[Role::Auditor],
        );
        let entry = submission.entry.clone();
        let recorded = house.submit(submission).await.unwrap();
        // The folder as a crash at this very moment would leave it.
        let crash = Data(house.folder.path().join(format!("crash-{round}")));
        copy(&house.data.0, &crash.0);
        let after = Desk::open(&crash, &house.config).await.unwrap();
        assert_eq!(after.entry(recorded.index).await.unwrap().bytes, entry);
        assert!(after.house().persons.contains_key(&id));
        after.close().await;
        assert!(replay::check(&crash).await.unwrap().is_whole());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_twice_is_done_once_and_an_id_serves_once() {
    let house = House::new().await;
    let key = SecretKey::from_seed(&house::random()).public_key();
    let (_, submission) = house.add_person(key, &[Role::Auditor]);
    let first = house.submit(submission.clone()).await.unwrap();
    assert!(!first.duplicate);
    let (one, two) = tokio::join!(
        house.submit(submission.clone()),
        house.submit(submission.clone())
    );
    for again in [one.unwrap(), two.unwrap()] {
        assert!(again.duplicate);
        assert_eq!((again.index, again.leaf), (first.index, first.leaf));
    }
    // Both at once, both new: one of them is the duplicate.
    let key = SecretKey::from_seed(&house::random()).public_key();
    let (_, new) = house.add_person(key, &[Role::Auditor]);
    let (one, two) = tokio::join!(house.submit(new.clone()), house.submit(new));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.index, two.index);
    assert!(one.duplicate != two.duplicate);
    // The same id, other words.
    let text = Entry::parse(&submission.entry)
        .unwrap()
        .statement()
        .unwrap();
    let (_, mut other) = house.add_person(
        SecretKey::from_seed(&house::random()).public_key(),
        &[Role::Auditor],
    );
    let mut statement = Entry::parse(&other.entry).unwrap().statement().unwrap();
    statement.id = text.id;
    other.entry = house::seal_statement(&house.admin.key, &statement);
    assert_eq!(rule(&house.submit(other).await), "command.reused");
    assert_eq!(
        house.desk().find_index(&text.id).await.unwrap(),
        Some(first.index)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_one_for_ever_even_when_its_author_has_another_key() {
    let house = House::new().await;
    let id = AgentId::from_random(house::random());
    let mut robot = house.enrol(id, 0).await;
    let entry = robot.says(acknowledged());
    let first = house.submit(plain(entry.clone())).await.unwrap();
    assert_eq!(first.void.as_ref().map(|r| r.rule), Some("unknown"));
    let _ = house.enrol(id, 1).await;
    let again = house.submit(plain(entry)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.index, first.index);
    // What did not stand before does not stand now.
    let late = robot.says(acknowledged());
    assert_eq!(rule(&house.submit(plain(late)).await), "entry.signature");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_refuses_what_is_not_signed_and_opened_exactly() {
    let house = House::new().await;
    let before = *house.desk().changed().borrow();
    let key = SecretKey::from_seed(&house::random()).public_key();
    let (_, good) = house.add_person(key.clone(), &[Role::Auditor]);
    let mut cases = Vec::new();
    let mut case = |expected, change: &dyn Fn(&mut server::desk::Submission)| {
        let mut bad = good.clone();
        change(&mut bad);
        cases.push((expected, bad));
    };
    case("opening.missing", &|s| s.openings.clear());
    case("opening.twice", &|s| s.openings.push(s.openings[0].clone()));
    case("opening.extra", &|s| s.openings.push(opening("name", "x")));
    case("opening.extra", &|s| s.openings[0].value.push(1));
    case("opening.field", &|s| {
        s.openings[0].field = "names".to_owned()
    });
    case("opening.subject", &|s| {
        s.subject = Some(custody::id::SubjectId::from_random([1; 16]));
    });
    case("entry.unreadable", &|s| s.entry.push(b' '));
    case("entry.unreadable", &|s| s.entry = b"{}".to_vec());
    case("entry.too-long", &|s| s.entry.resize(70_000, b'x'));
    case("entry.signature", &|s| {
        let statement = Entry::parse(&s.entry).unwrap().statement().unwrap();
        s.entry = house::seal_statement(&SecretKey::from_seed(&[3; 32]), &statement);
    });
    for (expected, bad) in cases {
        assert_eq!(rule(&house.submit(bad).await), expected);
    }
    let stranger = Person::new();
    let answer = house.submit(plain(stranger.says(acknowledged()))).await;
    assert_eq!(rule(&answer), "unknown");
    assert_eq!(
        *house.desk().changed().borrow(),
        before,
        "nothing of it is in the log"
    );
    house.submit(good).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_says_two_things_at_one_place_is_on_record_once_with_both() {
    let mut house = House::new().await;
    let mut robot = house.robot().await;
    let start = robot.prev;
    let one = robot.says(acknowledged());
    house.submit(plain(one.clone())).await.unwrap();
    let middle = robot.prev;
    house
        .submit(plain(robot.says(acknowledged())))
        .await
        .unwrap();
    // The very same again is no fork, however old.
    assert!(house.submit(plain(one.clone())).await.unwrap().duplicate);
    let two = robot.at(0, start, acknowledged());
    assert_eq!(rule(&house.submit(plain(two.clone())).await), "agent.chain");
    assert_eq!(rule(&house.submit(plain(two.clone())).await), "agent.chain");
    let three = robot.at(0, start, acknowledged());
    assert_eq!(
        rule(&house.submit(plain(three.clone())).await),
        "agent.chain"
    );
    let before = house.desk().house().clone();
    house.reopen().await;
    assert!(
        *house.desk().house() == before,
        "the finding reads back with all it holds"
    );
    assert_eq!(rule(&house.submit(plain(three)).await), "agent.chain");
    // A branch off the middle is a fork too; a gap is none.
    let branch = robot.at(2, middle, acknowledged());
    assert_eq!(
        rule(&house.submit(plain(branch.clone())).await),
        "agent.chain"
    );
    let gap = robot.at(9, middle, acknowledged());
    assert_eq!(rule(&house.submit(plain(gap)).await), "agent.chain");
    let findings: Vec<_> = house.desk().house().findings.values().cloned().collect();
    let evidence: Vec<_> = findings
        .iter()
        .map(|f| f.finding.evidence.clone())
        .collect();
    assert_eq!(
        evidence,
        [
            vec![Digest::of(&one), Digest::of(&two)],
            vec![robot.prev, Digest::of(&branch)]
        ]
    );
    let first = &findings[0];
    assert_eq!(first.finding.what, FindingKind::Equivocation);
    assert_eq!(first.by, Author::Coordinator);
    use base64::Engine as _;
    let kept = base64::engine::general_purpose::STANDARD
        .decode(first.finding.entry.as_ref().unwrap())
        .unwrap();
    assert_eq!(kept, two, "the refused entry is kept whole");
    // The chain goes on.
    house
        .submit(plain(robot.says(acknowledged())))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_cannot_keep_anothers_fork_off_the_record_by_claiming_to_have_found_it() {
    use base64::Engine as _;
    let mut house = House::new().await;
    let (mut liar, mut robot) = (house.robot().await, house.robot().await);
    let start = robot.prev;
    let place = custody::statement::Link {
        epoch: 0,
        seq: 0,
        prev: start,
        boot: start,
        monotonic_ns: "1".to_owned(),
    };
    let forged = house::seal(
        &liar.key,
        Author::Agent(robot.id),
        Some(place),
        acknowledged(),
    );
    let found = Body::Finding(custody::statement::Finding {
        what: FindingKind::Equivocation,
        target: None,
        count: 2,
        evidence: vec![],
        entry: Some(base64::engine::general_purpose::STANDARD.encode(forged)),
        places: Vec::new(),
        by: None,
        noticed: None,
    });
    house.submit(plain(liar.says(found))).await.unwrap();
    house.reopen().await;
    house
        .submit(plain(robot.says(acknowledged())))
        .await
        .unwrap();
    let fork = robot.at(0, start, acknowledged());
    assert_eq!(rule(&house.submit(plain(fork)).await), "agent.chain");
    let findings = house.desk().house().findings.clone();
    assert!(findings.values().any(|f| f.by == Author::Coordinator));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_entries_of_one_agent_can_be_handed_in_without_waiting() {
    let house = House::new().await;
    let mut robot = house.robot().await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let entry = plain(robot.says(acknowledged()));
        waiting.push(house.desk().hand_in(entry).await.unwrap());
    }
    let mut indices = Vec::new();
    for pending in waiting {
        indices.push(pending.recorded().await.unwrap().index);
    }
    let first = indices[0];
    assert!(indices.iter().copied().eq(first..first + 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_to_act_out_of_role_are_on_record_and_a_flood_of_them_is_not() {
    let house = House::new().await;
    let auditor = house.person(&[Role::Auditor]).await;
    let other = house.person(&[Role::Auditor]).await;
    let attempt = |person: &Person| {
        let name = opening("name", "x");
        let body = Body::PersonAdd(custody::statement::PersonAdd {
            person: custody::id::PersonId::from_random(house::random()),
            key: SecretKey::from_seed(&house::random()).public_key(),
            roles: vec![Role::Admin],
            name: name.commitment(),
        });
        with(person.says(body), vec![name])
    };
    let first = attempt(&auditor);
    let text = Entry::parse(&first.entry).unwrap().text().to_owned();
    assert_eq!(rule(&house.submit(first).await), "role");
    for _ in 0..60 {
        assert_eq!(rule(&house.submit(attempt(&auditor)).await), "role");
    }
    assert_eq!(rule(&house.submit(attempt(&other)).await), "role");
    let refused: Vec<_> = statements(&house)
        .await
        .into_iter()
        .filter_map(|s| match s.body {
            Body::Refused(refused) => Some((s.author, refused)),
            _ => None,
        })
        .collect();
    let (by, first) = &refused[0];
    assert_eq!(*by, Author::Coordinator);
    assert_eq!(
        (first.rule.as_str(), first.what.as_str()),
        ("role", "person.add")
    );
    assert_eq!(first.by, Some(Author::Person(auditor.id)));
    assert_eq!(first.statement, Some(Digest::of(text.as_bytes())));
    let of = |person: &Person| {
        let author = Some(Author::Person(person.id));
        refused.iter().filter(|(_, r)| r.by == author).count()
    };
    assert_eq!((of(&auditor), of(&other)), (10, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_subject_leaves_no_key_and_every_proof_still_holds() {
    let mut house = House::new().await;
    let cast = story::Cast::new(&house).await;
    let (claim, subject, openings) = story::claim(&house, &cast).await;
    let (_, other, others) = story::claim(&house, &cast).await;
    let commitment = openings[0].commitment();
    assert_eq!(
        house.desk().opening(&commitment).await,
        Some(openings[0].clone())
    );
    house.published().await;
    let keys = |house: &House| {
        let path = house.data.journal();
        async move {
            let journal = server::journal::Journal::open(&path).await.unwrap();
            let keys = journal.keys().await.unwrap();
            journal.close().await;
            keys
        }
    };
    let key = |keys: &[(String, [u8; 32])], subject: &str| {
        keys.iter().find(|(s, _)| s == subject).map(|(_, key)| *key)
    };
    let secret = key(&keys(&house).await, &subject.to_string()).unwrap();
    story::withdraw(&house, &cast, claim).await;
    story::erase(&house, &cast, subject).await;
    assert_eq!(house.desk().opening(&commitment).await, None);
    assert!(
        house
            .desk()
            .opening(&others[0].commitment())
            .await
            .is_some()
    );
    for file in files(&house.data.0) {
        let bytes = fs::read(&file).unwrap();
        assert!(
            !contains(&bytes, &secret),
            "the key is still in {}",
            file.display()
        );
    }
    let left = keys(&house).await;
    assert_eq!(key(&left, &subject.to_string()), None);
    assert!(key(&left, &other.to_string()).is_some());
    house.reopen().await;
    assert_eq!(house.desk().opening(&commitment).await, None);
    assert!(
        house
            .desk()
            .opening(&others[0].commitment())
            .await
            .is_some()
    );
    house.published().await;
    let size = *house.desk().changed().borrow();
    for entry in house.desk().entries(0, size).await.unwrap() {
        let proof = house.desk().prove(entry.index).await.unwrap();
        proof.verify(&entry.bytes, house.desk().vkey()).unwrap();
    }
    house.close().await;
    let report = replay::check(&house.data).await.unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coordinators_on_one_folder_are_refused() {
    let mut house = House::new().await;
    let second = Desk::open(&house.data, &house.config).await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains("another process uses"), "{error}");
    assert!(replay::check(&house.data).await.is_err());
    house.reopen().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_it_stops_is_finished_and_what_comes_later_is_turned_away() {
    let mut house = House::new().await;
    let mut robot = house.robot().await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let entry = plain(robot.says(acknowledged()));
        waiting.push(house.desk().hand_in(entry).await.unwrap());
    }
    let desk = house.desk().clone();
    desk.close().await;
    for pending in waiting {
        pending.recorded().await.unwrap();
    }
    let late = desk.submit(plain(robot.says(acknowledged()))).await;
    assert!(matches!(late, Err(DeskError::Failed(failure)) if failure.retry));
    let size = *desk.changed().borrow();
    let published = desk.published().borrow().clone().unwrap();
    assert_eq!(published.checkpoint.size, size, "all of it is published");
    house.close().await;
}

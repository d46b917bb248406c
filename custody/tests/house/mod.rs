//! A house with a desk before it, as the coordinator has one: signs, verifies, decides, folds.
//!
//! Everything is real but for randomness and time, which the test hands in: keys are made of
//! counters and the clock stands until it is moved.
#![allow(dead_code, unreachable_pub)]

pub mod clearances;
pub mod model;
pub mod narrow;
pub mod ops;
pub mod world;

use std::collections::BTreeMap;

use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{
        House,
        apply::{Changes, apply},
        decide::{Accepted, Context, decide},
        refusal::Refusal,
    },
    id::{AgentId, CommandId, PersonId},
    ledger::{chain::ChainHead, entry::Entry},
    sign::{SecretKey, Signer as _},
    statement::{Author, Body, Link, Statement, VERSION},
    time::{Span, Time},
};

pub const ORIGIN: &str = "log.example/house";

/// What stands in the ledger, as a replay reads it.
#[derive(Clone)]
pub struct Recorded {
    pub entry: Entry,
    pub received: Time,
    pub void: bool,
}

/// What saying something led to.
pub struct Said {
    pub index: u64,
    pub entry: Entry,
    pub void: Option<Refusal>,
    pub changes: Changes,
}

pub struct Desk {
    pub house: House,
    pub openings: BTreeMap<Commitment, Vec<u8>>,
    pub now: Time,
    pub log: Vec<Recorded>,
    pub coordinator: SecretKey,
    pub people: BTreeMap<PersonId, [u8; 32]>,
    pub agents: BTreeMap<AgentId, [u8; 32]>,
    whole: BTreeMap<Commitment, Opening>,
    counter: u64,
}

/// 16 bytes that no other call gives.
pub fn bytes16(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    bytes
}

pub fn seed(n: u64) -> [u8; 32] {
    *Digest::of(&n.to_be_bytes()).as_bytes()
}

impl Desk {
    pub fn new() -> Self {
        Self {
            house: House::default(),
            openings: BTreeMap::new(),
            now: time("2026-03-02T09:00:00Z"),
            log: Vec::new(),
            coordinator: SecretKey::from_seed(&seed(1)),
            people: BTreeMap::new(),
            agents: BTreeMap::new(),
            whole: BTreeMap::new(),
            counter: 1000,
        }
    }

    pub fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Commits to a value and keeps what opens it.
    pub fn commit(&mut self, field: &str, value: &[u8]) -> Commitment {
        let opening = Opening::new(field, value, seed(self.next()));
        let commitment = opening.commitment();
        self.openings.insert(commitment, value.to_vec());
        self.whole.insert(commitment, opening);
        commitment
    }

    /// The whole opening of a commitment, as a receipt shows it.
    pub fn opening(&self, commitment: &Commitment) -> &Opening {
        &self.whole[commitment]
    }

    pub fn wait(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// Where an agent's chain stands.
    pub fn head(&self, agent: &AgentId) -> ChainHead {
        let enrolment = self
            .house
            .agents
            .get(agent)
            .and_then(|a| a.enrolment.as_ref());
        enrolment.map_or(ChainHead::start(0), |e| e.head)
    }

    /// The statement that this author would sign now.
    pub fn statement(&mut self, author: Author, body: Body) -> Statement {
        let link = match &author {
            Author::Agent(id) => {
                let head = self.head(id);
                Some(Link {
                    epoch: head.epoch,
                    seq: head.seq,
                    prev: head.prev,
                    boot: Digest::of(b"boot"),
                    monotonic_ns: self.now.millis().to_string(),
                })
            }
            _ => None,
        };
        Statement {
            v: VERSION,
            log: ORIGIN.to_owned(),
            id: CommandId::from_random(bytes16(self.next())),
            author,
            time: self.now,
            seen: None,
            link,
            body,
        }
    }

    /// Signs a statement with its author's own key.
    pub fn seal(&self, statement: &Statement) -> Entry {
        let seed = match &statement.author {
            Author::Coordinator => self.coordinator.seed(),
            Author::Person(id) => self.people.get(id).copied().unwrap_or([9; 32]),
            Author::Agent(id) => self.agents.get(id).copied().unwrap_or([9; 32]),
        };
        let text = statement.to_text().unwrap();
        let signature = SecretKey::from_seed(&seed)
            .sign(statement.namespace(), text.as_bytes())
            .unwrap();
        Entry::seal(&text, &signature).unwrap()
    }

    /// Takes in an entry as the coordinator does: signature, rules, fold.
    pub fn take(&mut self, entry: Entry) -> Result<Said, Refusal> {
        let entry = Entry::parse(entry.bytes()).unwrap();
        let statement = entry.statement().unwrap();
        let key = self.house.key_of(&statement)?;
        entry.verify(statement.namespace(), &key).unwrap();
        let before = self.house.clone();
        let context = Context {
            received: self.now,
            leaf: entry.leaf_hash(),
            entry: entry.digest(),
            openings: &self.openings,
        };
        let decided = decide(&self.house, statement, &context);
        assert_eq!(before, self.house, "deciding changes nothing");
        let accepted: Accepted = decided?;
        let void = accepted.void().cloned();
        let index = self.log.len() as u64;
        let changes = apply(&mut self.house, accepted, index);
        self.log.push(Recorded {
            entry: entry.clone(),
            received: self.now,
            void: void.is_some(),
        });
        self.changed_only_what_it_names(&before, &changes);
        Ok(Said {
            index,
            entry,
            void,
            changes,
        })
    }

    /// What `apply` says it changed is all that it changed: projections rely on that.
    fn changed_only_what_it_names(&self, before: &House, changes: &Changes) {
        let records = |house: &House| house.all().into_iter().collect::<BTreeMap<_, _>>();
        let (old, new) = (records(before), records(&self.house));
        for (key, record) in &new {
            let same = old.get(key) == Some(record);
            assert!(same || changes.0.contains(key), "{key:?} changed silently");
        }
        assert!(
            old.keys().all(|key| new.contains_key(key)),
            "a record vanished"
        );
    }

    pub fn say(&mut self, author: Author, body: Body) -> Result<Said, Refusal> {
        let statement = self.statement(author, body);
        let entry = self.seal(&statement);
        self.take(entry)
    }

    pub fn person(&mut self, id: PersonId, body: Body) -> Result<Said, Refusal> {
        self.say(Author::Person(id), body)
    }

    pub fn agent(&mut self, id: AgentId, body: Body) -> Result<Said, Refusal> {
        self.say(Author::Agent(id), body)
    }

    pub fn coordinator(&mut self, body: Body) -> Result<Said, Refusal> {
        self.say(Author::Coordinator, body)
    }

    /// A second desk with the same house, to try something without doing it.
    pub fn fork(&self) -> Self {
        Self {
            house: self.house.clone(),
            openings: self.openings.clone(),
            now: self.now,
            log: self.log.clone(),
            coordinator: SecretKey::from_seed(&self.coordinator.seed()),
            people: self.people.clone(),
            agents: self.agents.clone(),
            whole: self.whole.clone(),
            counter: self.counter,
        }
    }

    /// Folds the ledger again from nothing, with no opening at all.
    pub fn replayed(&self) -> House {
        let mut house = House::default();
        for (index, recorded) in self.log.iter().enumerate() {
            let statement = recorded.entry.statement().unwrap();
            let accepted = house.recorded(&recorded.entry, statement, recorded.received);
            assert_eq!(accepted.void().is_some(), recorded.void);
            apply(&mut house, accepted, index as u64);
        }
        house
    }

    /// Puts the house together again from its records.
    pub fn restored(&self) -> House {
        let mut house = House::default();
        for (key, record) in self.house.all() {
            // Through text, as a store keeps it.
            let record = serde_json::from_str(&record.to_string()).unwrap();
            house.restore(key.kind, &key.id, record).unwrap();
        }
        house
    }
}

/// Says that a test could not run here. The runner counts these, and CI allows none.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    std::eprintln!("SKIPPED {test}: {why}");
    if let Ok(file) = std::env::var("HOLDFAST_SKIPPED") {
        let mut options = std::fs::File::options();
        let mut out = options.append(true).create(true).open(file).unwrap();
        writeln!(out, "{test}: {why}").unwrap();
    }
}

pub fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// The rule that refused, or `ok`.
pub fn rule<T>(answer: &Result<T, Refusal>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(refusal) => refusal.rule,
    }
}

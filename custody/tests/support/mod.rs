//! A real log, small or large: keys, statements that the law accepts, tiles, proofs, receipts.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

mod manifest;
mod published;
mod story;

use std::collections::BTreeMap;

use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{
        House,
        act::{Act, Rows},
        apply::apply,
        approval::{Policies, Policy},
        decide::{Context, decide},
        hold::Target,
        order::{Copies, NewOrder},
        person::Role,
        ranges::Ranges,
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::*,
    ledger::{
        chain::{self, ChainHead},
        entry::Entry,
        note::{self, NoteKey, VerifierKey},
        tree::{self, MemoryTree},
    },
    sign::{SecretKey, Signer as _},
    statement::*,
    time::{Span, Time},
};

pub use manifest::Manifest;
#[allow(unused_imports)]
pub use published::write;

pub const ORIGIN: &str = "log.example/1";

/// Random enough for ids: a counter, so that a log is the same each time.
macro_rules! id {
    ($type:ty, $n:expr) => {
        <$type>::from_random(u128::from($n as u64).to_be_bytes())
    };
}

pub struct Log {
    pub key: NoteKey,
    pub entries: Vec<Vec<u8>>,
    pub tree: MemoryTree,
    pub house: House,
    pub openings: BTreeMap<Commitment, Vec<u8>>,
    pub opened: BTreeMap<Commitment, Opening>,
    pub seen: Option<Seen>,
    pub head: ChainHead,
    pub now: Time,
    /// Whether the order lets copies leave.
    pub copies: Copies,
    next: u64,
}

pub fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Seeds and ids of the people: admin 1, intake 2, legal 3, operator 4, custodian 5, claims 6,
/// approvers 7, 8 and 9. The coordinator signs with 100, the agent with 101.
pub fn person(n: u8) -> PersonId {
    id!(PersonId, n)
}
pub const COORDINATOR: u8 = 100;
pub const AGENT: u8 = 101;

pub fn agent() -> AgentId {
    id!(AgentId, 50)
}
pub fn target() -> TargetId {
    id!(TargetId, 51)
}
pub fn snapshot() -> SnapshotId {
    id!(SnapshotId, 52)
}
pub fn claim() -> ClaimId {
    id!(ClaimId, 53)
}
pub fn request() -> RequestId {
    id!(RequestId, 54)
}
pub fn item(n: u8) -> ItemId {
    id!(ItemId, n)
}
pub fn subject(n: u8) -> SubjectId {
    id!(SubjectId, n)
}
pub fn release() -> ReleaseId {
    id!(ReleaseId, 55)
}

impl Log {
    pub fn empty() -> Self {
        Self {
            key: NoteKey::from_seed(ORIGIN, note::ED25519, &[99; 32]).unwrap(),
            entries: Vec::new(),
            tree: MemoryTree::default(),
            house: House::default(),
            openings: BTreeMap::new(),
            opened: BTreeMap::new(),
            seen: None,
            head: ChainHead::start(0),
            now: "2026-03-02T09:00:00Z".parse().unwrap(),
            copies: Copies::Permitted,
            next: 1000,
        }
    }

    pub fn vkey(&self) -> &VerifierKey {
        self.key.verifier()
    }

    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn commit(&mut self, field: &str, value: impl Into<Vec<u8>>) -> Commitment {
        self.next += 1;
        let r = *Digest::of(&self.next.to_be_bytes()).as_bytes();
        let opening = Opening::new(field, value, r);
        let commitment = opening.commitment();
        self.openings.insert(commitment, opening.value.clone());
        self.opened.insert(commitment, opening);
        commitment
    }

    /// The author's statement, unsigned, at the next moment.
    pub fn statement(&mut self, author: Author, body: Body) -> Statement {
        self.next += 1;
        self.now = self.now + Span::seconds(1);
        let link = matches!(author, Author::Agent(_)).then(|| Link {
            epoch: self.head.epoch,
            seq: self.head.seq,
            prev: self.head.prev,
            boot: Digest::of(b"boot"),
            monotonic_ns: "1".into(),
        });
        Statement {
            v: VERSION,
            log: ORIGIN.into(),
            id: id!(CommandId, self.next),
            author,
            time: self.now,
            seen: self.seen,
            link,
            body,
        }
    }

    /// Signs and appends whatever it is, asking no rule.
    pub fn force(&mut self, statement: &Statement, key: u8) -> u64 {
        let text = statement.to_text().unwrap();
        let signature = secret(key)
            .sign(statement.namespace(), text.as_bytes())
            .unwrap();
        let entry = Entry::seal(&text, &signature).unwrap();
        if let Some(link) = &statement.link {
            self.head = chain::next(link, entry.digest());
        }
        self.push(entry.bytes().to_vec())
    }

    pub fn push(&mut self, entry: Vec<u8>) -> u64 {
        self.tree.push(tree::leaf_hash(&entry));
        self.entries.push(entry);
        self.size() - 1
    }

    /// Says something that the law must accept.
    pub fn say(&mut self, author: Author, key: u8, body: Body) -> u64 {
        let statement = self.statement(author, body);
        let index = self.force(&statement, key);
        let entry = Entry::parse(&self.entries[index as usize]).unwrap();
        let context = Context {
            received: self.now,
            leaf: entry.leaf_hash(),
            entry: entry.digest(),
            openings: &self.openings,
        };
        let accepted = decide(&self.house, statement, &context).unwrap();
        assert_eq!(accepted.void(), None);
        apply(&mut self.house, accepted, index);
        index
    }

    pub fn person(&mut self, n: u8, body: Body) -> u64 {
        self.say(Author::Person(person(n)), n, body)
    }
    pub fn agent(&mut self, body: Body) -> u64 {
        self.say(Author::Agent(agent()), AGENT, body)
    }
    pub fn coordinator(&mut self, body: Body) -> u64 {
        self.say(Author::Coordinator, COORDINATOR, body)
    }

    /// What the next statements' authors have seen.
    pub fn publish(&mut self) {
        let size = self.size();
        let root = self.tree.root(size).unwrap();
        self.seen = Some(Seen { size, root });
    }

    pub fn open(&mut self) {
        let name = self.commit("name", "Ada");
        let policy = |notice_hours| Policy {
            approvals: 2,
            roles: vec![Role::Approver, Role::Legal],
            notice_hours,
        };
        let policies = [("release".into(), policy(0)), ("lift".into(), policy(24))];
        self.coordinator(Body::LogOpened(LogOpened {
            coordinator: secret(COORDINATOR).public_key(),
            person: person(1),
            key: secret(1).public_key(),
            name,
            policies: Policies(policies.into()),
        }));
    }

    pub fn add(&mut self, n: u8, role: Role) {
        let name = self.commit("name", format!("Person {n}"));
        self.person(
            1,
            Body::PersonAdd(PersonAdd {
                person: person(n),
                key: secret(n).public_key(),
                roles: vec![role],
                name,
            }),
        );
    }

    /// Opens the log, adds everybody, enrols the agent, places a hold and proves it.
    pub fn held(&mut self) {
        self.open();
        let roles = [
            Role::Intake,
            Role::Legal,
            Role::Operator,
            Role::Custodian,
            Role::Claims,
            Role::Approver,
            Role::Approver,
            Role::Approver,
        ];
        for (n, role) in (2..).zip(roles) {
            self.add(n, role);
        }
        let name = self.commit("name", "storage-1");
        let later = self.now + Span::days(1);
        self.person(
            1,
            Body::AgentInvite(AgentInvite {
                agent: agent(),
                token: Digest::of(b"token"),
                expires: later,
                name,
            }),
        );
        self.coordinator(Body::AgentEnrolled(AgentEnrolled {
            agent: agent(),
            epoch: 0,
            key: secret(AGENT).public_key(),
            certificate: Digest::of(b"certificate"),
            not_after: later,
        }));
        self.publish();
        let (authority, reference) = (
            self.commit("authority", "A court"),
            self.commit("reference", "1/26"),
        );
        let (scope, path) = (
            self.commit("path", "/srv/data"),
            self.commit("path", "/srv/data/alice"),
        );
        let out = self.commit("path", "/srv/data/alice/private");
        let (item, copies) = (id!(ItemId, 60), self.copies);
        self.person(
            2,
            Body::OrderAdd(NewOrder {
                order: id!(OrderId, 61),
                regime: "us-2703f".into(),
                holding: Holding::Freeze,
                copies,
                issued: self.now,
                received: self.now,
                zone_minutes: 0,
                ends: None,
                emergency: false,
                authority,
                reference,
                document: None,
                scope: vec![
                    ScopeItem {
                        item,
                        rule: Rule::Include,
                        selector: Selector::Path,
                        agent: Some(agent()),
                        value: Some(scope),
                    },
                    ScopeItem {
                        item: id!(ItemId, 65),
                        rule: Rule::Exclude,
                        selector: Selector::Path,
                        agent: None,
                        value: Some(out),
                    },
                ],
            }),
        );
        self.person(
            4,
            Body::HoldPlace(HoldPlace {
                hold: id!(HoldId, 62),
                order: id!(OrderId, 61),
                targets: vec![Target {
                    target: target(),
                    item,
                    agent: agent(),
                    path,
                }],
                at_least: None,
            }),
        );
        self.agent(Body::HoldAcknowledged(HoldAcknowledged {
            target: target(),
        }));
        self.agent(Body::HoldRaised(HoldRaised {
            target: target(),
            mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
            file_system: "ext4".into(),
            does_not_prevent: vec!["root".into()],
            files: 3,
            folders: 1,
            bytes: 30,
        }));
        self.proof();
        self.publish();
    }

    /// One more statement that any log may have any number of times.
    pub fn proof(&mut self) -> u64 {
        self.agent(Body::HoldVerified(HoldProof {
            target: target(),
            attempts: 3,
            refused: 3,
            writers: 0,
        }))
    }

    /// A log of exactly that size; from 16 on with a hold that is proved again and again.
    pub fn of_size(size: u64) -> Self {
        let mut log = Self::empty();
        match size {
            0 => {}
            1 => log.open(),
            2..16 => {
                log.open();
                (2..=size).for_each(|n| log.add(n as u8, Role::Auditor));
            }
            _ => {
                log.held();
                while log.size() < size {
                    if log.size().is_multiple_of(50) {
                        log.publish();
                    }
                    log.proof();
                }
            }
        }
        assert_eq!(log.size(), size);
        log
    }
}

pub fn act(files: Ranges) -> Act {
    let rows = Rows {
        snapshot: snapshot(),
        rows: files,
    };
    Act::Release {
        release: release(),
        claim: claim(),
        files: vec![rows],
    }
}

//! A real log, small or large: keys, statements that the law accepts, tiles, proofs, receipts.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    commit::{Commitment, Opening},
    digest::Digest,
    house::{
        House,
        act::{Act, Rows},
        apply::apply,
        approval::{Policies, Policy},
        claim::Matched,
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
        checkpoint::Checkpoint,
        entry::Entry,
        note::{self, NoteKey, VerifierKey},
        proof::LogProof,
        tile::{self, WIDTH},
        tree::{self, MemoryTree, Nodes as _},
    },
    manifest::{
        file::Writer,
        leaf::{self, SnapshotKey},
        row::{Kind, Row, Status},
    },
    sign::{SecretKey, Signer as _},
    statement::*,
    time::{Span, Time},
    verify::receipt::{FORMAT, ProvedEntry, Receipt, ShownOpening},
};

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
        let item = id!(ItemId, 60);
        self.person(
            2,
            Body::OrderAdd(NewOrder {
                order: id!(OrderId, 61),
                regime: "us-2703f".into(),
                holding: Holding::Freeze,
                copies: Copies::Permitted,
                issued: self.now,
                received: self.now,
                zone_minutes: 0,
                ends: None,
                emergency: false,
                authority,
                reference,
                document: None,
                scope: vec![ScopeItem {
                    item,
                    rule: Rule::Include,
                    selector: Selector::Path,
                    agent: Some(agent()),
                    value: Some(scope),
                }],
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
            }),
        );
        self.agent(Body::HoldAcknowledged(HoldAcknowledged {
            target: target(),
        }));
        self.agent(Body::HoldRaised(HoldRaised {
            target: target(),
            mechanism: "immutable-flag".into(),
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

    /// Takes and seals a snapshot with this manifest.
    pub fn sealed(&mut self, manifest: &Manifest) -> u64 {
        let wish = SnapshotWish {
            snapshot: snapshot(),
            target: target(),
        };
        self.person(
            5,
            Body::SnapshotTake(SnapshotTake {
                snapshots: vec![wish],
            }),
        );
        let key = self.commit("salt-key", manifest.key.secret_bytes().to_vec());
        let bytes = manifest
            .rows
            .iter()
            .filter(|r| r.sha256.is_some())
            .map(|r| r.size)
            .sum();
        let index = self.agent(Body::SnapshotSealed(SnapshotSealed {
            snapshot: snapshot(),
            root: manifest.root,
            rows: manifest.rows.len() as u64,
            bytes,
            unreadable: 0,
            manifest: Digest::of(&manifest.file),
            manifest_bytes: manifest.file.len() as u64,
            key,
            mechanism: "immutable-flag".into(),
            tool: "test 1".into(),
            began: self.now,
            ended: self.now,
        }));
        let root = manifest.root;
        self.coordinator(Body::SnapshotReceived(SnapshotReceived {
            snapshot: snapshot(),
            root,
        }));
        index
    }

    /// Files a claim for the rows, matches it, asks for the release.
    pub fn asked(&mut self, recipient: &str, rows: Ranges) -> u64 {
        let (recipient, value) = (
            self.commit("recipient", recipient),
            self.commit("account", "alice"),
        );
        self.person(
            6,
            Body::ClaimFile(ClaimFile {
                claim: claim(),
                subject: id!(SubjectId, 63),
                recipient,
                items: vec![ClaimItem {
                    item: id!(ItemId, 64),
                    selector: Selector::Account,
                    agent: None,
                    value,
                }],
                sworn: true,
            }),
        );
        self.coordinator(Body::ClaimMatched(Matched {
            claim: claim(),
            snapshot: snapshot(),
            rows: rows.clone(),
            bytes: 30,
            excluded: 0,
            lists: 0,
        }));
        self.publish();
        self.person(
            6,
            Body::RequestMake(RequestMake {
                request: request(),
                act: act(rows),
            }),
        )
    }

    pub fn vote(&mut self, asked: u64) -> Body {
        let Body::RequestMake(ask) = self.body(asked) else {
            panic!()
        };
        Body::Approve(Approve {
            request: ask.request,
            entry: tree::leaf_hash(&self.entries[asked as usize]),
            act: ask.act,
            expires: self.now + Span::days(2),
        })
    }

    pub fn body(&self, index: u64) -> Body {
        let entry = Entry::parse(&self.entries[index as usize]).unwrap();
        entry.statement().unwrap().body
    }

    pub fn execute(&mut self) -> u64 {
        let checkpoint = self.size();
        self.publish();
        let request = request();
        self.coordinator(Body::RequestExecuted(RequestExecuted {
            request,
            checkpoint,
        }))
    }

    pub fn packed(&mut self, parcel: &[u8], files: u64) {
        let release = release();
        self.agent(Body::ReleasePacked(ReleasePacked {
            release,
            parcel: Digest::of(parcel),
            bytes: parcel.len() as u64,
            files,
        }));
        self.coordinator(Body::ReleaseSpooled(ReleaseSpooled { release }));
        let to = person(6);
        self.coordinator(Body::ReleaseDelivered(ReleaseDelivered { release, to }));
    }

    /// A whole case, from the first entry to the delivery.
    pub fn story(manifest: &Manifest, recipient: &str, parcel: &[u8]) -> Self {
        let mut log = Self::empty();
        log.held();
        log.sealed(manifest);
        let rows = manifest.released();
        let count = rows.count();
        let asked = log.asked(recipient, rows);
        for voter in [7, 8] {
            let vote = log.vote(asked);
            log.person(voter, vote);
        }
        log.execute();
        log.packed(parcel, count);
        log
    }

    pub fn checkpoint_at(&self, size: u64) -> String {
        let root = self.tree.root(size).unwrap();
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size,
            root,
        };
        checkpoint.sign(&self.key).to_string()
    }

    pub fn proof_of(&self, index: u64) -> String {
        let proof = LogProof {
            index,
            hashes: tree::inclusion_proof(&self.tree, index, self.size()).unwrap(),
            checkpoint: self.checkpoint_at(self.size()),
        };
        proof.to_string()
    }

    /// The files of a log of all entries.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let size = self.size();
        let mut files = BTreeMap::new();
        files.insert(
            "checkpoint".to_owned(),
            self.checkpoint_at(size).into_bytes(),
        );
        for tile in tile::all(size) {
            let begin = tile.index * WIDTH;
            let hashes = (begin..begin + tile.width)
                .flat_map(|index| *self.tree.node(tile.level * 8, index).unwrap().as_bytes());
            files.insert(tile.path(), hashes.collect());
            if tile.level == 0 {
                let mut bundle = Vec::new();
                for entry in &self.entries[begin as usize..(begin + tile.width) as usize] {
                    tile::put_entry(&mut bundle, entry).unwrap();
                }
                files.insert(tile.bundle_path(), bundle);
            }
        }
        files
    }

    pub fn receipt(&self) -> Receipt {
        let wanted = |kind: &str| {
            kind.starts_with("release.")
                || kind.starts_with("request.")
                || matches!(
                    kind,
                    "log.opened"
                        | "person.add"
                        | "agent.enrolled"
                        | "snapshot.sealed"
                        | "snapshot.received"
                        | "claim.file"
                        | "claim.matched"
                )
        };
        let recipient = (0..self.size()).find_map(|index| match self.body(index) {
            Body::ClaimFile(filed) => Some(filed.recipient),
            _ => None,
        });
        let opening = &self.opened[&recipient.unwrap()];
        Receipt {
            format: FORMAT.into(),
            release: release(),
            origin: ORIGIN.into(),
            vkey: self.vkey().to_string(),
            checkpoint: self.checkpoint_at(self.size()),
            entries: (0..self.size())
                .filter(|index| wanted(self.body(*index).kind()))
                .map(|index| ProvedEntry {
                    index,
                    entry: String::from_utf8(self.entries[index as usize].clone()).unwrap(),
                    proof: self.proof_of(index),
                })
                .collect(),
            openings: vec![ShownOpening {
                commitment: recipient.unwrap(),
                field: opening.field.clone(),
                r: Digest::from_bytes(opening.r),
                value: STANDARD.encode(&opening.value),
            }],
        }
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

/// Writes files below a folder.
pub fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A manifest over files in memory.
pub struct Manifest {
    pub key: SnapshotKey,
    pub rows: Vec<Row>,
    pub contents: Vec<Vec<u8>>,
    pub file: Vec<u8>,
    pub root: Digest,
}

impl Manifest {
    /// Row 0 is the folder itself; files follow.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let key = SnapshotKey::from_random([9; 32]);
        let plain = |index, path: &[u8]| Row {
            mode: 0o644,
            nlink: 1,
            status: Status::Read,
            reason: None,
            ..Row::unknown(index, path.to_vec(), "")
        };
        let mut rows = vec![Row {
            kind: Kind::Folder,
            mode: 0o755,
            ..plain(0, b".")
        }];
        let mut contents = vec![Vec::new()];
        for (index, (path, content)) in (1..).zip(files) {
            rows.push(Row {
                kind: Kind::File,
                size: content.len() as u64,
                sha256: Some(Digest::of(content)),
                ..plain(index, path.as_bytes())
            });
            contents.push(content.to_vec());
        }
        Self::from_rows(key, rows, contents)
    }

    pub fn from_rows(key: SnapshotKey, rows: Vec<Row>, contents: Vec<Vec<u8>>) -> Self {
        let mut writer = Writer::new(Vec::new(), &[]).unwrap();
        for row in &rows {
            let leaf = leaf::leaf_hash(row, &key.salt_row(row.index));
            writer.push(row.clone(), leaf).unwrap();
        }
        let (file, _, root) = writer.finish().unwrap();
        Self {
            key,
            rows,
            contents,
            file,
            root,
        }
    }

    /// All rows but the folder itself.
    pub fn released(&self) -> Ranges {
        Ranges::from_unsorted(vec![(1, self.rows.len() as u64)])
    }
}

//! A whole case: a snapshot, a claim, votes, a release.

use custody::{
    digest::Digest,
    house::{claim::Matched, ranges::Ranges, scope::Selector},
    ledger::{entry::Entry, tree},
    statement::*,
    time::Span,
};

use super::{Log, Manifest, act, claim, person, release, request, snapshot, target};

impl Log {
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
            mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
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

    /// Files a claim for the rows and matches it.
    pub fn matched(&mut self, recipient: &str, rows: Ranges) {
        let (recipient, value) = (
            self.commit("recipient", recipient),
            self.commit("account", "alice"),
        );
        self.person(
            6,
            Body::ClaimFile(ClaimFile {
                claim: claim(),
                subject: super::subject(63),
                recipient,
                items: vec![ClaimItem {
                    item: super::item(64),
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
    }

    /// Files a claim for the rows, matches it, asks for the release.
    pub fn asked(&mut self, recipient: &str, rows: Ranges) -> u64 {
        self.matched(recipient, rows.clone());
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
}

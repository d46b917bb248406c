//! The truth as outsiders can hold on to it: what was acknowledged, which checkpoints were
//! signed, and the log as it is read. Whatever does not fit together fails the campaign.

use std::collections::{BTreeMap, BTreeSet};

use cli::connect::{Services, patient};
use custody::{
    digest::Digest,
    id::CommandId,
    ledger::{checkpoint::Checkpoint, entry::Entry, tree::Frontier},
};
use proto::v1;

use crate::common::{Desk, done, tool, wire::Hand};

/// What is known of the log.
pub struct Truth {
    reader: Hand,
    /// As they were read, from the first on.
    entries: Vec<Vec<u8>>,
    /// The root of the first so many of them.
    roots: Vec<Digest>,
    frontier: Frontier,
    acknowledged: BTreeMap<u64, Vec<u8>>,
    /// Every signed checkpoint that was seen, by size.
    checkpoints: BTreeMap<u64, Digest>,
    largest: u64,
}

impl Truth {
    pub fn new(desk: &Desk) -> Self {
        let frontier = Frontier::new();
        Self {
            reader: Hand::of(desk, "admin"),
            entries: Vec::new(),
            roots: vec![frontier.root()],
            frontier,
            acknowledged: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            largest: 0,
        }
    }

    /// The coordinator said that this is durable at this index.
    pub fn acknowledged(&mut self, index: u64, entry: &Entry) {
        let before = self.acknowledged.insert(index, entry.bytes().to_vec());
        assert!(
            before.is_none_or(|before| before == entry.bytes()),
            "two things were acknowledged at index {index}"
        );
    }

    /// A signed checkpoint was seen. Later ones are never smaller.
    fn saw(&mut self, note: &[u8]) {
        let seen = Checkpoint::open(note, self.reader.verifier()).unwrap();
        assert!(
            seen.size >= self.largest,
            "the log went back from {} entries to {}",
            self.largest,
            seen.size
        );
        self.largest = seen.size;
        let before = self.checkpoints.insert(seen.size, seen.root);
        assert!(
            before.is_none_or(|root| root == seen.root),
            "two histories of {} entries were signed",
            seen.size
        );
    }

    /// Looks at the checkpoint that is public in the log's folder.
    pub fn look(&mut self, desk: &Desk) {
        let note = std::fs::read(desk.at("server/log/checkpoint")).unwrap();
        self.saw(&note);
    }

    /// Reads what is new and compares it with everything that was said of it.
    pub async fn catch_up(&mut self) {
        let services = self.reader.connect().await.unwrap();
        self.read_on(&services).await;
        let mut ledger = services.ledger.clone();
        let asked = ledger.get_checkpoint(patient(v1::GetCheckpointRequest {}));
        let note = asked.await.unwrap().into_inner().note;
        self.saw(&note);
        // It may have grown since the entries were read.
        self.read_on(&services).await;
        self.compare();
    }

    async fn read_on(&mut self, services: &Services) {
        loop {
            let asked = v1::ListEntriesRequest {
                first: self.entries.len() as u64,
                count: 100_000,
            };
            let mut ledger = services.ledger.clone();
            let mut stream = ledger.list_entries(asked).await.unwrap().into_inner();
            let before = self.entries.len();
            while let Some(answer) = stream.message().await.unwrap() {
                assert_eq!(answer.index, self.entries.len() as u64);
                let entry = Entry::parse(&answer.entry).unwrap();
                self.frontier.push(entry.leaf_hash());
                self.roots.push(self.frontier.root());
                self.entries.push(answer.entry.to_vec());
            }
            if self.entries.len() == before {
                return;
            }
        }
    }

    fn compare(&self) {
        for (index, entry) in &self.acknowledged {
            let found = self.entries.get(usize::try_from(*index).unwrap());
            assert_eq!(
                found,
                Some(entry),
                "entry {index} was acknowledged and is not there"
            );
        }
        for (size, root) in &self.checkpoints {
            let found = self.roots.get(usize::try_from(*size).unwrap());
            assert_eq!(
                found,
                Some(root),
                "a checkpoint of {size} entries was signed over others"
            );
        }
    }

    /// Reads everything again, from the first entry.
    pub async fn read_again(&mut self) {
        let before = std::mem::take(&mut self.entries);
        self.frontier = Frontier::new();
        self.roots.truncate(1);
        self.catch_up().await;
        assert!(self.entries.starts_with(&before));
    }

    /// Each of these statements stands exactly once, and no other stands twice.
    pub fn each_once(&self, said: &[CommandId]) {
        let mut found = BTreeSet::new();
        for entry in &self.entries {
            let statement = Entry::parse(entry).unwrap().statement().unwrap();
            assert!(
                found.insert(statement.id),
                "{} was done twice",
                statement.id
            );
        }
        for id in said {
            assert!(found.contains(id), "{id} was retried and is not done");
        }
    }

    /// Every checkpoint that was kept is one of this very history.
    pub fn every_checkpoint_kept(&self, desk: &Desk) {
        let mut kept = 0;
        for file in std::fs::read_dir(desk.at("server/checkpoints")).unwrap() {
            let path = file.unwrap().path();
            // What a kill left half-written has another name.
            if path.extension().is_some() {
                continue;
            }
            let note = std::fs::read(&path).unwrap();
            let checkpoint = Checkpoint::open(&note, self.reader.verifier()).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(name, checkpoint.size.to_string());
            let size = usize::try_from(checkpoint.size).unwrap();
            assert_eq!(self.roots[size], checkpoint.root, "checkpoint {size}");
            kept += 1;
        }
        assert!(kept >= self.checkpoints.len());
    }

    /// The folder that is left passes the coordinator's own check and the stranger's.
    pub fn holds_to_the_end(&self, desk: &Desk) {
        assert!(desk.replay().contains("everything is as the entries say"));
        let mut verify = tool();
        verify.arg("verify").arg(desk.at("server/log"));
        verify.args(["--vkey", &self.reader.verifier().to_string()]);
        done(&mut verify);
    }

    /// The entries as they were read.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries
            .iter()
            .map(|bytes| Entry::parse(bytes).unwrap())
    }

    pub fn summary(&self) -> String {
        format!(
            "{} entries, {} acknowledged, {} checkpoints seen",
            self.entries.len(),
            self.acknowledged.len(),
            self.checkpoints.len()
        )
    }
}

//! What a log publishes: its files, checkpoints, proofs and receipts.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    digest::Digest,
    ledger::{
        checkpoint::Checkpoint,
        proof::LogProof,
        tile::{self, WIDTH},
        tree::{self, Nodes as _},
    },
    statement::Body,
    verify::receipt::{FORMAT, ProvedEntry, Receipt, ShownOpening},
};

use super::{Log, ORIGIN, release};

impl Log {
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

/// Writes files below a folder.
pub fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

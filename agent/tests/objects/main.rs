//! Holds in an object store, against a real S3-compatible server with Object Lock: moto's, driven
//! by boto3, the client that is not ours.
//!
//! What that server does not enforce, and a store must: it lets versioning be suspended on a bucket
//! with Object Lock, after which an overwrite destroys a held version (S3 refuses to suspend it);
//! it never runs lifecycle rules; it lists delete markers behind all versions of a page; it
//! forgets everything when it ends. What is lost so is found by the check, and that is asserted.
//! A delete by version, also by a list and also with governance bypassed, it refuses.
//!
//! hold: what is held, and what came later. reasons: overlaps, narrowing, holds of others. force:
//! every way to lose a version. refused: what cannot be held or proved. rows: manifests.
//! case: releases, and a whole case through the agent.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/coordinator.rs"]
mod coordinator;
#[path = "../common/s3.rs"]
mod s3;
#[path = "../common/stage.rs"]
mod stage;

mod case;
mod force;
mod hold;
mod reasons;
mod refused;
mod rows;

use std::{path::Path, sync::OnceLock};

use agent::enforce::{
    Found, HoldTrouble, Keeper, Progress, Raised,
    objects::{Objects, StoreConfig},
};
use custody::{house::regime::Holding, id::TargetId};
use s3::S3;

/// One store for all tests that need nothing special of it.
pub fn store(test: &str) -> Option<&'static S3> {
    static STORE: OnceLock<Option<S3>> = OnceLock::new();
    STORE.get_or_init(|| S3::start(test, &[])).as_ref()
}

pub fn target(n: u8) -> TargetId {
    TargetId::from_random([n; 16])
}

/// An agent's holds, in a folder of their own.
pub struct Agent {
    pub folder: tempfile::TempDir,
    pub config: StoreConfig,
}

impl Agent {
    pub fn new(config: StoreConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, config }
    }

    /// As after a start: everything is read from disk. Pages are short, so that there are many.
    pub fn keeper(&self) -> Keeper {
        let mut keeper = Keeper::open(&self.folder.path().join("holds"), Vec::new()).unwrap();
        keeper.with_objects(Objects::new(vec![self.config.clone()]).with_page(3));
        keeper
    }

    pub fn raise(&self, n: u8, path: &str) -> Result<Raised, HoldTrouble> {
        let (path, progress) = (Path::new(path), Progress::default());
        self.keeper()
            .raise(target(n), path, Holding::Preserve, &progress)
    }

    pub fn check(&self, n: u8) -> Vec<Found> {
        self.keeper()
            .check(target(n), &Progress::default())
            .unwrap()
    }

    pub fn proved(&self, n: u8) -> bool {
        let proof = self.keeper().prove(target(n), &Progress::default());
        proof.unwrap().holds()
    }

    pub fn lower(&self, n: u8) -> (u64, u64) {
        let lowered = self
            .keeper()
            .lower(target(n), &Progress::default())
            .unwrap();
        (lowered.freed, lowered.kept)
    }
}

pub fn places(found: &Found) -> Vec<String> {
    let text = |place: &Vec<u8>| String::from_utf8(place.clone()).unwrap();
    found.places.iter().map(text).collect()
}

//! The shelf: every opening that is there, unsealed, in memory.
//!
//! Decisions ask for openings in the middle of pure functions, so they cannot wait for a
//! database. Memory grows with the names, places and claimed items that the house knows, as the
//! state itself does; never with entries or files. An erased subject's openings leave at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use anyhow::Context as _;
use custody::{
    commit::{Commitment, Opening},
    house::Openings,
    id::SubjectId,
};
use futures::TryStreamExt as _;

use crate::{
    clock,
    journal::{Journal, seal},
};

/// The word under which the house's own openings are kept.
pub(super) const HOUSE: &str = "";

/// An opening and whose it is.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) opening: Opening,
    /// The subject's id; empty for the house.
    pub(super) subject: String,
}

#[derive(Default)]
struct Inside {
    openings: HashMap<Commitment, Held>,
    keys: HashMap<String, [u8; 32]>,
}

/// All openings. Clones share them.
#[derive(Clone, Default)]
pub struct Shelf(Arc<RwLock<Inside>>);

impl Shelf {
    /// Reads every opening of the journal; makes the house's key where there is none.
    pub(super) async fn load(journal: &Journal) -> anyhow::Result<Self> {
        let mut inside = Inside {
            keys: journal.keys().await?.into_iter().collect(),
            ..Inside::default()
        };
        if !inside.keys.contains_key(HOUSE) {
            let key = clock::random()?;
            journal.store_key(HOUSE, &key).await?;
            inside.keys.insert(HOUSE.to_owned(), key);
        }
        let mut kept = std::pin::pin!(journal.openings());
        while let Some(kept) = kept.try_next().await? {
            // Without its key it is erased.
            let Some(key) = inside.keys.get(&kept.subject) else {
                continue;
            };
            let opening = seal::unseal(key, &kept.subject, &kept.commitment, &kept.sealed)
                .context("the journal's openings are damaged: restore them from a backup")?;
            let subject = kept.subject;
            inside
                .openings
                .insert(kept.commitment, Held { opening, subject });
        }
        Ok(Self(Arc::new(RwLock::new(inside))))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inside> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inside> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One opening, whole.
    pub fn opening(&self, commitment: &Commitment) -> Option<Opening> {
        let inside = self.read();
        Some(inside.openings.get(commitment)?.opening.clone())
    }

    pub(super) fn key(&self, subject: &str) -> Option<[u8; 32]> {
        self.read().keys.get(subject).copied()
    }

    /// Takes up what a committed batch brought and erased.
    pub(super) fn take_up(&self, overlay: Overlay) {
        if overlay.is_empty() {
            return;
        }
        let mut inside = self.write();
        if !overlay.erased.is_empty() {
            inside
                .keys
                .retain(|subject, _| !overlay.erased.contains(subject));
            inside
                .openings
                .retain(|_, held| !overlay.erased.contains(&held.subject));
        }
        inside.keys.extend(overlay.keys);
        for (commitment, held) in overlay.openings {
            inside.openings.entry(commitment).or_insert(held);
        }
    }
}

impl Openings for Shelf {
    fn open(&self, commitment: &Commitment) -> Option<Vec<u8>> {
        let inside = self.read();
        Some(inside.openings.get(commitment)?.opening.value.clone())
    }
}

/// What a batch that is not committed yet brings and erases.
#[derive(Default)]
pub(super) struct Overlay {
    openings: HashMap<Commitment, Held>,
    keys: HashMap<String, [u8; 32]>,
    erased: HashSet<String>,
}

impl Overlay {
    fn is_empty(&self) -> bool {
        self.openings.is_empty() && self.erased.is_empty() && self.keys.is_empty()
    }

    /// The key of a subject, as things will stand after this batch; made where there is none.
    pub(super) fn key_for(&mut self, shelf: &Shelf, subject: &str) -> anyhow::Result<[u8; 32]> {
        if let Some(key) = self.keys.get(subject) {
            return Ok(*key);
        }
        let stands = (!self.erased.contains(subject))
            .then(|| shelf.key(subject))
            .flatten();
        if let Some(key) = stands {
            return Ok(key);
        }
        let key = clock::random()?;
        self.keys.insert(subject.to_owned(), key);
        Ok(key)
    }

    /// Whether this commitment can be opened already, as things will stand after this batch.
    pub(super) fn has(&self, shelf: &Shelf, commitment: &Commitment) -> bool {
        self.openings.contains_key(commitment) || self.below(shelf, commitment).is_some()
    }

    fn below(&self, shelf: &Shelf, commitment: &Commitment) -> Option<Opening> {
        let inside = shelf.read();
        let held = inside.openings.get(commitment)?;
        (!self.erased.contains(&held.subject)).then(|| held.opening.clone())
    }

    pub(super) fn add(&mut self, commitment: Commitment, held: Held) {
        self.openings.entry(commitment).or_insert(held);
    }

    pub(super) fn erase(&mut self, subject: &SubjectId) {
        let subject = subject.to_string();
        self.keys.remove(&subject);
        self.openings.retain(|_, held| held.subject != subject);
        self.erased.insert(subject);
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&String, &[u8; 32])> {
        self.keys.iter()
    }
}

/// What can be opened while one statement of a batch is decided.
pub(super) struct View<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) overlay: &'a Overlay,
    /// What came with the statement itself.
    pub(super) own: &'a [(Commitment, Opening)],
}

impl Openings for View<'_> {
    fn open(&self, commitment: &Commitment) -> Option<Vec<u8>> {
        if let Some((_, own)) = self.own.iter().find(|(c, _)| c == commitment) {
            return Some(own.value.clone());
        }
        if let Some(held) = self.overlay.openings.get(commitment) {
            return Some(held.opening.value.clone());
        }
        Some(self.overlay.below(self.shelf, commitment)?.value)
    }
}

//! Checking and proving: whether all that is on the list is there, as it was, and held.
//!
//! What was written later is no finding: life goes on beside a hold. Every version is one
//! request, so a check of a million of them is a million; the store may charge for each.

use std::{collections::HashMap, path::Path};

use custody::house::finding::FindingKind;

use super::{
    bucket::{Listing, ready},
    calls::{Hold, Listed},
    canary,
    job::{BATCH, ObjectJob},
    list::{Held, Reader},
    trouble::StoreTrouble,
};
use crate::enforce::{
    attempt::TRIED,
    found::{Found, Sightings, findings, vanished},
    record::{Proof, Record},
    trouble::HoldTrouble,
};

/// What a check has seen so far.
#[derive(Default)]
struct Seen {
    gone: Sightings,
    changed: Sightings,
}

impl ObjectJob<'_> {
    /// Looks for what is not as it was when it was held.
    pub fn check(&self, record: &Record) -> Result<Vec<Found>, HoldTrouble> {
        self.block(async {
            let mut unprotected = None;
            match ready(&self.client).await {
                Ok(_) => {}
                Err(StoreTrouble::NoBucket) => {
                    return Ok(vanished(&self.name.path, record.things));
                }
                // Nothing that is on is worth much now, and what is on is looked at all the same.
                Err(StoreTrouble::NoVersioning { .. } | StoreTrouble::NoObjectLock) => {
                    unprotected = Some(Found::at(FindingKind::ProtectionGone, &self.name.store));
                }
                Err(trouble) => return Err(trouble.into()),
            }
            let seen = self.compare(record).await?;
            let found = findings(seen.gone, seen.changed, 0);
            Ok(unprotected.into_iter().chain(found).collect())
        })
    }

    async fn compare(&self, record: &Record) -> Result<Seen, HoldTrouble> {
        let mut list = Reader::open(&self.list(), record.origins)?;
        let mut listing = Listing::new(&self.client, &self.name);
        let (seen, mut batch) = (Seen::default(), Vec::new());
        let mut now = listing.group().await?;
        loop {
            let held = list.group()?;
            let Some(key) = held.first().map(|first| first.key.clone()) else {
                break;
            };
            while now.first().is_some_and(|first| first.key < key) {
                now = listing.group().await?;
            }
            let here = now.first().is_some_and(|first| first.key == key);
            let there: HashMap<&str, &Listed> = match here {
                true => now.iter().map(|one| (one.id.as_str(), one)).collect(),
                false => HashMap::new(),
            };
            // Markers come and go with the customer's service, and protect nothing.
            for held in held.into_iter().filter(|held| !held.marker) {
                match there.get(held.id.as_str()) {
                    Some(one) if one.etag == held.etag && one.size == held.size => batch.push(held),
                    _ => self.note(&seen.changed, &held),
                }
            }
            if batch.len() >= BATCH {
                self.are_held(std::mem::take(&mut batch), &seen).await?;
            }
        }
        self.are_held(batch, &seen).await?;
        Ok(seen)
    }

    fn note(&self, sightings: &Sightings, held: &Held) {
        let place = self.name.shown(&held.key, &held.id, held.current);
        // It is whole already.
        let place = place.strip_prefix(b"/").unwrap_or(&place);
        sightings.note(Path::new(""), place);
    }

    async fn are_held(&self, batch: Vec<Held>, seen: &Seen) -> Result<(), HoldTrouble> {
        let asked = self.each(batch, |held| async move {
            let hold = match self.client.legal_hold(&held.key, &held.id).await {
                Ok(hold) => Some(hold),
                Err(StoreTrouble::Gone) => None,
                Err(trouble) => return Err(trouble),
            };
            Ok((held, hold))
        });
        for (held, hold) in asked.await? {
            match hold {
                Some(Hold::On) => {}
                Some(Hold::Off) => self.note(&seen.gone, &held),
                None => self.note(&seen.changed, &held),
            }
        }
        Ok(())
    }

    /// Proves a hold: the flags of a spread of versions read as set, and the store keeps what is
    /// under such a flag from everything that could remove it.
    pub fn prove(&self, record: &Record) -> Result<Proof, HoldTrouble> {
        self.block(async {
            let lock = ready(&self.client).await?;
            let mut proof = Proof::default();
            let mut list = Reader::open(&self.list(), record.origins)?;
            let every = record.things.div_ceil(TRIED).max(1);
            let (mut position, mut batch) = (0_u64, Vec::new());
            while let Some(held) = list.held()? {
                if position.is_multiple_of(every) && !held.marker {
                    batch.push(held);
                }
                position += 1;
            }
            let asked = self.each(batch, |held| async move {
                match self.client.legal_hold(&held.key, &held.id).await {
                    Ok(hold) => Ok(Some(hold == Hold::On)),
                    // A finding, and no matter of what is left.
                    Err(StoreTrouble::Gone) => Ok(None),
                    Err(trouble) => Err(trouble),
                }
            });
            for on in asked.await?.into_iter().flatten() {
                proof.attempts += 1;
                proof.refused += u64::from(on);
            }
            self.progress.step()?;
            match canary::fly(self, lock).await {
                Ok(outcome) => {
                    proof.attempts += outcome.attempts + 1;
                    proof.refused += outcome.stood + u64::from(outcome.freed);
                    if outcome.stood < outcome.attempts {
                        tracing::error!(
                            attempts = outcome.attempts,
                            stood = outcome.stood,
                            "the store does not keep what is under legal hold: nothing in it is \
                             held. Ask its maker, or keep a copy elsewhere"
                        );
                    } else if !outcome.freed {
                        tracing::warn!(
                            "the agent's key may not delete the object on which enforcement is \
                             proved, so its refusals prove nothing. Allow s3:DeleteObjectVersion \
                             on PREFIX.holdfast-proof/*"
                        );
                    }
                }
                Err(StoreTrouble::Denied { doing, code }) => {
                    proof.attempts += 1;
                    tracing::warn!(
                        doing,
                        code,
                        "the store forbids the proof. Allow it on PREFIX.holdfast-proof/*"
                    );
                }
                Err(trouble) => return Err(trouble.into()),
            }
            Ok(proof)
        })
    }
}

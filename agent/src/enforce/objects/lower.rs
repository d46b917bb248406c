//! Lowering: takes our legal hold off every version that no other target holds.
//!
//! A hold that was there before us stays, and so does one that another list names. What it
//! counts depends on the lists alone, so it comes to the same after a crash in the middle.

use super::{
    calls::Hold,
    job::{BATCH, ObjectJob},
    list::{Held, Reader},
    trouble::StoreTrouble,
};
use crate::enforce::{
    record::{Lowered, Phase, Record},
    trouble::HoldTrouble,
};

/// What becomes of a version on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    /// It is not meant.
    No,
    /// Its reason here goes, and others stay.
    Kept,
    /// Its last reason goes.
    Yes,
}

impl ObjectJob<'_> {
    /// Takes this target's reason away.
    pub fn lower(&self, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        if record.phase == Phase::Planned {
            return Ok(Lowered::default());
        }
        if record.phase != Phase::Lowering {
            record.phase = Phase::Lowering;
            self.progress.step()?;
            self.store.put(record)?;
        }
        self.block(self.free_all(record, |_, needed| match needed {
            true => Free::Kept,
            false => Free::Yes,
        }))
    }

    /// Takes holds off where `decide` says so of a version, and of whether others need it.
    pub(super) async fn free_all(
        &self,
        record: &Record,
        decide: impl Fn(&Held, bool) -> Free,
    ) -> Result<Lowered, HoldTrouble> {
        let mut sorted = Sorted::open(self, record)?;
        let (mut lowered, mut batch) = (Lowered::default(), Vec::new());
        while let Some(group) = sorted.next()? {
            for (held, needed) in group {
                match decide(&held, needed) {
                    Free::No => {}
                    Free::Kept => lowered.kept += 1,
                    Free::Yes => batch.push(held),
                }
            }
            if batch.len() >= BATCH {
                self.free(std::mem::take(&mut batch), &mut lowered).await?;
            }
        }
        self.free(batch, &mut lowered).await?;
        Ok(lowered)
    }

    async fn free(&self, batch: Vec<Held>, lowered: &mut Lowered) -> Result<(), HoldTrouble> {
        let freed = self.each(batch, |held| async move {
            let off = self.client.set_legal_hold(&held.key, &held.id, Hold::Off);
            match off.await {
                Ok(()) => Ok(1),
                // There is nothing left to free.
                Err(StoreTrouble::Gone) => Ok(0),
                Err(trouble) => Err(trouble),
            }
        });
        lowered.freed += freed.await?.into_iter().sum::<u64>();
        Ok(())
    }
}

/// The versions of a list with whether they stay held when their reason here goes.
pub(super) struct Sorted {
    list: Reader,
    others: Vec<Reader>,
}

impl Sorted {
    pub(super) fn open(job: &ObjectJob<'_>, record: &Record) -> Result<Self, StoreTrouble> {
        let stands = |phase| matches!(phase, Phase::Raising | Phase::Raised | Phase::Narrowing);
        Ok(Self {
            list: Reader::open(&job.list(), record.origins)?,
            others: job.lists(stands)?,
        })
    }

    /// Those of the next key that can be held; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<(Held, bool)>>, StoreTrouble> {
        let group = self.list.group()?;
        let Some(key) = group.first().map(|first| first.key.clone()) else {
            return Ok(None);
        };
        let mut needed = Vec::new();
        for other in &mut self.others {
            needed.extend(other.of_key(&key)?.into_iter().map(|held| held.id));
        }
        needed.sort_unstable();
        let group = group.into_iter().filter(|held| !held.marker);
        let sorted = group.map(|held| {
            let stays = held.theirs || needed.binary_search(&held.id).is_ok();
            (held, stays)
        });
        Ok(Some(sorted.collect()))
    }
}

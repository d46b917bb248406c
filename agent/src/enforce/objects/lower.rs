//! Lowering: takes our legal hold off every version that no other target holds.
//!
//! A hold that was there before us stays, and so does one that another list names. What it
//! counts depends on the lists alone, so it comes to the same after a crash in the middle.

use super::{
    calls::Hold,
    job::{BATCH, ObjectJob, block},
    list::{Held, Reader},
    trouble::StoreTrouble,
};
use crate::enforce::{
    record::{Lowered, Phase, Record},
    trouble::HoldTrouble,
};

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
        block(self.free_all(record))
    }

    async fn free_all(&self, record: &Record) -> Result<Lowered, HoldTrouble> {
        let mut list = Reader::open(&self.list(), record.origins)?;
        let stands = |phase| matches!(phase, Phase::Raising | Phase::Raised);
        let mut others = self.lists(stands)?;
        let (mut lowered, mut batch) = (Lowered::default(), Vec::new());
        loop {
            let group = list.group()?;
            let Some(key) = group.first().map(|first| first.key.clone()) else {
                break;
            };
            let mut needed = Vec::new();
            for other in &mut others {
                needed.extend(other.of_key(&key)?.into_iter().map(|held| held.id));
            }
            needed.sort_unstable();
            for held in group.into_iter().filter(|held| !held.marker) {
                if held.theirs || needed.binary_search(&held.id).is_ok() {
                    lowered.kept += 1;
                } else {
                    batch.push(held);
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
            let off = self
                .client
                .set_legal_hold(&held.key, &held.id, Hold::Off)
                .await;
            match off {
                Ok(()) => Ok(1),
                Err(StoreTrouble::Gone) => Ok(0),
                Err(trouble) => Err(trouble),
            }
        });
        lowered.freed += freed.await?.into_iter().sum::<u64>();
        Ok(())
    }
}

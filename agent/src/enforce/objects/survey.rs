//! Surveys: what a target has at the moment of its hold, and which of it others hold already.
//!
//! One flag a version says nothing of who set it. A flag that is found is ours if another target
//! of ours says in its list that it set it; all others were there before us. What somebody else
//! sets between the survey and our own setting cannot be told from ours.

use std::collections::HashMap;

use super::{
    bucket::{Listing, ready},
    calls::{Hold, Listed},
    job::{BATCH, ObjectJob},
    list::{Counts, Held, Reader, Writer},
    trouble::StoreTrouble,
};
use crate::enforce::{
    plan::Plan,
    record::{Phase, Record},
    trouble::HoldTrouble,
};

/// A second: the store's clock is read no finer.
pub(super) const SECOND: i64 = 1_000_000_000;

impl ObjectJob<'_> {
    /// Says what raising would do. With `count` it lists the target; it changes nothing.
    pub fn plan(&self, count: bool) -> Result<Plan, HoldTrouble> {
        self.block(async {
            ready(&self.client).await?;
            let (mut versions, mut bytes, mut markers) = (0_u64, 0_u64, 0_u64);
            let mut listing = Listing::new(&self.client, &self.name);
            while let Some(listed) = listing.next().await? {
                self.progress.step()?;
                markers += u64::from(listed.marker);
                versions += u64::from(!listed.marker);
                bytes = bytes.saturating_add(listed.size);
                if !count {
                    break;
                }
            }
            if versions + markers == 0 {
                return Err(HoldTrouble::NotFound);
            }
            Ok(Plan {
                mechanism: custody::house::mechanism::Mechanism::ObjectLock,
                file_system: super::raise::FILE_SYSTEM.to_owned(),
                does_not_prevent: super::raise::limits(markers, 0),
                files: count.then_some(versions),
                bytes: count.then_some(bytes),
                needs: 0,
                free: None,
                because: "it lies in an object store with versioning and Object Lock".to_owned(),
            })
        })
    }

    /// Makes the list, and the record says that holds may stand from here on.
    pub fn survey(&self, record: &mut Record) -> Result<Counts, HoldTrouble> {
        let counts = self.block(self.list_all())?;
        record.origins = Some(counts.digest);
        record.things = counts.versions + counts.markers;
        record.phase = Phase::Raising;
        self.progress.step()?;
        self.store.put(record)?;
        Ok(counts)
    }

    async fn list_all(&self) -> Result<Counts, HoldTrouble> {
        ready(&self.client).await?;
        let mut ours = Ours::new(self)?;
        let mut listing = Listing::new(&self.client, &self.name);
        let first = listing.group().await?;
        let as_of_ns = listing.time_ns.ok_or(StoreTrouble::Nonsense {
            doing: "listing versions (s3:ListBucketVersions)",
            why: "it has no date",
        })?;
        let mut writer = Writer::create(&self.list(), as_of_ns)?;
        let mut batch = Vec::new();
        let mut group = first;
        while !group.is_empty() {
            // Its times may be finer than its clock: what is of the same second counts.
            group.retain(|listed| listed.modified_ns < as_of_ns + SECOND);
            for (position, listed) in group.into_iter().enumerate() {
                batch.push((listed, position == 0));
            }
            if batch.len() >= BATCH {
                self.keep(std::mem::take(&mut batch), &mut ours, &mut writer)
                    .await?;
            }
            group = listing.group().await?;
        }
        self.keep(batch, &mut ours, &mut writer).await?;
        let counts = writer.finish()?;
        if counts.versions + counts.markers == 0 {
            return Err(HoldTrouble::NotFound);
        }
        Ok(counts)
    }

    /// Adds a batch to the list, once it is known which of it is held already.
    async fn keep(
        &self,
        batch: Vec<(Listed, bool)>,
        ours: &mut Ours,
        writer: &mut Writer,
    ) -> Result<(), HoldTrouble> {
        let asked = self.each(batch, |(listed, current)| async move {
            let held = !listed.marker
                && match self.client.legal_hold(&listed.key, &listed.id).await {
                    Ok(hold) => hold == Hold::On,
                    // Deleted while we came; what follows finds that too, and says so.
                    Err(StoreTrouble::Gone) => false,
                    Err(trouble) => return Err(trouble),
                };
            Ok((listed, current, held))
        });
        for (listed, current, held) in asked.await? {
            let theirs = held && !ours.set(&listed.key, &listed.id)?;
            writer.push(&Held::of(listed, current, theirs))?;
        }
        Ok(())
    }
}

/// What the lists of overlapping targets say that we set. Keys are asked for in order.
struct Ours {
    lists: Vec<Reader>,
    key: String,
    set: HashMap<String, bool>,
}

impl Ours {
    fn new(job: &ObjectJob<'_>) -> Result<Self, StoreTrouble> {
        // While one is lowered, some of its flags are still there, and ours.
        let may_stand = |phase| {
            use Phase::{Lowering, Narrowing, Raised, Raising};
            matches!(phase, Raising | Raised | Narrowing | Lowering)
        };
        Ok(Self {
            lists: job.lists(may_stand)?,
            key: String::new(),
            set: HashMap::new(),
        })
    }

    fn set(&mut self, key: &str, id: &str) -> Result<bool, StoreTrouble> {
        if self.key != key {
            key.clone_into(&mut self.key);
            self.set.clear();
            for list in &mut self.lists {
                for held in list.of_key(key)? {
                    *self.set.entry(held.id).or_default() |= !held.theirs;
                }
            }
        }
        Ok(self.set.get(id).copied().unwrap_or(false))
    }
}

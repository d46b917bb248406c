//! Narrowing: parts of a target leave its hold, and its list.
//!
//! Order: the record says what leaves, then the holds come off, then the list without them takes
//! the old one's place, then the record says that it is done. After a crash it goes on.

use std::collections::BTreeSet;

use super::{
    bucket::Listing,
    job::{BATCH, ObjectJob},
    list::{Held, Reader, Writer},
    lower::{Free, Sorted},
    survey::SECOND,
};
use crate::enforce::{
    after::{After, Later},
    job::is_below,
    narrow::{Amount, Weighed},
    record::{Lowered, Record},
    trouble::HoldTrouble,
};

/// The most versions that are looked at to say what came later.
const MOST: u64 = 100_000;

impl ObjectJob<'_> {
    /// Whether a version lies below one of these paths below the target.
    fn is_in(&self, held: &Held, leave: &[Vec<u8>]) -> bool {
        let inside = held.key.strip_prefix(&self.name.below);
        inside.is_some_and(|inside| leave.iter().any(|left| is_below(inside.as_bytes(), left)))
    }

    /// Says what would leave, from the lists alone.
    pub fn weigh(
        &self,
        record: &Record,
        leave: &BTreeSet<Vec<u8>>,
    ) -> Result<Weighed, HoldTrouble> {
        let leave: Vec<_> = leave.iter().cloned().collect();
        let add = |amount: &mut Amount, held: &Held| {
            amount.files += 1;
            amount.bytes = amount.bytes.saturating_add(held.size);
        };
        let mut weighed = Weighed::default();
        let mut sorted = Sorted::open(self, record)?;
        while let Some(group) = sorted.next()? {
            self.progress.step()?;
            for (held, needed) in group {
                match (self.is_in(&held, &leave), needed) {
                    (false, _) => add(&mut weighed.staying, &held),
                    (true, true) => add(&mut weighed.kept, &held),
                    (true, false) => add(&mut weighed.leaving, &held),
                }
            }
        }
        Ok(weighed)
    }

    /// Lets what the record says leave.
    pub fn narrow(&self, record: &mut Record) -> Result<Lowered, HoldTrouble> {
        let left = record.left.clone();
        let lowered = self.block(self.free_all(record, |held, needed| {
            match (self.is_in(held, &left), needed) {
                (false, _) => Free::No,
                (true, true) => Free::Kept,
                (true, false) => Free::Yes,
            }
        }))?;
        let mut list = Reader::open(&self.list(), record.origins)?;
        let mut writer = Writer::create(&self.list(), list.head.as_of_ns)?;
        loop {
            let batch = list.some(BATCH)?;
            if batch.is_empty() {
                break;
            }
            for held in batch.iter().filter(|held| !self.is_in(held, &left)) {
                writer.push(held)?;
            }
        }
        self.replace_list(record, writer)?;
        // It was weighed under the same lists. What left the list before a crash is in it too.
        let weighed = record.narrowed.as_ref().map(|(_, weighed)| *weighed);
        Ok(weighed.unwrap_or(lowered))
    }

    /// What came after the moment that is held.
    pub fn after(&self, record: &Record) -> Result<After, HoldTrouble> {
        let as_of_ns = Reader::open(&self.list(), record.origins)?.head.as_of_ns;
        let (mut things, mut seen) = (0, 0);
        self.block(async {
            let mut listing = Listing::new(&self.client, &self.name);
            while seen < MOST
                && let Some(listed) = listing.next().await?
            {
                self.progress.step()?;
                seen += 1;
                things += u64::from(listed.modified_ns >= as_of_ns + SECOND);
            }
            Ok(())
        })?;
        let later = match (seen, things) {
            (0, _) => Later::Gone,
            (MOST.., things) => Later::Changed { things, all: false },
            (_, 0) => Later::Unchanged,
            (_, things) => Later::Changed { things, all: true },
        };
        Ok(After {
            mechanism: record.mechanism,
            as_of_ns,
            later,
        })
    }
}

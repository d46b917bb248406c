//! Raising: a legal hold on every version of the list, and again on those that lost theirs.
//!
//! Order: the list on disk, the record says `raising`, then the holds, then the record says
//! `raised`. After a crash the holds are set again; setting one twice changes nothing.

use custody::house::mechanism::Mechanism;

use super::{
    bucket::ready,
    calls::Hold,
    job::{BATCH, ObjectJob},
    list::{Held, Reader, Writer},
    trouble::StoreTrouble,
};
use crate::enforce::{
    record::{Phase, Raised, Record},
    trouble::HoldTrouble,
};

/// What stands where a disk's file system stands.
pub const FILE_SYSTEM: &str = "s3";

/// What Object Lock does not prevent.
pub fn limits(markers: u64, gone: u64) -> Vec<String> {
    let mut limits = vec![
        "whoever may set legal holds in the bucket can take them off; that is found and recorded"
            .to_owned(),
        "what is written later is not held; the newest version of a key can change".to_owned(),
        "tags and access lists of a held version can be changed".to_owned(),
        "whoever may read the objects can see that they are under legal hold".to_owned(),
        "the versions were held one after the other, not all in one moment".to_owned(),
        "the store's owner could remove bucket, account or disks".to_owned(),
    ];
    if markers > 0 {
        limits.push(format!(
            "{markers} delete markers have no content and cannot be held; they are recorded"
        ));
    }
    if gone > 0 {
        limits.push(format!(
            "{gone} versions were deleted before their hold stood"
        ));
    }
    limits
}

/// What was held.
#[derive(Default)]
struct Tally {
    as_of_ns: i64,
    versions: u64,
    bytes: u64,
    markers: u64,
    /// Deleted between the survey and its hold.
    gone: u64,
    /// All of it is the one object that the target names.
    single: bool,
}

impl ObjectJob<'_> {
    /// Holds every version, or goes on with it.
    pub fn raise(&self, record: &mut Record) -> Result<Raised, HoldTrouble> {
        if !matches!(record.phase, Phase::Raising | Phase::Raised) {
            self.survey(record)?;
        }
        let again = record.phase == Phase::Raised;
        let tally = self.block(async {
            ready(&self.client).await?;
            if again {
                self.take_over(record).await?;
            }
            self.hold_all(record, again).await
        })?;
        if let (true, Some(raised)) = (again, &record.raised) {
            return Ok(raised.clone());
        }
        let raised = Raised {
            mechanism: Mechanism::ObjectLock,
            file_system: FILE_SYSTEM.to_owned(),
            does_not_prevent: limits(tally.markers, tally.gone),
            files: tally.versions,
            folders: 0,
            bytes: tally.bytes,
        };
        record.single = tally.single;
        (record.since_ns, record.as_of_ns) = (tally.as_of_ns, tally.as_of_ns);
        record.raised = Some(raised.clone());
        record.phase = Phase::Raised;
        self.progress.step()?;
        self.store.put(record)?;
        Ok(raised)
    }

    /// Where a hold that was others' is gone, ours takes its place: that is written down first.
    async fn take_over(&self, record: &mut Record) -> Result<(), HoldTrouble> {
        let open = || Reader::open(&self.list(), record.origins);
        let (mut list, mut theirs) = (open()?, 0);
        while let Some(held) = list.held()? {
            theirs += u64::from(held.theirs);
        }
        if theirs == 0 {
            return Ok(());
        }
        let mut list = open()?;
        let mut writer = Writer::create(&self.list(), list.head.as_of_ns)?;
        loop {
            let batch = list.some(BATCH)?;
            if batch.is_empty() {
                break;
            }
            let looked = self.each(batch, |mut held| async move {
                if held.theirs {
                    held.theirs = match self.client.legal_hold(&held.key, &held.id).await {
                        Ok(hold) => hold == Hold::On,
                        Err(StoreTrouble::Gone) => true,
                        Err(trouble) => return Err(trouble),
                    };
                }
                Ok(held)
            });
            for held in looked.await? {
                writer.push(&held)?;
            }
        }
        self.replace_list(record, writer)
    }

    /// Puts a list in the place of the one that the record names.
    pub(super) fn replace_list(
        &self,
        record: &mut Record,
        writer: Writer,
    ) -> Result<(), HoldTrouble> {
        // Between the two the record names no digest, so that a crash leaves a list that is read.
        record.origins = None;
        self.store.put(record)?;
        let counts = writer.finish()?;
        record.origins = Some(counts.digest);
        record.things = counts.versions + counts.markers;
        self.store.put(record)
    }

    /// Sets the holds, and counts what stands.
    async fn hold_all(&self, record: &Record, look_first: bool) -> Result<Tally, HoldTrouble> {
        let mut list = Reader::open(&self.list(), record.origins)?;
        let mut tally = Tally {
            as_of_ns: list.head.as_of_ns,
            single: true,
            ..Tally::default()
        };
        loop {
            let batch = list.some(BATCH)?;
            if batch.is_empty() {
                return Ok(tally);
            }
            let set = self.each(batch, |held| async move {
                let gone = match self.hold_one(&held, look_first).await {
                    Err(StoreTrouble::Gone) => true,
                    held => held.map(|()| false)?,
                };
                Ok((held, gone))
            });
            for (held, gone) in set.await? {
                tally.single &= self.name.exact.as_deref() == Some(held.key.as_str());
                if held.marker {
                    tally.markers += 1;
                } else if gone {
                    tally.gone += 1;
                } else {
                    tally.versions += 1;
                    tally.bytes = tally.bytes.saturating_add(held.size);
                }
            }
        }
    }

    async fn hold_one(&self, held: &Held, look_first: bool) -> Result<(), StoreTrouble> {
        if held.marker || held.theirs {
            return Ok(());
        }
        if look_first && self.client.legal_hold(&held.key, &held.id).await? == Hold::On {
            return Ok(());
        }
        self.client
            .set_legal_hold(&held.key, &held.id, Hold::On)
            .await
    }
}

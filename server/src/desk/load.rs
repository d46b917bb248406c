//! Loads the state: from its records, or, where they are not the whole fold, from the entries.

use anyhow::Context as _;
use custody::house::House;
use futures::TryStreamExt as _;

use crate::{journal::Journal, replay};

/// The state after all `size` entries of the journal.
pub(super) async fn house(journal: &Journal, size: u64) -> anyhow::Result<House> {
    let mut house = House::default();
    if journal.folded().await? == size {
        let mut records = std::pin::pin!(journal.records());
        let mut readable = true;
        while let Some((kind, id, json)) = records.try_next().await? {
            let record = serde_json::from_str(&json);
            readable &= record.is_ok_and(|record| house.restore(&kind, &id, record).is_ok());
        }
        if readable && (house.opened.is_some() || size == 0) {
            return Ok(house);
        }
    }
    tracing::warn!(
        size,
        "the records are not the fold of the entries: they are made anew"
    );
    let house = replay::fold(journal, size, &mut |_| {})
        .await
        .context("the entries cannot be folded: run `holdfast-server replay --check`")?;
    let records: Vec<_> = house
        .all()
        .into_iter()
        .map(|(key, record)| (key, record.to_string()))
        .collect();
    journal.replace_records(&records, size).await?;
    Ok(house)
}

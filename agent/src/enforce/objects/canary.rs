//! The canary: an object of our own on which a store must prove that it enforces what it says.
//!
//! A flag that reads as set says nothing of what a delete would do, and a delete that goes
//! through cannot be undone: so none is ever tried on a customer's version. In the same bucket,
//! under `.holdfast-proof/`, an object is written and held, and everything that could remove a
//! version is done to it for real: a delete by version, one that bypasses governance, one by the
//! call for many, an overwrite, and a delete without a version. After each the held version must
//! still be there, byte for byte. Then the hold is taken off and the version deleted: if that is
//! refused too, it was not the hold that protected it, and nothing is proved.
//!
//! Lifecycle rules and the store's own administration cannot be tried from here.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::sleep;

use super::{
    calls::{Hold, Lock},
    job::ObjectJob,
    trouble::StoreTrouble,
};

/// How long a retention lasts that a bucket would else give for years.
const RETENTION: Duration = Duration::from_secs(3);

/// How the attempts went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Attempts made.
    pub attempts: u64,
    /// After how many the version still stood.
    pub stood: u64,
    /// Whether it could be deleted once its hold was off.
    pub freed: bool,
}

/// Ways to get rid of a version.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Overwrite,
    Delete,
    Bypass,
    List,
    Hide,
}

const ALL: [Attempt; 5] = [
    Attempt::Overwrite,
    Attempt::Delete,
    Attempt::Bypass,
    Attempt::List,
    Attempt::Hide,
];

/// Writes, holds, attacks and removes the canary of a target.
pub async fn fly(job: &ObjectJob<'_>, lock: Lock) -> Result<Outcome, StoreTrouble> {
    let key = job.name.proof_key(&job.target.to_string());
    clean(job, &key).await?;
    let body = Bytes::from(format!(
        "Holdfast writes this object to see whether the bucket keeps what is under legal hold. \
         It is removed at once. {}\n",
        job.target
    ));
    // A bucket may keep every new version for years, which would protect it whatever a legal
    // hold does, and leave it behind: a few seconds of its own are waited for instead.
    let retention = lock.default_retention.then_some(RETENTION);
    let id = job.client.put(&key, body.clone(), retention).await?;
    let mut outcome = Outcome::default();
    job.client.set_legal_hold(&key, &id, Hold::On).await?;
    for attempt in ALL {
        outcome.attempts += 1;
        match act(job, attempt, &key, &id, retention).await {
            Err(trouble @ (StoreTrouble::Unreachable { .. } | StoreTrouble::Broken)) => {
                return Err(trouble);
            }
            answered => tracing::debug!(?attempt, ?answered, "tried to remove what is held"),
        }
        outcome.stood += u64::from(is_there(job, &key, &id, &body).await?);
        if let (Attempt::Overwrite, Some(retention)) = (attempt, retention) {
            sleep(retention + Duration::from_secs(2)).await;
        }
    }
    clean(job, &key).await?;
    outcome.freed = !is_there(job, &key, &id, &body).await?;
    Ok(outcome)
}

async fn act(
    job: &ObjectJob<'_>,
    attempt: Attempt,
    key: &str,
    id: &str,
    retention: Option<Duration>,
) -> Result<(), StoreTrouble> {
    let client = &job.client;
    match attempt {
        Attempt::Delete => client.delete(key, Some(id), false).await,
        Attempt::Bypass => client.delete(key, Some(id), true).await,
        Attempt::List => client.delete_by_list(key, id).await.map(|_| ()),
        Attempt::Overwrite => {
            let body = Bytes::from_static(b"overwritten\n");
            client.put(key, body, retention).await.map(|_| ())
        }
        Attempt::Hide => client.delete(key, None, false).await,
    }
}

async fn is_there(
    job: &ObjectJob<'_>,
    key: &str,
    id: &str,
    body: &Bytes,
) -> Result<bool, StoreTrouble> {
    let content = match job.client.content(key, id, 0).await {
        Ok(answer) => answer.into_body().collect().await,
        Err(StoreTrouble::Gone) => return Ok(false),
        Err(trouble) => return Err(trouble),
    };
    let content = content.map_err(|_| StoreTrouble::Broken)?;
    Ok(content.to_bytes() == *body)
}

/// Removes what an attempt left, now or before a crash, as far as the store lets go of it.
async fn clean(job: &ObjectJob<'_>, key: &str) -> Result<(), StoreTrouble> {
    let page = job.client.versions(key, None, 1000).await?;
    for left in page.listed.iter().filter(|left| left.key == key) {
        if !left.marker {
            job.client.set_legal_hold(key, &left.id, Hold::Off).await?;
        }
        match job.client.delete(key, Some(&left.id), false).await {
            Ok(()) | Err(StoreTrouble::Gone) => {}
            Err(trouble @ (StoreTrouble::Unreachable { .. } | StoreTrouble::Broken)) => {
                return Err(trouble);
            }
            Err(trouble) => tracing::debug!(%trouble, "the object of a proof stays"),
        }
    }
    Ok(())
}

//! Uploads: manifests and parcels from the agents that signed for them.
//!
//! What comes is bounded by what was signed, goes on where it stopped, and is checked whole
//! before anybody calls it received. What differs is thrown away and recorded. Nothing is
//! said before it is on disk.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use custody::{
    digest::Digest,
    house::{finding::FindingKind, release, snapshot},
    id::{AgentId, ReleaseId, SnapshotId},
    manifest::leaf::SnapshotKey,
    statement::{Body, Finding, ReleaseSpooled, SnapshotReceived, SnapshotSealed},
};
use proto::v1::{EvidenceKind, UploadChunk};
use tokio::{sync::OwnedMutexGuard, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::check::{self, Verdict};
use crate::{
    app::Coordinator,
    clock, files,
    rpc::status::{self, No, conflict, invalid},
};

mod part;
use part::Part;

/// How long the next chunk may take.
const SILENCE: Duration = Duration::from_secs(60);

/// Uploads under way.
#[derive(Default)]
pub struct Uploads {
    slots: Mutex<HashMap<String, Slot>>,
    /// Parts that this process wrote from their first byte. What an older process left may
    /// have been torn by a crash: nobody is accused of that.
    ours: Mutex<HashSet<String>>,
}

#[derive(Clone, Default)]
struct Slot {
    busy: Arc<tokio::sync::Mutex<()>>,
    newer: CancellationToken,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Uploads {
    /// Takes an upload for one stream. An older stream of the same upload, which may be dead
    /// without knowing, is cut.
    async fn take(&self, name: &str) -> (OwnedMutexGuard<()>, CancellationToken) {
        let slot = {
            let mut slots = locked(&self.slots);
            let slot = slots.entry(name.to_owned()).or_default();
            slot.newer.cancel();
            slot.newer = CancellationToken::new();
            slot.clone()
        };
        (slot.busy.lock_owned().await, slot.newer)
    }

    fn is_ours(&self, name: &str) -> bool {
        locked(&self.ours).contains(name)
    }

    fn begun(&self, name: &str) {
        locked(&self.ours).insert(name.to_owned());
    }

    /// The slot stays: a stream may be waiting for it.
    fn over(&self, name: &str) {
        locked(&self.ours).remove(name);
    }
}

enum What {
    Manifest(SnapshotId, Box<SnapshotSealed>),
    Parcel(ReleaseId),
}

/// An upload that is waited for.
struct Wanted {
    name: String,
    what: What,
    total: u64,
    sha256: Digest,
    part: PathBuf,
    place: PathBuf,
}

enum Known {
    /// It was received whole.
    Complete(u64),
    Wanted(Box<Wanted>),
}

/// What is known of an upload. Only what this agent signed for is taken from it.
fn known(coordinator: &Coordinator, agent: AgentId, kind: i32, id: &str) -> Result<Known, No> {
    let data = &coordinator.data;
    let house = coordinator.desk.house();
    let wanted = |name: String, what, total, sha256, place| {
        let part = data.spool().join(format!("{name}.part"));
        Ok(Known::Wanted(Box::new(Wanted {
            name,
            what,
            total,
            sha256,
            part,
            place,
        })))
    };
    match EvidenceKind::try_from(kind) {
        Ok(EvidenceKind::Manifest) => {
            let id: SnapshotId = status::id(id)?;
            let found = house.snapshots.get(&id).filter(|s| s.agent == agent);
            let found = found.ok_or_else(|| status::unknown(id))?;
            match (&found.sealed, found.state) {
                (Some(sealed), snapshot::State::Received) => {
                    Ok(Known::Complete(sealed.manifest_bytes))
                }
                (Some(sealed), snapshot::State::Sealed) => wanted(
                    format!("manifest-{id}"),
                    What::Manifest(id, Box::new(sealed.clone())),
                    sealed.manifest_bytes,
                    sealed.manifest,
                    data.manifest(&id),
                ),
                _ => Err(conflict(
                    "upload.not-signed",
                    "The snapshot is not sealed",
                    "Hand in `snapshot.sealed` first",
                )),
            }
        }
        Ok(EvidenceKind::Parcel) => {
            let id: ReleaseId = status::id(id)?;
            let found = house.releases.get(&id).filter(|r| r.agent == agent);
            let found = found.ok_or_else(|| status::unknown(id))?;
            match (&found.packed, found.state) {
                (Some(packed), release::State::Spooled | release::State::Delivered) => {
                    Ok(Known::Complete(packed.bytes))
                }
                (Some(packed), release::State::Packed) => wanted(
                    format!("parcel-{id}"),
                    What::Parcel(id),
                    packed.bytes,
                    packed.parcel,
                    data.parcel(&id),
                ),
                _ => Err(conflict(
                    "upload.not-signed",
                    "The release is not packed",
                    "Hand in `release.packed` first",
                )),
            }
        }
        _ => Err(invalid(
            "upload.kind",
            "Only manifests and parcels are sent here",
            "Use the agent of the coordinator's version",
        )),
    }
}

/// How much of an upload is here, and whether it is complete.
pub async fn state(
    coordinator: &Coordinator,
    agent: AgentId,
    kind: i32,
    id: &str,
) -> Result<(u64, bool), No> {
    let wanted = match known(coordinator, agent, kind, id)? {
        Known::Complete(total) => return Ok((total, true)),
        Known::Wanted(wanted) => wanted,
    };
    let place = wanted.place.clone();
    // A crash between putting it in its place and saying so.
    if spawn_blocking(move || place.exists())
        .await
        .unwrap_or(false)
    {
        let (_busy, _) = coordinator.uploads.take(&wanted.name).await;
        let place = wanted.place.clone();
        if let Verdict::Right = verdict(coordinator, &wanted, place).await? {
            say_received(coordinator, &wanted).await?;
            return Ok((wanted.total, true));
        }
    }
    let path = wanted.part.clone();
    let have = blocking(move || match fs::metadata(&path) {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    });
    Ok((have.await?.min(wanted.total), false))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, No> {
    let ended = spawn_blocking(work).await;
    Ok(ended.map_err(|error| io::Error::other(error.to_string()))??)
}

/// Takes the rest of an upload; gives how much is here then, and whether it is complete.
pub async fn receive(
    coordinator: &Coordinator,
    agent: AgentId,
    certificate: Digest,
    mut chunks: Streaming<UploadChunk>,
) -> Result<(u64, bool), tonic::Status> {
    let Some(first) = next(&mut chunks).await? else {
        let no = invalid(
            "upload.empty",
            "Nothing was sent",
            "Send at least one chunk",
        );
        return Err(no.into());
    };
    let Known::Wanted(wanted) = known(coordinator, agent, first.kind, &first.id)? else {
        return Ok((first.total, true));
    };
    let (_busy, newer) = coordinator.uploads.take(&wanted.name).await;
    // An older stream may have ended it while this one waited.
    if let Known::Complete(total) = known(coordinator, agent, first.kind, &first.id)? {
        return Ok((total, true));
    }
    let mut part = Part::open(wanted.part.clone(), wanted.total).await?;
    if part.have() == 0 {
        coordinator.uploads.begun(&wanted.name);
    }
    let (kind, id) = (first.kind, first.id.clone());
    let mut chunk = Some(first);
    while let Some(one) = chunk {
        let same = one.kind == kind && one.id == id && one.total == wanted.total;
        if !same || one.data.len() > proto::CHUNK {
            let no = invalid(
                "upload.chunk",
                "A chunk is of another upload, of another total than was signed, or over 1 MiB",
                "Send what was signed, in chunks of at most 1 MiB",
            );
            return Err(no.into());
        }
        check_admitted(coordinator, agent, &certificate)?;
        part.put(one.offset, one.data).await?;
        if part.have() == wanted.total {
            break;
        }
        chunk = tokio::select! {
            next = next(&mut chunks) => next?,
            () = newer.cancelled() => {
                let why = "A newer stream of this upload took this one's place".to_owned();
                return Err(No::Cut(why).into());
            }
            () = coordinator.stop.cancelled() => {
                let why = "The coordinator is stopping. Send the rest in a moment".to_owned();
                return Err(No::Cut(why).into());
            }
        };
    }
    let have = part.close().await?;
    if have < wanted.total {
        return Ok((have, false));
    }
    finish(coordinator, &wanted).await?;
    Ok((wanted.total, true))
}

async fn next(chunks: &mut Streaming<UploadChunk>) -> Result<Option<UploadChunk>, tonic::Status> {
    match timeout(SILENCE, chunks.message()).await {
        Ok(message) => message,
        Err(_) => {
            let why = "Nothing came for a minute. Send the rest on a new stream".to_owned();
            Err(No::Cut(why).into())
        }
    }
}

fn check_admitted(
    coordinator: &Coordinator,
    agent: AgentId,
    certificate: &Digest,
) -> Result<(), No> {
    let house = coordinator.desk.house();
    let known = house.agents.get(&agent);
    match known.is_some_and(|known| known.admits(certificate, clock::now())) {
        true => Ok(()),
        false => Err(No::Unauthenticated(
            "The certificate was revoked, replaced or is over".to_owned(),
        )),
    }
}

async fn verdict(coordinator: &Coordinator, wanted: &Wanted, path: PathBuf) -> Result<Verdict, No> {
    match &wanted.what {
        What::Parcel(_) => {
            let expected = wanted.sha256;
            blocking(move || check::bytes(&path, &expected)).await
        }
        What::Manifest(_, sealed) => {
            let opening = coordinator.desk.opening(&sealed.key).await;
            let key = opening.and_then(|opening| opening.value.try_into().ok());
            let key = key.map(SnapshotKey::from_random);
            let sealed = sealed.clone();
            blocking(move || check::manifest(&path, &sealed, key.as_ref())).await
        }
    }
}

/// Checks an upload that is whole, puts it in its place and says so.
async fn finish(coordinator: &Coordinator, wanted: &Wanted) -> Result<(), No> {
    let found = verdict(coordinator, wanted, wanted.part.clone()).await?;
    if let Verdict::Differs(found, why) = found {
        let ours = coordinator.uploads.is_ours(&wanted.name);
        let part = wanted.part.clone();
        blocking(move || fs::remove_file(&part)).await?;
        coordinator.uploads.over(&wanted.name);
        tracing::warn!(upload = %wanted.name, %why, ours, "an upload is not what was signed");
        if ours {
            note(coordinator, wanted, found).await?;
        }
        return Err(conflict(
            "upload.differs",
            format!("What was sent is not what was signed and was thrown away: {why}"),
            "Look at the finding and at the server, then send it again from the start",
        ));
    }
    let (part, place) = (wanted.part.clone(), wanted.place.clone());
    blocking(move || {
        fs::rename(&part, &place)?;
        files::sync_folder(&place)?;
        files::sync_folder(&part)
    })
    .await?;
    coordinator.uploads.over(&wanted.name);
    say_received(coordinator, wanted).await
}

/// Records, once for the same bytes, that an upload was not what was signed.
async fn note(coordinator: &Coordinator, wanted: &Wanted, found: Digest) -> Result<(), No> {
    let (what, evidence) = match wanted.what {
        What::Manifest(..) => (FindingKind::ManifestDiffers, vec![wanted.sha256, found]),
        What::Parcel(_) => (FindingKind::BytesDiffer, vec![wanted.sha256, found]),
    };
    let noted = {
        let house = coordinator.desk.house();
        let same = |f: &Finding| f.what == what && f.evidence == evidence;
        house.findings.values().any(|noted| same(&noted.finding))
    };
    if !noted {
        let finding = Finding {
            what,
            target: None,
            count: 1,
            evidence,
            entry: None,
            places: Vec::new(),
            by: None,
            noticed: None,
        };
        coordinator.desk.say(Body::Finding(finding)).await?;
    }
    Ok(())
}

async fn say_received(coordinator: &Coordinator, wanted: &Wanted) -> Result<(), No> {
    let body = match &wanted.what {
        What::Manifest(snapshot, sealed) => Body::SnapshotReceived(SnapshotReceived {
            snapshot: *snapshot,
            root: sealed.root,
        }),
        What::Parcel(release) => Body::ReleaseSpooled(ReleaseSpooled { release: *release }),
    };
    coordinator.desk.say(body).await?;
    tracing::info!(upload = %wanted.name, bytes = wanted.total, "received");
    Ok(())
}

//! Uploads: manifests and parcels, in chunks, from where the coordinator has them.

use std::{
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use custody::id::{ReleaseId, SnapshotId};
use proto::{
    CHUNK,
    v1::{EvidenceKind, UploadChunk, UploadStateRequest, fleet_client::FleetClient},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{exit::Trouble, work::gauge::Gauge};

/// How often an upload is tried before it waits to be asked for again.
const TRIES: u32 = 5;

/// Uploads over whatever connection there is.
#[derive(Clone)]
pub struct Uploads(watch::Receiver<Option<Channel>>);

struct File<'a> {
    kind: EvidenceKind,
    id: String,
    path: &'a Path,
}

impl Uploads {
    /// Uploads over the connection that the link puts there.
    pub const fn new(connection: watch::Receiver<Option<Channel>>) -> Self {
        Self(connection)
    }

    /// Sends a manifest.
    pub async fn manifest(&self, snapshot: &SnapshotId, path: &Path, gauge: &Arc<Gauge>) {
        let kind = EvidenceKind::Manifest;
        let id = snapshot.to_string();
        self.send(&File { kind, id, path }, gauge).await;
    }

    /// Sends a parcel.
    pub async fn parcel(&self, release: &ReleaseId, path: &Path, gauge: &Arc<Gauge>) {
        let kind = EvidenceKind::Parcel;
        let id = release.to_string();
        self.send(&File { kind, id, path }, gauge).await;
    }

    async fn send(&self, file: &File<'_>, gauge: &Arc<Gauge>) {
        for tried in 0..TRIES {
            let channel = self.0.borrow().clone();
            let Some(channel) = channel else {
                // The coordinator asks again once it is back.
                return tracing::info!(id = file.id, "upload waits for the coordinator");
            };
            match once(channel, file, gauge).await {
                Ok(bytes) => return tracing::info!(id = file.id, bytes, "uploaded"),
                Err(_) if gauge.is_stopped() => return,
                Err(error) => tracing::warn!(id = file.id, tried, "upload broke off: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1 << tried)).await;
        }
    }
}

/// Sends what the coordinator does not have yet; gives how much that was.
async fn once(channel: Channel, file: &File<'_>, gauge: &Arc<Gauge>) -> Result<u64, Trouble> {
    let broken = |error: io::Error| Trouble::file("read", file.path, error);
    let source = std::fs::File::open(file.path).map_err(broken)?;
    let total = source.metadata().map_err(broken)?.len();
    let mut client = FleetClient::new(channel);
    let asked = UploadStateRequest {
        kind: file.kind.into(),
        id: file.id.clone(),
    };
    let state = client.upload_state(asked).await?.into_inner();
    if state.complete {
        return Ok(0);
    }
    if state.have > total {
        return Err(Trouble::Failed(format!(
            "The coordinator has {} bytes of a file that has {total} here.",
            state.have
        )));
    }
    let (chunks, stream) = mpsc::channel(2);
    let (kind, id, from) = (file.kind, file.id.clone(), state.have);
    let gauge = Arc::clone(gauge);
    let seen = Arc::clone(&gauge);
    let reading = tokio::task::spawn_blocking(move || {
        let mut at = from;
        // An empty rest is one empty chunk, so that the coordinator checks what it has.
        loop {
            let mut data = vec![0; CHUNK.min(usize::try_from(total - at).unwrap_or(CHUNK))];
            source.read_exact_at(&mut data, at)?;
            let length = data.len() as u64;
            let chunk = UploadChunk {
                kind: kind.into(),
                id: id.clone(),
                total,
                offset: at,
                data: data.into(),
            };
            at += length;
            seen.read.bytes.fetch_add(length, Ordering::Relaxed);
            // Nobody takes it any more: the call says why.
            if chunks.blocking_send(chunk).is_err() || at >= total {
                return Ok(());
            }
        }
    });
    let uploading = client.upload(ReceiverStream::new(stream));
    tokio::pin!(uploading);
    let answer = loop {
        tokio::select! {
            answer = &mut uploading => break answer?.into_inner(),
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if gauge.is_stopped() {
                    return Err(Trouble::Failed("Stopped.".to_owned()));
                }
            }
        }
    };
    reading
        .await
        .map_err(|error| Trouble::Failed(error.to_string()))?
        .map_err(broken)?;
    if !answer.complete {
        return Err(Trouble::Failed(format!(
            "The coordinator has {} of {total} bytes.",
            answer.have
        )));
    }
    Ok(total - from)
}

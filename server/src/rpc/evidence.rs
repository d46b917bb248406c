//! `Evidence`: manifests, parcels and receipts, for who may have them.

use std::sync::Arc;

use custody::{
    house::snapshot::State,
    id::{ReleaseId, SnapshotId},
};
use proto::v1::{Chunk, EvidenceKind, FetchRequest, evidence_server::Evidence};
use tonic::{Request, Response, Status};

use super::{
    caller,
    may::Read,
    status::{self, No, conflict, invalid},
    stream::{Answer, answer, answer_while},
};
use crate::{
    app::Coordinator,
    evidence::{deliver, fetch, receipt},
};

/// Chunks read ahead of the reader.
const AHEAD: usize = 4;

/// The service.
pub struct EvidenceService(pub Arc<Coordinator>);

impl EvidenceService {
    fn manifest(&self, id: &SnapshotId) -> Result<std::path::PathBuf, No> {
        let house = self.0.desk.house();
        let snapshot = house.snapshots.get(id).ok_or_else(|| status::unknown(id))?;
        match snapshot.state {
            State::Received => Ok(self.0.data.manifest(id)),
            _ => Err(conflict(
                "snapshot.not-received",
                "The snapshot's manifest is not here yet",
                "Wait until `holdfast snapshot show` says received",
            )),
        }
    }

    async fn open(&self, request: Request<FetchRequest>) -> Result<Answer<Chunk>, No> {
        let caller = caller::person(&self.0, &request)?;
        let FetchRequest { kind, id, offset } = request.into_inner();
        let (path, (sink, answer)) = match EvidenceKind::try_from(kind) {
            Ok(EvidenceKind::Manifest) => {
                caller::check(&self.0, &caller, Read::Manifest, "fetching a manifest").await?;
                let path = self.manifest(&status::id(&id)?)?;
                (path, answer(&self.0, &caller, AHEAD)?)
            }
            Ok(EvidenceKind::Parcel) => {
                caller::check(&self.0, &caller, Read::Parcel, "fetching a parcel").await?;
                let (release, to): (ReleaseId, _) = (status::id(&id)?, caller.person);
                let coordinator = Arc::clone(&self.0);
                let may = move || deliver::still(&coordinator, release, to);
                // A place first: what is on record as delivered is then sent.
                let answer = answer_while(&self.0, &caller, AHEAD, may)?;
                (
                    deliver::deliver(&self.0, release, to, offset).await?,
                    answer,
                )
            }
            Ok(EvidenceKind::Receipt) => {
                caller::check(&self.0, &caller, Read::Receipt, "fetching a receipt").await?;
                let (sink, answer) = answer(&self.0, &caller, AHEAD)?;
                let text = receipt::receipt(&self.0, &status::id(&id)?).await?;
                tokio::spawn(async move { fetch::text(text, offset, &sink).await });
                return Ok(answer);
            }
            Ok(EvidenceKind::Unspecified) | Err(_) => {
                return Err(invalid(
                    "fetch.kind",
                    "There are manifests, parcels and receipts to fetch",
                    "Use the tool of the coordinator's version",
                ));
            }
        };
        tokio::spawn(async move { fetch::file(path, offset, &sink).await });
        Ok(answer)
    }
}

#[tonic::async_trait]
impl Evidence for EvidenceService {
    type FetchStream = Answer<Chunk>;

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        Ok(Response::new(self.open(request).await?))
    }
}

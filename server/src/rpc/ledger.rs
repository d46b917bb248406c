//! `Ledger`: the log, for everyone who is logged in.

use std::sync::Arc;

use proto::v1::{
    GetCheckpointRequest, GetCheckpointResponse, GetEntryRequest, GetEntryResponse,
    ListEntriesRequest, ProveRequest, ProveResponse, ledger_server::Ledger,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    status::No,
    stream::{Answer, answer},
};
use crate::{app::Coordinator, desk::StoredEntry};

/// Entries read at a time: at most 4 MiB in memory.
const PAGE: u64 = 64;
/// Entries read ahead of the reader.
const AHEAD: usize = 16;

/// The service.
pub struct LedgerService(pub Arc<Coordinator>);

fn wire(entry: StoredEntry) -> GetEntryResponse {
    GetEntryResponse {
        index: entry.index,
        entry: entry.bytes.into(),
        received_unix_ms: entry.received.millis(),
    }
}

#[tonic::async_trait]
impl Ledger for LedgerService {
    type ListEntriesStream = Answer<GetEntryResponse>;

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        caller::person(&self.0, &request)?;
        let note = self
            .0
            .desk
            .published()
            .borrow()
            .as_ref()
            .map(|p| p.note.clone());
        let note = note.ok_or_else(|| {
            No::Failed("No checkpoint is signed yet. Ask again in a second".to_owned())
        })?;
        Ok(Response::new(GetCheckpointResponse {
            note: note.into_bytes().into(),
            vkey: self.0.desk.vkey().to_string(),
        }))
    }

    async fn get_entry(
        &self,
        request: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        caller::person(&self.0, &request)?;
        let index = request.into_inner().index;
        let entry = self.0.desk.entry(index).await.map_err(No::from)?;
        Ok(Response::new(wire(entry)))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<Self::ListEntriesStream>, Status> {
        let caller = caller::person(&self.0, &request)?;
        let ListEntriesRequest { first, count } = request.into_inner();
        let (sink, answer) = answer(&self.0, &caller, AHEAD)?;
        let desk = self.0.desk.clone();
        tokio::spawn(async move {
            let end = first.saturating_add(count);
            let mut next = first;
            while next < end {
                let page = match desk.entries(next, PAGE.min(end - next)).await {
                    Ok(page) => page,
                    Err(error) => return drop(sink.send(Err(error.into())).await),
                };
                let Some(last) = page.last() else { break };
                next = last.index + 1;
                for entry in page {
                    if sink.send(Ok(wire(entry))).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(answer))
    }

    async fn prove(
        &self,
        request: Request<ProveRequest>,
    ) -> Result<Response<ProveResponse>, Status> {
        caller::person(&self.0, &request)?;
        let index = request.into_inner().index;
        let proof = self.0.desk.prove(index).await.map_err(No::from)?;
        Ok(Response::new(ProveResponse {
            tlog_proof: proof.to_string().into_bytes().into(),
        }))
    }
}

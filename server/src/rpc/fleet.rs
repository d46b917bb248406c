//! `Fleet`: everything an enrolled agent does, known by its certificate.

use std::sync::Arc;

use proto::v1::{
    FromAgent, GateRequest, GateResponse, RenewRequest, RenewResponse, ToAgent, UploadChunk,
    UploadResponse, UploadStateRequest, UploadStateResponse, fleet_server::Fleet,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, Span};

use super::{
    caller,
    stream::{Answer, plain},
};
use crate::{app::Coordinator, evidence::upload, fleet, identity::enrolment};

/// Messages that an agent may leave unread.
const ROOM: usize = 128;

/// The service.
pub struct FleetService(pub Arc<Coordinator>);

#[tonic::async_trait]
impl Fleet for FleetService {
    type FollowStream = Answer<ToAgent>;

    async fn follow(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (agent, certificate) = caller::agent(&self.0, &request).await?;
        let (to, answer) = plain(ROOM);
        let coordinator = Arc::clone(&self.0);
        let up = request.into_inner();
        let follow = fleet::follow(coordinator, agent, certificate, up, to);
        tokio::spawn(follow.instrument(Span::current()));
        Ok(Response::new(answer))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let shown = caller::agent(&self.0, &request).await?;
        let certificate = enrolment::renew(&self.0, shown, &request.into_inner().csr).await?;
        Ok(Response::new(RenewResponse { certificate }))
    }

    async fn upload_state(
        &self,
        request: Request<UploadStateRequest>,
    ) -> Result<Response<UploadStateResponse>, Status> {
        let (agent, _) = caller::agent(&self.0, &request).await?;
        let UploadStateRequest { kind, id } = request.into_inner();
        let (have, complete) = upload::state(&self.0, agent, kind, &id).await?;
        Ok(Response::new(UploadStateResponse { have, complete }))
    }

    async fn gate(&self, request: Request<GateRequest>) -> Result<Response<GateResponse>, Status> {
        let (agent, _) = caller::agent(&self.0, &request).await?;
        let answer = fleet::gate(&self.0, agent, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadChunk>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let (agent, certificate) = caller::agent(&self.0, &request).await?;
        let chunks = request.into_inner();
        let (have, complete) = upload::receive(&self.0, agent, certificate, chunks).await?;
        Ok(Response::new(UploadResponse { have, complete }))
    }
}

//! `Enrolment`: how a storage server joins.

use std::sync::Arc;

use proto::v1::{EnrolRequest, EnrolResponse, enrolment_server::Enrolment};
use tonic::{Request, Response, Status};

use crate::{app::Coordinator, identity::enrolment};

/// The service.
pub struct EnrolmentService(pub Arc<Coordinator>);

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let enrolled = enrolment::enrol(&self.0, request.into_inner()).await?;
        Ok(Response::new(enrolled))
    }
}

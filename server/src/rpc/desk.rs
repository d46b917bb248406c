//! `Desk`: the one way to change anything.

use std::sync::Arc;

use custody::{ledger::entry::Entry, statement::Author};
use proto::v1::{SubmitRequest, SubmitResponse, desk_server::Desk};
use tonic::{Request, Response, Status};

use super::{
    caller,
    status::{self, No},
};
use crate::{app::Coordinator, desk::Submission};

/// The service.
pub struct DeskService(pub Arc<Coordinator>);

impl DeskService {
    async fn take(&self, request: Request<SubmitRequest>) -> Result<SubmitResponse, No> {
        caller::person(&self.0, &request)?;
        let SubmitRequest {
            entry,
            openings,
            subject,
        } = request.into_inner();
        // An agent's statements come over its own stream, a coordinator's from inside.
        let author = Entry::parse(&entry)
            .and_then(|entry| entry.statement())
            .map(|statement| statement.author);
        if matches!(author, Ok(Author::Agent(_) | Author::Coordinator)) {
            return Err(status::invalid(
                "statement.author",
                "Only a person's statement is handed in here",
                "Sign it as the person who says it",
            ));
        }
        let openings = openings.into_iter().map(status::opening);
        let submission = Submission {
            entry: entry.to_vec(),
            openings: openings.collect::<Result<_, _>>()?,
            subject: match subject.as_str() {
                "" => None,
                text => Some(status::id(text)?),
            },
        };
        let recorded = self.0.desk.submit(submission).await?;
        Ok(SubmitResponse {
            index: recorded.index,
            leaf_hash: recorded.leaf.as_bytes().to_vec().into(),
            duplicate: recorded.duplicate,
        })
    }
}

#[tonic::async_trait]
impl Desk for DeskService {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        Ok(Response::new(self.take(request).await?))
    }
}

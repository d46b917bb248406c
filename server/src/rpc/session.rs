//! `Session`: log-in.

use std::sync::Arc;

use custody::{house::refusal::Kind, statement::Author};
use proto::v1::{
    ChallengeRequest, ChallengeResponse, LoginRequest, LoginResponse, WhoAmIRequest,
    WhoAmIResponse, session_server::Session,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    status::{No, refuse},
};
use crate::{app::Coordinator, clock, identity::login::Failed};

/// The service.
pub struct SessionService(pub Arc<Coordinator>);

#[tonic::async_trait]
impl Session for SessionService {
    async fn challenge(
        &self,
        _: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeResponse>, Status> {
        let nonce = self
            .0
            .sessions
            .challenge(clock::now())
            .map_err(|error| No::Failed(format!("{error}. Try again in a moment")))?;
        Ok(Response::new(ChallengeResponse {
            nonce: nonce.to_vec().into(),
            origin: self.0.desk.origin().to_owned(),
        }))
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<LoginResponse>, Status> {
        let LoginRequest { nonce, signature } = request.into_inner();
        let tried = {
            let house = self.0.desk.house();
            let origin = self.0.desk.origin();
            self.0
                .sessions
                .login(&house, origin, &nonce, &signature, clock::now())
        };
        let (token, caller) = match tried {
            Ok(done) => done,
            Err(Failed::Nobody(no)) => return Err(no.into()),
            Err(Failed::Person(person, no)) => {
                let refusal = refuse(
                    Kind::Forbidden,
                    "login.retired",
                    "A retired person tried to log in",
                    "Nothing to do",
                );
                let by = Some(Author::Person(person));
                self.0.desk.say_refused(&refusal, "login", by, None).await;
                return Err(no.into());
            }
        };
        Ok(Response::new(LoginResponse {
            token,
            person: caller.person.to_string(),
            roles: caller.roles.iter().map(ToString::to_string).collect(),
            expires_unix_ms: caller.expires.millis(),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = caller::person(&self.0, &request)?;
        let name = {
            let house = self.0.desk.house();
            house.persons.get(&caller.person).map(|person| person.name)
        };
        let opening = match name {
            Some(name) => self.0.desk.opening(&name).await,
            None => None,
        };
        let name = opening.map(|opening| String::from_utf8_lossy(&opening.value).into_owned());
        Ok(Response::new(WhoAmIResponse {
            person: caller.person.to_string(),
            name: name.unwrap_or_default(),
            roles: caller.roles.iter().map(ToString::to_string).collect(),
            origin: self.0.desk.origin().to_owned(),
            expires_unix_ms: caller.expires.millis(),
        }))
    }
}

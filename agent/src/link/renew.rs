//! Renewing: a fresh key and certificate when two thirds of the old one's life are over.

use std::time::Duration;

use proto::v1::{RenewRequest, fleet_client::FleetClient};
use tonic::transport::Channel;

use super::{
    dial::Dialer,
    identity::{Identity, Request, Tls},
};
use crate::{config::Place, edge::now, exit::Trouble};

/// How long until a certificate is to be renewed. Zero when it is late already.
pub(super) fn due_in(tls: &Tls) -> Duration {
    let Some((begin, end)) = tls.life() else {
        return Duration::ZERO;
    };
    let due = begin + (end - begin) / 3 * 2;
    let left = due.saturating_sub(now().millis() / 1000);
    Duration::from_secs(u64::try_from(left).unwrap_or(0))
}

/// Gets a fresh certificate for a fresh key and keeps both.
pub(super) async fn renew(
    channel: Channel,
    identity: &Identity,
    place: &Place,
) -> Result<(), Trouble> {
    let request = Request::new(&identity.enrolment.agent)?;
    let asked = RenewRequest {
        csr: request.csr.into(),
    };
    let answer = FleetClient::new(channel).renew(asked).await?.into_inner();
    let tls = Tls {
        key: request.key,
        certificate: answer.certificate,
    };
    // A certificate that does not fit its key must not take the old one's place.
    Dialer::new(&identity.enrolment.server, &identity.authority, Some(&tls))?;
    tls.store(place)?;
    tracing::info!("certificate renewed");
    Ok(())
}

//! The one call of a connection without a certificate: to be enrolled.

use std::net::SocketAddr;
use std::sync::Arc;

use bailey_wire::v1;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::Shared;
use crate::ca;
use crate::counters::AuthFailure;
use crate::enrolment::{ASK_AGAIN, Answer, Refusal};

pub(super) struct Service {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        Self { shared, peer }
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        if let Some(why) = refusal.counted() {
            self.shared.turned_away(self.peer, why);
        }
        let said = refusal.to_string();
        info!(peer = %self.peer, why = said, "an enrolment was turned away");
        match refusal {
            Refusal::Ca(_) => Status::invalid_argument(said),
            Refusal::TooManyWait => Status::resource_exhausted(said),
            Refusal::OtherName { .. } => Status::failed_precondition(said),
            Refusal::UnknownToken
            | Refusal::ExpiredToken
            | Refusal::SpentToken
            | Refusal::Refused
            | Refusal::Revoked => Status::permission_denied(said),
            Refusal::Store(error) => {
                warn!(%error, "an enrolment could not be stored");
                Status::unavailable(said)
            }
        }
    }
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for Service {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolReply>, Status> {
        if !self.shared.may_enrol(self.peer.ip()) {
            self.shared.turned_away(self.peer, AuthFailure::EnrolmentRate);
            return Err(Status::resource_exhausted(
                "too many enrolments from this address; wait a minute",
            ));
        }
        let v1::EnrolRequest { secret, request } = request.into_inner();
        let request = ca::Request::read(&request).map_err(|e| self.refuse(&e.into()))?;
        let enrolment = &self.shared.enrolment;
        let answer = if secret.is_empty() {
            enrolment.restore(request).await
        } else if let Ok(secret) = <[u8; 32]>::try_from(secret) {
            let source = self.peer.ip().to_canonical().to_string();
            enrolment.enrol(secret, request, source).await
        } else {
            Err(Refusal::UnknownToken)
        };
        let answer = match answer.map_err(|refusal| self.refuse(&refusal))? {
            Answer::Waiting => v1::enrol_reply::Answer::Waiting(v1::Waiting {
                ask_again_seconds: u32::try_from(ASK_AGAIN.as_secs()).unwrap_or(u32::MAX),
            }),
            Answer::Enrolled { issued, host, zone } => {
                v1::enrol_reply::Answer::Enrolled(v1::Enrolled {
                    certificate: Some(v1::Certificate {
                        leaf: issued.der,
                        ca: enrolment.ca().certificate().to_vec(),
                    }),
                    site: enrolment.site_name(),
                    host: host.to_string(),
                    zone: zone.to_string(),
                })
            }
        };
        Ok(Response::new(v1::EnrolReply { answer: Some(answer) }))
    }
}

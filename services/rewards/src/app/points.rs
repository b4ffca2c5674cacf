//! The points service, as redemptions need it.

use std::time::Duration;

use fealty_client::{Channel, Deadline, call, reason};
use fealty_proto::{
    points::v1::{
        CaptureRequest, GetBalanceRequest, HoldRequest, ledger_service_client::LedgerServiceClient,
    },
    r#type::v1::ErrorReason,
};
use fealty_server::Rejection;
use fealty_types::{CurrencyId, MemberId, Points, ProgramId};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{domain::Redemption, error::Error};

/// How long a call to points and its retries may take.
const POINTS_DEADLINE: Duration = Duration::from_secs(5);
/// How long points stay held for a redemption that died: recovery has that
/// long to finish it.
const HOLD_TIMEOUT_S: i64 = 15 * 60;

/// A client of the points service.
#[derive(Clone, Debug)]
pub struct PointsClient(LedgerServiceClient<Channel>);

impl PointsClient {
    /// A client over a connection.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(LedgerServiceClient::new(channel))
    }

    /// Holds a redemption's points, and answers with the hold's name.
    pub(super) async fn hold(&self, redemption: &Redemption) -> Result<String, Error> {
        let request = HoldRequest {
            request_id: redemption.hold_request(),
            program: redemption.program.to_string(),
            member: redemption.member.to_string(),
            brand: redemption.brand.to_string(),
            currency: redemption.currency.to_string(),
            points: redemption.points.get(),
            timeout: Some(prost_types::Duration {
                seconds: HOLD_TIMEOUT_S,
                nanos: 0,
            }),
            reference: redemption.id.to_string(),
        };
        let held = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.hold(request).await }
        });
        Ok(held.await.map_err(refused)?.hold)
    }

    /// Captures a redemption's hold.
    pub(super) async fn capture(&self, redemption: &Redemption, hold: &str) -> Result<(), Error> {
        let request = CaptureRequest {
            request_id: redemption.capture_request(),
            program: redemption.program.to_string(),
            member: redemption.member.to_string(),
            hold: hold.to_owned(),
            points: 0,
            r#final: true,
        };
        let captured = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.capture(request).await }
        });
        captured.await.map_err(refused)?;
        Ok(())
    }

    /// A member's available points.
    pub(super) async fn available(
        &self,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
    ) -> Result<Points, Error> {
        let request = GetBalanceRequest {
            program: program.to_string(),
            member: member.to_string(),
            currency: currency.to_string(),
            ..GetBalanceRequest::default()
        };
        let read = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.get_balance(request).await }
        });
        let balance = read.await.map_err(refused)?.balance.unwrap_or_default();
        Ok(Points::new(balance.available).unwrap_or_default())
    }
}

/// A refusal with a reason of its own is passed on; everything else means that
/// nobody knows what happened.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn refused(status: Status) -> Error {
    let known = match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists => {
            reason(&status)
                .and_then(|reason| ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")))
        }
        _ => None,
    };
    let Some(reason) = known else {
        tracing::warn!(%status, "the points service did not answer");
        return Error::PointsUnavailable;
    };
    let mut rejection = Rejection::new(reason, status.message());
    for (key, value) in status
        .get_details_error_info()
        .map(|info| info.metadata)
        .unwrap_or_default()
    {
        rejection = rejection.with(&key, value);
    }
    Error::Points(rejection)
}

//! The points service, as rewards needs it.

use std::{collections::HashMap, time::Duration};

use fealty_client::{Channel, Deadline, acting_for, call, reason};
use fealty_proto::{
    points::v1::{
        CaptureRequest, GetBalanceRequest, HoldRequest, ReleaseRequest,
        ledger_service_client::LedgerServiceClient,
    },
    r#type::v1::ErrorReason,
};
use fealty_server::Rejection;
use fealty_types::{BrandId, CurrencyId, MemberId, Points, ProgramId, Subject};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::error::Error;

/// How long a call to points and its retries may take.
const POINTS_DEADLINE: Duration = Duration::from_secs(5);
/// How long points stay held for a redemption that died: recovery has that
/// long to finish it.
const HOLD_TIMEOUT_S: i64 = 15 * 60;

/// Points to be held.
pub(crate) struct PointsToHold<'a> {
    pub(crate) request_id: String,
    pub(crate) program: &'a ProgramId,
    pub(crate) member: &'a MemberId,
    pub(crate) brand: &'a BrandId,
    pub(crate) currency: &'a CurrencyId,
    pub(crate) points: Points,
    /// What they are held for, as the member's statement shows it.
    pub(crate) reference: String,
    /// Who asked for them.
    pub(crate) acting_for: Option<&'a Subject>,
}

/// A request, on behalf of somebody if that is known.
fn on_behalf<T>(request: T, whom: Option<&Subject>) -> Request<T> {
    let request = Request::new(request);
    match whom {
        Some(whom) => acting_for(request, whom.as_str()),
        None => request,
    }
}

/// A client of the points service.
#[derive(Clone, Debug)]
pub(crate) struct PointsClient(LedgerServiceClient<Channel>);

impl PointsClient {
    /// A client over a connection.
    pub(crate) fn new(channel: Channel) -> Self {
        Self(LedgerServiceClient::new(channel))
    }

    /// Holds points, and answers with the hold's id.
    pub(crate) async fn hold(&self, asked: PointsToHold<'_>) -> Result<String, Error> {
        let request = HoldRequest {
            request_id: asked.request_id,
            program: asked.program.to_string(),
            member: asked.member.to_string(),
            brand: asked.brand.to_string(),
            currency: asked.currency.to_string(),
            points: asked.points.get(),
            timeout: Some(prost_types::Duration {
                seconds: HOLD_TIMEOUT_S,
                nanos: 0,
            }),
            reference: asked.reference,
            metadata: HashMap::new(),
        };
        let held = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.hold(on_behalf(request, asked.acting_for)).await }
        });
        Ok(held.await.map_err(refused)?.hold)
    }

    /// Captures a hold, whole.
    pub(crate) async fn capture(
        &self,
        request_id: String,
        program: &ProgramId,
        member: &MemberId,
        hold: &str,
        asked_by: Option<&Subject>,
    ) -> Result<(), Error> {
        let request = CaptureRequest {
            request_id,
            program: program.to_string(),
            member: member.to_string(),
            hold: hold.to_owned(),
            points: None,
            keep_rest: false,
            metadata: HashMap::new(),
        };
        let captured = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.capture(on_behalf(request, asked_by)).await }
        });
        captured.await.map_err(refused)?;
        Ok(())
    }

    /// Gives what a hold has back to the member.
    pub(crate) async fn release(
        &self,
        request_id: String,
        program: &ProgramId,
        member: &MemberId,
        hold: &str,
        asked_by: Option<&Subject>,
    ) -> Result<(), Error> {
        let request = ReleaseRequest {
            request_id,
            program: program.to_string(),
            member: member.to_string(),
            hold: hold.to_owned(),
            metadata: HashMap::new(),
        };
        let released = call(Deadline::within(POINTS_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.release(on_behalf(request, asked_by)).await }
        });
        released.await.map_err(refused)?;
        Ok(())
    }

    /// A member's available points.
    pub(crate) async fn available(
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

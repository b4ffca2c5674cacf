//! Members' statuses.

use std::pin::Pin;

use fealty_auth::InReach;
use fealty_proto::{
    tiers::v1::{self as wire, tier_service_server::TierService},
    r#type::v1::Money as WireMoney,
};
use fealty_server::{Fields, caller, to_wire_time};
use fealty_types::MemberId;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use super::{read::StatusRead, service::Statuses};
use crate::{
    domain::Reason,
    error::Error,
    feed::{Watched, store::Logged},
};

/// The id of a programme's scheme, while it can have one.
const SCHEME: &str = "tiers";
/// Responses of a feed that wait for a slow listener.
const WATCH_QUEUE_LEN: usize = 4;

pub(crate) struct TierApi {
    pub(crate) statuses: Statuses,
    pub(crate) shutdown: CancellationToken,
}

fn reason(reason: Reason) -> i32 {
    match reason {
        Reason::Beginning => wire::TierChangeReason::Unspecified,
        Reason::ThresholdReached => wire::TierChangeReason::ThresholdReached,
        Reason::ValidityEnded => wire::TierChangeReason::ValidityEnded,
    }
    .into()
}

fn member_status((member, read): (&InReach<MemberId>, StatusRead)) -> wire::MemberStatus {
    let spent = read.spent.minor_units();
    let next_tier = read.next.map(|level| wire::NextTier {
        tier: level.tier.to_string(),
        requirements: vec![wire::TierRequirement {
            metric: "money_spent".to_owned(),
            now: spent,
            needed: level.threshold.minor_units(),
            currency_code: level.threshold.currency().to_string(),
        }],
    });
    wire::MemberStatus {
        member: member.to_string(),
        scheme: SCHEME.to_owned(),
        tier: read.status.tier.to_string(),
        since_time: read.status.since.map(to_wire_time),
        evaluation_time: read.status.evaluate_at.map(to_wire_time),
        reason: reason(read.status.reason),
        spent: Some(WireMoney {
            currency_code: read.spent.currency().to_string(),
            minor_units: spent,
        }),
        next_tier,
        projected_tier: read.projected.to_string(),
    }
}

fn render(logged: Logged) -> wire::TierChange {
    let status = logged.change.status;
    wire::TierChange {
        position: logged.position,
        program: logged.program.to_string(),
        member: logged.member.to_string(),
        previous_tier: logged.change.previous.to_string(),
        tier: status.tier.to_string(),
        effective_time: status.since.map(to_wire_time),
        evaluation_time: status.evaluate_at.map(to_wire_time),
        reason: reason(status.reason),
        transaction: logged.transaction,
        written_time: Some(to_wire_time(logged.written_at)),
    }
}

#[async_trait]
impl TierService for TierApi {
    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let (program, member) = Fields::read(caller(&request)?, |fields| {
            let request = request.get_ref();
            let program = fields.program("program", &request.program);
            let member = fields.member("member", program.as_ref(), &request.member);
            program.zip(member)
        })?;
        let members = [member];
        let read = self.statuses.statuses(&program, &members).await?;
        let status = members.iter().zip(read).map(member_status).next();
        Ok(Response::new(wire::GetStatusResponse { status }))
    }

    async fn batch_get_status(
        &self,
        request: Request<wire::BatchGetStatusRequest>,
    ) -> Result<Response<wire::BatchGetStatusResponse>, Status> {
        let (program, members) = Fields::read(caller(&request)?, |fields| {
            let request = request.get_ref();
            let program = fields.program("program", &request.program);
            let members = fields.members("members", program.as_ref(), &request.members);
            program.zip(members)
        })?;
        let read = self.statuses.statuses(&program, &members).await?;
        let statuses = members.iter().zip(read).map(member_status);
        Ok(Response::new(wire::BatchGetStatusResponse {
            statuses: statuses.collect(),
        }))
    }

    async fn count_members(
        &self,
        request: Request<wire::CountMembersRequest>,
    ) -> Result<Response<wire::CountMembersResponse>, Status> {
        let program = &request.get_ref().program;
        let program = Fields::read(caller(&request)?, |fields| {
            fields.program("program", program)
        })?;
        let tiers = self.statuses.count_members(&program).await?;
        let tiers = tiers.into_iter().map(|(tier, members)| wire::TierCount {
            tier: tier.to_string(),
            members,
        });
        Ok(Response::new(wire::CountMembersResponse {
            tiers: tiers.collect(),
        }))
    }

    async fn poll_tier_changes(
        &self,
        request: Request<wire::PollTierChangesRequest>,
    ) -> Result<Response<wire::PollTierChangesResponse>, Status> {
        let (start, wait) = Fields::read(caller(&request)?, |fields| {
            let request = request.get_ref();
            let start = fields.feed_start("start", request.start.as_ref());
            let wait = fields.feed_wait("wait", request.wait);
            start.zip(wait)
        })?;
        let feed = &self.statuses.feed;
        let at = feed.start(&start).await?;
        let polled = tokio::select! {
            polled = feed.poll(&at, wait) => polled?,
            () = self.shutdown.cancelled() => return Err(Error::Ending.into()),
        };
        Ok(Response::new(wire::PollTierChangesResponse {
            changes: polled.changes.into_iter().map(render).collect(),
            cursor: polled.cursor.to_string(),
            behind: polled.behind,
            known_time: polled.known.map(to_wire_time),
        }))
    }

    type WatchTierChangesStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchTierChangesResponse, Status>> + Send>>;

    async fn watch_tier_changes(
        &self,
        request: Request<wire::WatchTierChangesRequest>,
    ) -> Result<Response<Self::WatchTierChangesStream>, Status> {
        let start = Fields::read(caller(&request)?, |fields| {
            fields.feed_start("start", request.get_ref().start.as_ref())
        })?;
        let at = self.statuses.feed.start(&start).await?;
        let (listener, responses) = mpsc::channel(WATCH_QUEUE_LEN);
        tokio::spawn(self.statuses.feed.clone().watch(at, listener));
        let responses = ReceiverStream::new(responses).map(|response| {
            let Watched {
                changes,
                cursor,
                behind,
                known,
            } = response?;
            Ok(wire::WatchTierChangesResponse {
                changes: changes.into_iter().map(render).collect(),
                cursor: cursor.to_string(),
                behind,
                known_time: known.map(to_wire_time),
            })
        });
        // A feed has no end of its own; when the service drains, it ends.
        let responses = responses.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}

//! Redemptions.

use fealty_proto::rewards::v1::{self as wire, redemption_service_server::RedemptionService};
use fealty_server::{Violations, to_wire_time};
use fealty_types::{MemberId, ProgramId};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    redeem::Redemptions,
    state::{Redemption, State},
};

pub(crate) struct RedemptionApi(pub(crate) Redemptions);

fn render(by: &Redemptions, redemption: &Redemption) -> wire::Redemption {
    let state = match redemption.state {
        State::Requested => wire::RedemptionState::Requested,
        State::Held => wire::RedemptionState::Held,
        State::Issued => wire::RedemptionState::Issued,
        State::Refused => wire::RedemptionState::Refused,
        State::Released => wire::RedemptionState::Released,
    };
    let code = by.voucher_code(redemption);
    wire::Redemption {
        id: redemption.id.to_string(),
        program: redemption.program.to_string(),
        member: redemption.member.to_string(),
        reward: redemption.reward.to_string(),
        state: state.into(),
        points: redemption.points.get(),
        currency: redemption.currency.to_string(),
        voucher_code: code
            .map(|code| code.reveal().to_owned())
            .unwrap_or_default(),
        request_time: Some(to_wire_time(redemption.requested_at)),
        issue_time: redemption.issued_at.map(to_wire_time),
        reason: redemption.reason.clone().unwrap_or_default(),
    }
}

#[async_trait]
impl RedemptionService for RedemptionApi {
    async fn redeem_reward(
        &self,
        request: Request<wire::RedeemRewardRequest>,
    ) -> Result<Response<wire::RedeemRewardResponse>, Status> {
        let request = request.into_inner();
        let (request_id, program, member, reward) = Violations::gather(|violations| {
            let request_id = violations.parse("request_id", &request.request_id);
            let program = violations.parse("program", &request.program);
            let member = violations.parse("member", &request.member);
            let reward = violations.parse("reward", &request.reward);
            Some((request_id?, program?, member?, reward?))
        })?;
        let program: ProgramId = program;
        let (redemption, replayed) = self.0.redeem(&program, member, request_id, reward).await?;
        let redemption = Some(render(&self.0, &redemption));
        Ok(Response::new(wire::RedeemRewardResponse {
            redemption,
            replayed,
        }))
    }

    async fn get_redemption(
        &self,
        request: Request<wire::GetRedemptionRequest>,
    ) -> Result<Response<wire::GetRedemptionResponse>, Status> {
        let request = request.into_inner();
        let (program, member, id): (ProgramId, MemberId, Uuid) =
            Violations::gather(|violations| {
                let program = violations.parse("program", &request.program);
                let member = violations.parse("member", &request.member);
                let id = Uuid::parse_str(&request.redemption).ok();
                if id.is_none() {
                    violations.add("redemption", "must be a redemption's id, a UUID");
                }
                Some((program?, member?, id?))
            })?;
        let redemption = self.0.redemption(&program, &member, id).await?;
        let redemption = Some(render(&self.0, &redemption));
        Ok(Response::new(wire::GetRedemptionResponse { redemption }))
    }
}

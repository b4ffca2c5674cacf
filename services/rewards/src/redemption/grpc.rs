//! Redemptions.

use fealty_auth::{Caller, Role};
use fealty_proto::rewards::v1::{self as wire, redemption_service_server::RedemptionService};
use fealty_server::{Fields, caller, to_wire_time};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    redeem::{AskedFor, Redemptions},
    state::{Redemption, State},
};

pub(crate) struct RedemptionApi(pub(crate) Redemptions);

/// Roles to which a voucher's code is shown, of their own brands; others need not be
/// able to use it.
const SHOWN_TO: [Role; 4] = [Role::Member, Role::Checkout, Role::Support, Role::Service];

fn render(by: &Redemptions, caller: &Caller, redemption: &Redemption) -> wire::Redemption {
    let state = match redemption.state {
        State::Requested => wire::RedemptionState::Requested,
        State::Held => wire::RedemptionState::Held,
        State::Issued => wire::RedemptionState::Issued,
        State::Refused => wire::RedemptionState::Refused,
        State::Released => wire::RedemptionState::Released,
    };
    let may_use = caller.brand(redemption.brand.clone()).is_ok();
    let is_shown = may_use && SHOWN_TO.into_iter().any(|role| caller.is(role));
    let code = by.voucher_code(redemption).filter(|_| is_shown);
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
    async fn redeem(
        &self,
        request: Request<wire::RedeemRequest>,
    ) -> Result<Response<wire::RedeemResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let asked = Fields::read(caller, |fields| {
            let request_id = fields.parse("request_id", &request.request_id);
            let program = fields.program("program", &request.program);
            let member = fields.member("member", program.as_ref(), &request.member);
            let reward = fields.parse("reward", &request.reward);
            Some(AskedFor {
                program: program?,
                member: member?,
                request_id: request_id?,
                reward: reward?,
            })
        })?;
        let (redemption, replayed) = self.0.redeem(caller, asked).await?;
        let redemption = Some(render(&self.0, caller, &redemption));
        Ok(Response::new(wire::RedeemResponse {
            redemption,
            replayed,
        }))
    }

    async fn get_redemption(
        &self,
        request: Request<wire::GetRedemptionRequest>,
    ) -> Result<Response<wire::GetRedemptionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let (program, member, id) = Fields::read(caller, |fields| {
            let program = fields.program("program", &request.program);
            let member = fields.member("member", program.as_ref(), &request.member);
            let id = Uuid::parse_str(&request.redemption).ok();
            if id.is_none() {
                fields.add("redemption", "must be a redemption's id, a UUID");
            }
            Some((program?, member?, id?))
        })?;
        let redemption = self.0.redemption(&program, &member, id).await?;
        let redemption = Some(render(&self.0, caller, &redemption));
        Ok(Response::new(wire::GetRedemptionResponse { redemption }))
    }
}

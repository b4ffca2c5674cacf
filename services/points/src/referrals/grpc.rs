//! Referrals on the wire.

use fealty_proto::points::v1::{self as wire, referral_service_server::ReferralService};
use fealty_server::{Fields, Rejection, caller, to_wire_time};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Referrals,
    claim::{Claim, Referral},
};
use crate::{
    ledger::{
        Change,
        grpc::{Call, changes::read_change},
    },
    shard::store::referrals::ReferralState,
};

pub(crate) struct ReferralApi {
    pub(crate) referrals: Referrals,
}

#[async_trait]
impl ReferralService for ReferralApi {
    async fn get_referral_code(
        &self,
        request: Request<wire::GetReferralCodeRequest>,
    ) -> Result<Response<wire::GetReferralCodeResponse>, Status> {
        let asked = request.get_ref();
        let (program, member) = Fields::read(caller(&request)?, |fields| {
            let program = fields.program("program", &asked.program);
            let member = fields.member("member", program.as_ref(), &asked.member);
            program.zip(member)
        })?;
        let code = self.referrals.code(&program, &member)?;
        Ok(Response::new(wire::GetReferralCodeResponse { code }))
    }

    async fn claim_referral(
        &self,
        request: Request<wire::ClaimReferralRequest>,
    ) -> Result<Response<wire::ClaimReferralResponse>, Status> {
        let call = Call::of(&request, self.referrals.ids())?;
        let asked = claim(call, request.get_ref())?;
        let (answer, referral) = self.referrals.claim(asked).await?;
        Ok(Response::new(wire::ClaimReferralResponse {
            referral: Some(render(call, &referral)),
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    async fn get_referral(
        &self,
        request: Request<wire::GetReferralRequest>,
    ) -> Result<Response<wire::GetReferralResponse>, Status> {
        let call = Call::of(&request, self.referrals.ids())?;
        let asked = request.get_ref();
        let (program, member) = Fields::read(call.caller, |fields| {
            let program = fields.program("program", &asked.program);
            let member = fields.member("member", program.as_ref(), &asked.member);
            program.zip(member)
        })?;
        let referral = self.referrals.of(&program, &member).await?;
        Ok(Response::new(wire::GetReferralResponse {
            referral: Some(render(call, &referral)),
        }))
    }
}

/// A claim asked for: by a code of the programme, and not the member's own.
fn claim(call: Call<'_>, request: &wire::ClaimReferralRequest) -> Result<Change<Claim>, Rejection> {
    read_change!(call, request, |fields| {
        let code = &request.code;
        let program = request.program.parse().ok()?;
        let referrer = call.ids.referrer(&program, code);
        let referrer = fields.check("code", referrer)?;
        if referrer.as_str() == request.member {
            fields.add("code", "must be another member's");
            return None;
        }
        Some(Claim {
            code: code.clone(),
            referrer,
        })
    })
}

fn render(call: Call<'_>, referral: &Referral) -> wire::Referral {
    let state = match referral.stored.state {
        ReferralState::Waiting | ReferralState::Giving => wire::ReferralState::Waiting,
        ReferralState::Given => wire::ReferralState::Given,
        ReferralState::Void => wire::ReferralState::Void,
    };
    let due = referral.stored.due_at;
    let due = due.filter(|_| state == wire::ReferralState::Waiting);
    wire::Referral {
        member: referral.stored.member.to_string(),
        code: referral.code.clone(),
        transaction: call.ids.transaction(referral.place),
        claim_time: Some(to_wire_time(referral.claimed_at)),
        state: state.into(),
        due_time: due.map(to_wire_time),
    }
}

//! Purchases on the wire.

mod purchase;
mod render;
mod returns;

use fealty_proto::points::v1::{self as wire, earning_service_server::EarningService};
use fealty_server::Fields;
use tonic::{Request, Response, Status, async_trait};

pub(crate) use purchase::purchase;
#[cfg(test)]
pub(crate) use returns::returning;

use super::{
    budgets::budgets, preview::preview, record::record, returns::take_back, standing::standing,
};
use crate::ledger::{Ledger, grpc::Call};

pub(crate) struct EarningApi(pub(crate) Ledger);

#[async_trait]
impl EarningService for EarningApi {
    async fn record_purchase(
        &self,
        request: Request<wire::RecordPurchaseRequest>,
    ) -> Result<Response<wire::RecordPurchaseResponse>, Status> {
        let call = Call::of(&request, self.0.shards.ids())?;
        let answer = record(&self.0, purchase(call, request.get_ref())?).await?;
        Ok(Response::new(wire::RecordPurchaseResponse {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    async fn return_purchase(
        &self,
        request: Request<wire::ReturnPurchaseRequest>,
    ) -> Result<Response<wire::ReturnPurchaseResponse>, Status> {
        let call = Call::of(&request, self.0.shards.ids())?;
        let answer = take_back(&self.0, returns::returning(call, request.get_ref())?).await?;
        Ok(Response::new(wire::ReturnPurchaseResponse {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    async fn preview_purchase(
        &self,
        request: Request<wire::PreviewPurchaseRequest>,
    ) -> Result<Response<wire::PreviewPurchaseResponse>, Status> {
        let call = Call::of(&request, self.0.shards.ids())?;
        let asked = purchase::asked_about(call, request.get_ref())?;
        let (version, preview) = preview(&self.0, asked).await?;
        Ok(Response::new(render::preview(version, &preview)))
    }

    async fn list_budgets(
        &self,
        request: Request<wire::ListBudgetsRequest>,
    ) -> Result<Response<wire::ListBudgetsResponse>, Status> {
        let call = Call::of(&request, self.0.shards.ids())?;
        let asked = request.get_ref();
        let program = Fields::read(call.caller, |fields| {
            fields.program("program", &asked.program)
        })?;
        let budgets = budgets(&self.0, &program).await?;
        Ok(Response::new(render::budgets(budgets)))
    }

    async fn get_counters(
        &self,
        request: Request<wire::GetCountersRequest>,
    ) -> Result<Response<wire::GetCountersResponse>, Status> {
        let call = Call::of(&request, self.0.shards.ids())?;
        let asked = request.get_ref();
        let (program, member) = Fields::read(call.caller, |fields| {
            let program = fields.program("program", &asked.program);
            let member = fields.member("member", program.as_ref(), &asked.member);
            Some((program?, member?))
        })?;
        let (as_of, counters) = standing(&self.0, &program, &member).await?;
        Ok(Response::new(render::counters(as_of, counters)))
    }
}

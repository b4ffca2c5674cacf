//! Purchases and activities on the wire.

mod activity;
mod import;
mod purchase;
mod render;
mod returns;

use std::pin::Pin;

use fealty_proto::points::v1::{self as wire, earning_service_server::EarningService};
use fealty_server::{Fields, caller};
use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

pub(crate) use purchase::purchase;
#[cfg(test)]
pub(crate) use returns::returning;

use super::{
    budgets::budgets, import::Queues, preview::preview, record::record, returns::take_back,
    standing::standing,
};
use crate::ledger::{Ledger, grpc::Call};

/// Purchases of one stream that are in flight at once.
const IMPORT_IN_FLIGHT_MAX: usize = 2_048;

pub(crate) struct EarningApi {
    pub(crate) ledger: Ledger,
    /// Streams end with the service.
    pub(crate) shutdown: CancellationToken,
}

#[async_trait]
impl EarningService for EarningApi {
    async fn record_purchase(
        &self,
        request: Request<wire::RecordPurchaseRequest>,
    ) -> Result<Response<wire::RecordPurchaseResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let answer = record(&self.ledger, purchase(call, request.get_ref())?).await?;
        Ok(Response::new(wire::RecordPurchaseResponse {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    async fn record_activity(
        &self,
        request: Request<wire::RecordActivityRequest>,
    ) -> Result<Response<wire::RecordActivityResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let answer = record(&self.ledger, activity::activity(call, request.get_ref())?).await?;
        Ok(Response::new(wire::RecordActivityResponse {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    type ImportPurchasesStream =
        Pin<Box<dyn Stream<Item = Result<wire::ImportPurchasesResponse, Status>> + Send>>;

    async fn import_purchases(
        &self,
        request: Request<Streaming<wire::ImportPurchasesRequest>>,
    ) -> Result<Response<Self::ImportPurchasesStream>, Status> {
        let caller = caller(&request)?.clone();
        let ledger = self.ledger.clone();
        let mut queues = Queues::new();
        // The stream is read as fast as answers are taken: a slow reader holds
        // the writer back.
        let answers = request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |request| {
                let (ledger, caller) = (ledger.clone(), caller.clone());
                let asked = request.map(|request| {
                    let purchase = request.purchase.as_ref();
                    let of = purchase.map(|asked| (&*asked.program, &*asked.member));
                    let (program, member) = of.unwrap_or_default();
                    (queues.turn(program, member), request)
                });
                async move {
                    let (turn, request) = asked?;
                    import::import_one(&ledger, &caller, turn, request).await
                }
            })
            .buffer_unordered(IMPORT_IN_FLIGHT_MAX);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn return_purchase(
        &self,
        request: Request<wire::ReturnPurchaseRequest>,
    ) -> Result<Response<wire::ReturnPurchaseResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let answer = take_back(&self.ledger, returns::returning(call, request.get_ref())?).await?;
        Ok(Response::new(wire::ReturnPurchaseResponse {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }))
    }

    async fn preview_purchase(
        &self,
        request: Request<wire::PreviewPurchaseRequest>,
    ) -> Result<Response<wire::PreviewPurchaseResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let asked = purchase::asked_about(call, request.get_ref())?;
        let (version, preview) = preview(&self.ledger, asked).await?;
        Ok(Response::new(render::preview(version, &preview)))
    }

    async fn list_budgets(
        &self,
        request: Request<wire::ListBudgetsRequest>,
    ) -> Result<Response<wire::ListBudgetsResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let asked = request.get_ref();
        let program = Fields::read(call.caller, |fields| {
            fields.program("program", &asked.program)
        })?;
        let budgets = budgets(&self.ledger, &program).await?;
        Ok(Response::new(render::budgets(budgets)))
    }

    async fn get_counters(
        &self,
        request: Request<wire::GetCountersRequest>,
    ) -> Result<Response<wire::GetCountersResponse>, Status> {
        let call = Call::of(&request, self.ledger.shards.ids())?;
        let asked = request.get_ref();
        let (program, member) = Fields::read(call.caller, |fields| {
            let program = fields.program("program", &asked.program);
            let member = fields.member("member", program.as_ref(), &asked.member);
            Some((program?, member?))
        })?;
        let (as_of, counters) = standing(&self.ledger, &program, &member).await?;
        Ok(Response::new(render::counters(as_of, counters)))
    }
}

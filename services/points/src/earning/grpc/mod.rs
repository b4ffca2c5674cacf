//! Purchases on the wire.

mod purchase;

use fealty_proto::points::v1::{self as wire, earning_service_server::EarningService};
use tonic::{Request, Response, Status, async_trait};

pub(crate) use purchase::purchase;

use super::record::record;
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
}

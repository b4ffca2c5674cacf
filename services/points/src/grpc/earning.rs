//! Purchases.

use fealty_proto::points::v1::{self as wire, earning_service_server::EarningService};
use tonic::{Request, Response, Status, async_trait};

use super::{parse, render};
use crate::app::App;

pub(super) struct EarningApi(pub(super) App);

#[async_trait]
impl EarningService for EarningApi {
    async fn record_purchase(
        &self,
        request: Request<wire::RecordPurchaseRequest>,
    ) -> Result<Response<wire::RecordPurchaseResponse>, Status> {
        let (target, command) = parse::purchase(request.get_ref())?;
        let answer = self
            .0
            .submit(&target.program, target.member, target.request_id, command)
            .await?;
        Ok(Response::new(wire::RecordPurchaseResponse {
            transaction: Some(render::transaction(&answer.transaction, &answer.chain)),
            replayed: answer.replayed,
        }))
    }
}

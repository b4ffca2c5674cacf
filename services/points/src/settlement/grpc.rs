//! What brands owe each other, on the wire.

use fealty_proto::points::v1::{self as wire, settlement_service_server::SettlementService};
use fealty_server::{Fields, Rejection, caller};
use tonic::{Request, Response, Status, async_trait};

use super::positions::{Between, Position, Settlement};
use crate::audit::grpc::{log_place, page, wire_sum};

pub(crate) struct SettlementApi(pub(crate) Settlement);

fn render(between: &Between, position: &Position) -> Result<wire::BrandPosition, Rejection> {
    Ok(wire::BrandPosition {
        currency: between.currency.to_string(),
        issuer: between.issuer.to_string(),
        acceptor: between.acceptor.to_string(),
        issued: wire_sum(position.issued)?,
        taken_back: wire_sum(position.taken_back)?,
        redeemed: wire_sum(position.redeemed)?,
        restored: wire_sum(position.restored)?,
        expired: wire_sum(position.expired)?,
        adjusted: wire_sum(position.adjusted)?,
    })
}

#[async_trait]
impl SettlementService for SettlementApi {
    async fn get_positions(
        &self,
        request: Request<wire::GetPositionsRequest>,
    ) -> Result<Response<wire::GetPositionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let now = self.0.now();
        let (program, start, end, size) = Fields::read(caller, |fields| {
            let start = ("start_cursor", &*request.start_cursor);
            let start = log_place(fields, start, ("start_time", request.start_time), now);
            let end = ("end_cursor", &*request.end_cursor);
            let end = log_place(fields, end, ("end_time", request.end_time), now);
            let program = fields.program("program", &request.program);
            let size = fields.page_size("page_size", request.page_size);
            Some((program?, start?, end?, size?))
        })?;
        let own = caller.brands();
        let (positions, end) = self.0.positions(&program, &start, &end, own).await?;
        let positions = positions.iter().map(|(between, position)| {
            let Between {
                currency,
                issuer,
                acceptor,
            } = between;
            let key = format!("{currency}/{issuer}/{acceptor}");
            Ok((key, render(between, position)?))
        });
        let positions = positions.collect::<Result<_, Rejection>>()?;
        let (positions, next_page_token) = page(positions, &request.page_token, size)?;
        Ok(Response::new(wire::GetPositionsResponse {
            positions,
            end_cursor: end.to_string(),
            next_page_token,
        }))
    }
}

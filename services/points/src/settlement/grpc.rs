//! What brands owe each other, on the wire.

use fealty_proto::points::v1::{self as wire, settlement_service_server::SettlementService};
use fealty_server::{Fields, Rejection, caller};
use tonic::{Request, Response, Status, async_trait};

use super::positions::{Between, Position, Settlement};
use crate::audit::grpc::{check_cursor, wire_sum};

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
        let (start, end) = (&request.start_cursor, &request.end_cursor);
        let program = Fields::read(caller, |fields| {
            check_cursor(fields, "start_cursor", start);
            check_cursor(fields, "end_cursor", end);
            fields.program("program", &request.program)
        })?;
        let own = caller.brands();
        let (positions, end) = self.0.positions(&program, start, end, own).await?;
        let positions = positions
            .iter()
            .map(|(between, position)| render(between, position));
        Ok(Response::new(wire::GetPositionsResponse {
            positions: positions.collect::<Result<_, _>>()?,
            end_cursor: end.to_string(),
        }))
    }
}

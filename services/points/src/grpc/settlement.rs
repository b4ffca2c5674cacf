//! What brands owe each other.

use std::collections::BTreeMap;

use fealty_ledger::Account;
use fealty_proto::points::v1::{self as wire, settlement_service_server::SettlementService};
use fealty_server::Violations;
use fealty_types::{BrandId, CurrencyId, ProgramId};
use tonic::{Request, Response, Status, async_trait};

use super::audit::wire_sum;
use crate::app::App;

pub(super) struct SettlementApi(pub(super) App);

#[async_trait]
impl SettlementService for SettlementApi {
    async fn get_positions(
        &self,
        request: Request<wire::GetPositionsRequest>,
    ) -> Result<Response<wire::GetPositionsResponse>, Status> {
        let request = request.get_ref();
        let mut violations = Violations::new();
        let program = violations.parse("program", &request.program);
        for (field, cursor) in [
            ("start_cursor", &request.start_cursor),
            ("end_cursor", &request.end_cursor),
        ] {
            if cursor.len() > 8 * 1024 {
                violations.add(field, "must be a cursor as the service gave it");
            }
        }
        let program: ProgramId = violations.finish(program)?;
        let (start, end) = (&request.start_cursor, &request.end_cursor);
        let (moved, end) = self.0.movements(&program, start, end).await?;
        let mut positions: BTreeMap<(CurrencyId, BrandId, BrandId), wire::BrandPosition> =
            BTreeMap::new();
        for (key, sums) in moved.rows() {
            let Some(acceptor) = key.account.brand() else {
                continue;
            };
            let (debits, credits) = (wire_sum(sums.debits)?, wire_sum(sums.credits)?);
            if debits == 0 && credits == 0 {
                continue;
            }
            let names = (key.currency.clone(), key.issuer.clone(), acceptor.clone());
            let position = positions
                .entry(names)
                .or_insert_with(|| wire::BrandPosition {
                    currency: key.currency.to_string(),
                    issuer: key.issuer.to_string(),
                    acceptor: acceptor.to_string(),
                    ..wire::BrandPosition::default()
                });
            match &key.account {
                // Another brand's points, taken for its own.
                Account::Issued(brand) if *brand != key.issuer => {
                    position.taken_back += credits - debits;
                }
                Account::Issued(_) => position.issued += debits - credits,
                Account::Redeemed(_) => {
                    position.redeemed += credits;
                    position.restored += debits;
                }
                Account::Expired(_) => position.expired += credits - debits,
                Account::Adjusted(_) => position.adjusted += debits - credits,
                Account::Wallet(_) | Account::Gift => {}
            }
        }
        Ok(Response::new(wire::GetPositionsResponse {
            positions: positions.into_values().collect(),
            end_cursor: end.to_string(),
        }))
    }
}

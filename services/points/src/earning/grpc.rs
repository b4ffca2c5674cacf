//! Purchases on the wire.

use fealty_ledger::{Command, Purchase};
use fealty_proto::{
    points::v1::{self as wire, earning_service_server::EarningService},
    r#type::v1::Money as WireMoney,
};
use fealty_server::{Fields, Rejection};
use fealty_types::{Money, MoneyCurrency};
use tonic::{Request, Response, Status, async_trait};

use super::record::record;
use crate::ledger::{
    Change, Ledger,
    grpc::{Call, changes::read_change},
};

pub(crate) struct EarningApi(pub(crate) Ledger);

/// A purchase asked for.
pub(crate) fn purchase(
    call: Call<'_>,
    request: &wire::RecordPurchaseRequest,
) -> Result<Change, Rejection> {
    read_change!(call, request, |fields| {
        let brand = fields.brand(&request.brand);
        let order_number = fields.parse("order_number", &request.order_number);
        let amount = money(&mut fields.fields, request.amount.as_ref());
        let purchased_at = fields.optional_time("purchase_time", request.purchase_time);
        Some(Command::Purchase(Purchase {
            brand: brand?,
            order_number: order_number?,
            amount: amount?,
            purchased_at: purchased_at.ok()?,
        }))
    })
}

fn money(fields: &mut Fields<'_>, money: Option<&WireMoney>) -> Option<Money> {
    let Some(money) = money else {
        fields.add("amount", "must be set");
        return None;
    };
    let currency: Option<MoneyCurrency> =
        fields.parse("amount.currency_code", &money.currency_code);
    fields.check(
        "amount.minor_units",
        Money::new(currency?, money.minor_units),
    )
}

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

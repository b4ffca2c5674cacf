//! Purchases of a history, over a stream.

use fealty_auth::Caller;
use fealty_proto::points::v1::{self as wire, import_purchases_response::Outcome};
use fealty_server::Rejection;
use fealty_types::Ids;
use tonic::Status;

use super::purchase::past_purchase;
use crate::{
    earning::import::{Turn, record_in_turn},
    ledger::{
        Change, Ledger,
        grpc::{Call, wire::earned_points},
    },
    shard::Answer,
};

/// Records a purchase of a stream in its turn. What cannot be recorded for now ends the stream.
pub(super) async fn import_one(
    ledger: &Ledger,
    caller: &Caller,
    turn: Turn,
    request: wire::ImportPurchasesRequest,
) -> Result<wire::ImportPurchasesResponse, Status> {
    let ids = ledger.shards.ids();
    let outcome = match read(Call { caller, ids }, &request) {
        Err(rejection) => {
            turn.skip().await?;
            Outcome::Refusal(rejection.to_wire())
        }
        Ok(change) => match record_in_turn(ledger, turn, change).await {
            Ok(answer) => Outcome::Imported(imported(ids, &answer)),
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => Outcome::Refusal(Rejection::from(error).to_wire()),
        },
    };
    Ok(wire::ImportPurchasesResponse {
        sequence: request.sequence,
        outcome: Some(outcome),
    })
}

fn read(call: Call<'_>, request: &wire::ImportPurchasesRequest) -> Result<Change, Rejection> {
    let absent = wire::RecordPurchaseRequest::default();
    let asked = request.purchase.as_ref().unwrap_or(&absent);
    let change = past_purchase(call, asked, &request.tier)?;
    Ok(Change {
        only_version: request.program_version,
        ..change
    })
}

fn imported(ids: Ids, answer: &Answer) -> wire::ImportedPurchase {
    let written = &answer.transaction;
    wire::ImportedPurchase {
        transaction: ids.transaction(written.place()),
        replayed: answer.replayed,
        earned_points: earned_points(written),
    }
}

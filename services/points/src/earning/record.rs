//! Recording a purchase.

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    shard::Answer,
};

/// Records a purchase, once. An order that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, purchase: Change) -> Result<Answer, Error> {
    let (caller, program) = (purchase.caller.clone(), purchase.program.clone());
    match ledger.submit(purchase).await {
        Err(Error::OrderAlreadyRecorded {
            brand,
            order_number,
            ..
        }) => {
            let by = By::Order(brand.clone(), order_number.clone());
            let found = ledger.transaction(&caller, &program, &by).await.ok();
            let place = found.map(|found| found.place());
            Err(Error::OrderAlreadyRecorded {
                brand,
                order_number,
                transaction: place.map(|place| ledger.shards.ids().transaction(place)),
            })
        }
        done => done,
    }
}

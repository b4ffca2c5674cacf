//! Recording a purchase.

use fealty_ledger::Command;

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    shard::{Answer, order_name},
};

/// Records a purchase, once. An order that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, purchase: Change) -> Result<Answer, Error> {
    let (caller, program) = (purchase.caller.clone(), purchase.program.clone());
    let order = match (ledger.programs.newest(&program), &purchase.command) {
        (Ok(applied), Command::Purchase(purchase)) => order_name(&applied.program, purchase),
        _ => None,
    };
    match ledger.submit(purchase).await {
        Err(Error::OrderAlreadyRecorded {
            brand,
            order_number,
            ..
        }) => {
            let found = match order {
                Some(order) => {
                    let by = By::Order(order);
                    ledger.transaction(&caller, &program, &by).await.ok()
                }
                None => None,
            };
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

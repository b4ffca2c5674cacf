//! Recording a purchase, or an activity.

use fealty_ledger::Command;

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    shard::{Answer, order_name},
};

/// Records a purchase or an activity, once. One that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, change: Change) -> Result<Answer, Error> {
    let (caller, program) = (change.caller.clone(), change.program.clone());
    let by = match (ledger.programs.newest(&program), &change.command) {
        (Ok(applied), Command::Purchase(purchase)) => {
            order_name(&applied.program, purchase).map(By::Order)
        }
        (Ok(_), Command::Activity(activity)) => Some(By::Activity(activity.into())),
        _ => None,
    };
    let mut done = ledger.submit(change).await;
    if let Err(
        Error::OrderAlreadyRecorded { transaction, .. }
        | Error::ActivityAlreadyRecorded { transaction, .. },
    ) = &mut done
        && let Some(by) = by
        && let Ok(found) = ledger.transaction(&caller, &program, &by).await
    {
        *transaction = Some(ledger.shards.ids().transaction(found.place()));
    }
    done
}

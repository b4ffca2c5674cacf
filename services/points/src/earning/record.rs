//! Recording a purchase, or an activity.

use fealty_ledger::Command;
use fealty_program::ReferralStep;

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    plan::{PlanError, referral_step},
    shard::{Answer, order_name, request_key, store},
};

/// Records a purchase or an activity, once. One that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, mut change: Change) -> Result<Answer, Error> {
    let (caller, program) = (change.caller.clone(), change.program.clone());
    let applied = ledger.programs.newest(&program);
    let mut is_own_name = false;
    if let (Ok(applied), Command::Activity(activity)) = (&applied, &change.command)
        && ReferralStep::of(&activity.of_type).is_some()
    {
        let is_theirs = referral_step(&applied.program, &change.command).is_some();
        // What was recorded before the programme had referrals is answered as it was.
        if is_theirs && !was_done(ledger, &change).await? {
            return Err(Error::Plan(PlanError::Field {
                field: "activity".to_owned(),
                what: "is what referrals make: see ReferralService",
            }));
        }
        // It is the programme's own: under a version with referrals it would be theirs.
        if !is_theirs {
            change.only_version = Some(applied.version);
            is_own_name = true;
        }
    }
    let by = match (applied, &change.command) {
        (Ok(applied), Command::Purchase(purchase)) => {
            order_name(&applied.program, purchase).map(By::Order)
        }
        (Ok(_), Command::Activity(activity)) => Some(By::Activity(activity.into())),
        _ => None,
    };
    let mut done = ledger.submit(change).await;
    if is_own_name && matches!(done, Err(Error::VersionMoved { .. })) {
        return Err(Error::Unavailable);
    }
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

/// Whether the same request was done before.
async fn was_done(ledger: &Ledger, change: &Change) -> Result<bool, Error> {
    let (program, member) = (&change.program, &change.member);
    let shard = ledger.shards.of(program, member);
    let key = request_key(program, member, &change.request_id);
    let row = store::log::by_request(ledger.database.pool(), shard, key).await?;
    Ok(row.is_some())
}

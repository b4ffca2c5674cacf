//! Recording a purchase, or an activity.

use fealty_ledger::Command;
use fealty_program::{ProgramVersion, ReferralStep};

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    plan::PlanError,
    shard::{Answer, order_name, request_key, store},
};

/// Records a purchase or an activity, once. One that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, mut change: Change) -> Result<Answer, Error> {
    let (caller, program) = (change.caller.clone(), change.program.clone());
    let applied = ledger.programs.newest(&program);
    let is_own_name = match &applied {
        Ok(applied) => keep_apart(ledger, applied, &mut change).await?,
        Err(_) => false,
    };
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

/// Refuses an activity that the programme's referrals make, and nobody else. One of a programme
/// without them may have such a name: it is recorded under no other version, for under one with
/// referrals it would be theirs. Answers whether it is such a one.
async fn keep_apart(
    ledger: &Ledger,
    applied: &ProgramVersion,
    change: &mut Change,
) -> Result<bool, Error> {
    let Command::Activity(activity) = &change.command else {
        return Ok(false);
    };
    if ReferralStep::of(&activity.of_type).is_none() {
        return Ok(false);
    }
    if applied.program.referrals.is_none() {
        change.only_version = Some(applied.version);
        return Ok(true);
    }
    // What was recorded before the programme had them is answered as it was.
    if was_done(ledger, change).await? {
        return Ok(false);
    }
    Err(Error::Plan(PlanError::Field {
        field: "activity".to_owned(),
        what: "is what referrals make: see ReferralService",
    }))
}

/// Whether the same request was done before.
async fn was_done(ledger: &Ledger, change: &Change) -> Result<bool, Error> {
    let (program, member) = (&change.program, &change.member);
    let shard = ledger.shards.of(program, member);
    let key = request_key(program, member, &change.request_id);
    let row = store::log::by_request(ledger.database.pool(), shard, key).await?;
    Ok(row.is_some())
}

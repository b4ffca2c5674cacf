//! Recording a purchase, or an activity.

use fealty_ledger::Command;
use fealty_program::{ProgramVersion, ReferralStep};

use crate::{
    error::Error,
    ledger::{By, Change, Ledger},
    plan::PlanError,
    shard::{Answer, order_name},
};

/// Whether a command is an activity that the programme's referrals make, and nobody else.
fn is_made_here(applied: &ProgramVersion, command: &Command) -> bool {
    let Command::Activity(activity) = command else {
        return false;
    };
    applied.program.referrals.is_some() && ReferralStep::of(&activity.of_type).is_some()
}

/// Records a purchase or an activity, once. One that was recorded before is refused with the
/// transaction that has it, for who may read that.
pub(crate) async fn record(ledger: &Ledger, change: Change) -> Result<Answer, Error> {
    let (caller, program) = (change.caller.clone(), change.program.clone());
    let applied = ledger.programs.newest(&program);
    if let Ok(applied) = &applied
        && is_made_here(applied, &change.command)
    {
        return Err(Error::Plan(PlanError::Field {
            field: "activity".to_owned(),
            what: "is what referrals make: see ReferralService",
        }));
    }
    let by = match (applied, &change.command) {
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

//! The budgets of a programme, and how much of each is used.

use fealty_auth::InReach;
use fealty_rules::Budget;
use fealty_types::ProgramId;

use crate::{
    error::Error,
    ledger::Ledger,
    shard::{Total, store::leases, totals},
};

/// The budgets of the programme in force, with what all shards have of each.
pub(crate) async fn budgets(
    ledger: &Ledger,
    program: &InReach<ProgramId>,
) -> Result<Vec<(Budget, Total)>, Error> {
    let applied = ledger.programs.newest(program)?;
    let held = leases::of_program(ledger.database.pool(), program).await?;
    let totals = totals(&held);
    let budgets = applied.program.earning.rules.budgets().map(|budget| {
        let total = totals.get(&budget.id).copied().unwrap_or_default();
        (budget.clone(), total)
    });
    Ok(budgets.collect())
}

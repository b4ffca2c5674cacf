//! What is left of budgets, over all shards.

use std::collections::BTreeMap;

use fealty_ledger::Held;
use fealty_rules::Rules;
use fealty_types::{BudgetId, ShardId};

/// What all shards together have of a budget.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    /// Points that are leased out of the pool.
    pub(crate) leased: i64,
    /// Points that lie in leases.
    pub(crate) lying: i64,
    /// The size at which it was told that it is nearly used.
    pub(crate) warned: i64,
}

impl Total {
    /// Points that were given, less those that came back.
    pub(crate) fn used(self) -> i64 {
        self.leased.saturating_sub(self.lying)
    }

    /// What may still be given of a budget of a size.
    pub(crate) fn left(self, size: i64) -> i64 {
        size.saturating_sub(self.used()).max(0)
    }
}

/// What all shards together have of each budget.
pub(crate) fn totals(held: &[(BudgetId, ShardId, Held)]) -> BTreeMap<&BudgetId, Total> {
    let mut totals: BTreeMap<&BudgetId, Total> = BTreeMap::new();
    for (budget, _, held) in held {
        let total = totals.entry(budget).or_default();
        total.leased = total.leased.saturating_add(held.pool.leased);
        total.lying = total.lying.saturating_add(held.lease.lying);
        total.warned = total.warned.max(held.pool.warned);
    }
    totals
}

/// What may still be given of a version's budgets.
pub(crate) fn left_of(
    rules: &Rules,
    held: &[(BudgetId, ShardId, Held)],
) -> BTreeMap<BudgetId, i64> {
    let totals = totals(held);
    let budgets = rules.budgets().map(|budget| {
        let total = totals.get(&budget.id).copied().unwrap_or_default();
        (budget.id.clone(), total.left(budget.points))
    });
    budgets.collect()
}

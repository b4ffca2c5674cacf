//! Budgets as if all shards had one purse.

use std::collections::BTreeMap;

use fealty_ledger::Draw;
use fealty_program::ProgramVersion;
use fealty_types::BudgetId;

/// What all shards have of budgets.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    sizes: BTreeMap<BudgetId, i64>,
    used: BTreeMap<BudgetId, i64>,
    left: BTreeMap<BudgetId, i64>,
}

impl Pool {
    /// The budgets of a version, of which nothing is used.
    pub(super) fn of(applied: &ProgramVersion) -> Self {
        let budgets = applied.program.earning.rules.budgets();
        let sizes = budgets.map(|budget| (budget.id.clone(), budget.points));
        let sizes: BTreeMap<BudgetId, i64> = sizes.collect();
        Self {
            left: sizes.clone(),
            sizes,
            used: BTreeMap::new(),
        }
    }

    /// What is left of each.
    pub(super) fn left(&self) -> &BTreeMap<BudgetId, i64> {
        &self.left
    }

    /// Notes what they gave, or got back.
    pub(super) fn draw(&mut self, draws: &[Draw]) {
        for draw in draws {
            let used = self.used.entry(draw.budget.clone()).or_default();
            *used += draw.points;
            if let Some(size) = self.sizes.get(&draw.budget) {
                self.left.insert(draw.budget.clone(), (size - *used).max(0));
            }
        }
    }
}

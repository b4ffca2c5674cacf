//! Budgets: what is left of them for an event.

use crate::{
    outcome::Unmet,
    rule::{KeptBudget, Rule, Rules},
    slot::Slots,
};

/// What an event draws on budgets, rule by rule.
pub(crate) struct Draws<'a> {
    rules: &'a Rules,
    /// By budget: what was wanted and what was given.
    drawn: Vec<(u16, i64, i64)>,
}

impl<'a> Draws<'a> {
    pub(crate) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            drawn: Vec::new(),
        }
    }

    /// The budget of a rule, with its number.
    fn of(&self, rule: &Rule) -> Option<(u16, &'a KeptBudget)> {
        let number = rule.budget?;
        Some((number, &self.rules.budgets[usize::from(number)]))
    }

    /// What a rule gets of its budget, if it wants so many points; all of them without one.
    pub(crate) fn draw(&mut self, rule: &Rule, slots: &Slots<'_>, points: i64) -> i64 {
        let Some((number, budget)) = self.of(rule) else {
            return points;
        };
        if points == 0 {
            return 0;
        }
        let at = self.drawn.iter().position(|(known, ..)| *known == number);
        let at = at.unwrap_or_else(|| {
            self.drawn.push((number, 0, 0));
            self.drawn.len() - 1
        });
        let (_, wanted, given) = &mut self.drawn[at];
        let left = slots.get(budget.slot).before.saturating_sub(*given).max(0);
        *wanted = wanted.saturating_add(points);
        let gets = if points <= left {
            points
        } else if budget.terms.partial {
            left
        } else {
            0
        };
        *given += gets;
        gets
    }

    /// What moves: the slot of each budget, and by how much.
    pub(crate) fn moves(&self) -> impl Iterator<Item = (u16, i64)> {
        let drawn = self.drawn.iter();
        drawn.map(|(number, _, given)| (self.rules.budgets[usize::from(*number)].slot, *given))
    }

    /// The budgets that had too little.
    pub(crate) fn unmet(&self) -> Vec<Unmet> {
        let short = self
            .drawn
            .iter()
            .filter(|(_, wanted, given)| given < wanted);
        let unmet = short.map(|(number, wanted, _)| Unmet {
            slot: self.rules.budgets[usize::from(*number)].slot,
            wanted: *wanted,
        });
        unmet.collect()
    }
}

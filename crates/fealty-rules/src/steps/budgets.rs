//! Budgets: what is left of them for an event.

use crate::{
    outcome::Unmet,
    rule::{KeptBudget, Rule, Rules},
    slot::Slots,
};

/// What an event draws on budgets, rule by rule.
pub(crate) struct Draws<'a> {
    rules: &'a Rules,
    drawn: Vec<Drawn>,
}

/// What an event draws on a budget.
struct Drawn {
    budget: u16,
    wanted: i64,
    given: i64,
    /// The least that a rule wanted and did not get.
    least: Option<i64>,
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
        let at = self.drawn.iter().position(|known| known.budget == number);
        let at = at.unwrap_or_else(|| {
            self.drawn.push(Drawn {
                budget: number,
                wanted: 0,
                given: 0,
                least: None,
            });
            self.drawn.len() - 1
        });
        let drawn = &mut self.drawn[at];
        let left = slots.get(budget.slot).before;
        let left = left.saturating_sub(drawn.given).max(0);
        drawn.wanted = drawn.wanted.saturating_add(points);
        let gets = if points <= left {
            points
        } else if budget.terms.partial {
            left
        } else {
            0
        };
        drawn.given += gets;
        if gets < points {
            drawn.least = Some(drawn.least.map_or(points, |least| least.min(points)));
        }
        gets
    }

    /// What moves: the slot of each budget, and by how much.
    pub(crate) fn moves(&self) -> impl Iterator<Item = (u16, i64)> {
        let drawn = self.drawn.iter();
        drawn.map(|drawn| (self.slot(drawn), drawn.given))
    }

    /// The budgets that had too little.
    pub(crate) fn unmet(&self) -> Vec<Unmet> {
        let unmet = self.drawn.iter().filter_map(|drawn| {
            Some(Unmet {
                slot: self.slot(drawn),
                wanted: drawn.wanted,
                least: drawn.least?,
            })
        });
        unmet.collect()
    }

    fn slot(&self, drawn: &Drawn) -> u16 {
        self.rules.budgets[usize::from(drawn.budget)].slot
    }
}

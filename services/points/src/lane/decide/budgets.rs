//! Purchases that want more of a budget than their shard has leased, and what comes back.

use fealty_ledger::{Command, Request, Unmet};
use fealty_rules::Budget;
use fealty_types::Position;

use super::{Jobs, Pending};
use crate::{
    error::Error,
    lane::{
        job::Job,
        lease::{MayLease, Want},
    },
};

/// How often a purchase leaves its batch so that more of a budget is leased for it.
const LEASED_MAX: u8 = 5;

impl Jobs {
    /// Leaves a purchase to a later batch that wants more of a budget than its shard has, if
    /// there may be more.
    pub(super) fn leaves_for_more(
        &mut self,
        slot: usize,
        job: &Job,
        request: &Request,
    ) -> Option<Pending> {
        let program = &job.applied.program;
        let (mut leaves, shard) = (false, self.work.shard());
        for unmet in &request.unmet {
            let mut budgets = program.earning.rules.budgets();
            let Some(budget) = budgets.find(|budget| budget.id == unmet.budget) else {
                continue;
            };
            let may = self
                .leasing
                .may_lease(shard, &program.id, (budget, unmet.least));
            match may {
                MayLease::Yes if job.leased < LEASED_MAX => {
                    leaves = true;
                    self.want(job, (budget, unmet));
                }
                MayLease::No => {}
                // Others were quicker each time, or nothing can be leased now.
                MayLease::Yes | MayLease::Failing => {
                    return Some(Pending::Final(Err(Error::Unavailable)));
                }
            }
        }
        leaves.then(|| {
            self.parked.insert(slot);
            Pending::LeftForMore
        })
    }

    /// Notes what is wanted of a budget.
    fn want(&mut self, job: &Job, (budget, unmet): (&Budget, &Unmet)) {
        let program = &job.applied.program.id;
        let same =
            |want: &&mut Want| want.applied.program.id == *program && want.budget.id == budget.id;
        match self.wants.iter_mut().find(same) {
            Some(known) => {
                known.points = known.points.saturating_add(unmet.wanted);
                known.least = known.least.min(unmet.least);
            }
            None => self.wants.push(Want {
                applied: job.applied.clone(),
                budget: budget.clone(),
                points: unmet.wanted,
                least: unmet.least,
            }),
        }
    }

    /// Whoever was told that a budget has no more may ask again, if something came back.
    pub(super) fn note_what_came_back(&self, position: Position) {
        let Some(written) = self.work.log().at(position) else {
            return;
        };
        for draw in written.draws().iter().filter(|draw| draw.points < 0) {
            let name = (written.program.clone(), draw.budget.clone());
            self.leasing.forget(&name);
        }
    }
}

/// Whether a command may draw on budgets, or give something back to one.
pub(super) fn may_draw(job: &Job, command: &Command) -> bool {
    match command {
        Command::Purchase(_) => job.applied.program.earning.rules.budgets().next().is_some(),
        Command::Return(_) => true,
        _ => false,
    }
}

//! Purchases that want more of a budget than their shard has leased, and what comes back.

use fealty_ledger::{Command, Request, Transaction, Unmet};
use fealty_rules::Budget;
use fealty_types::ShardId;

use crate::lane::{
    job::Job,
    lease::{Leasing, MayLease, Want},
};

/// How often a purchase leaves its batch so that more of a budget is leased for it.
const LEASED_MAX: u8 = 5;

/// What comes of a purchase for the budgets it draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// It goes on: it has enough, or there is no more.
    GoesOn,
    /// It waits for a later batch, until more is leased.
    Waits,
    /// Nobody knows now whether there is more.
    Unknown,
}

/// What a batch wants of budgets.
pub(super) struct Budgets {
    leasing: Leasing,
    /// What is wanted for those that wait for a later batch.
    wants: Vec<Want>,
}

impl Budgets {
    pub(super) fn new(leasing: Leasing) -> Self {
        Self {
            leasing,
            wants: Vec::new(),
        }
    }

    /// Has a purchase wait that wants more of a budget than its shard has, if there may be more.
    pub(super) fn want_more(&mut self, shard: ShardId, job: &Job, request: &Request) -> More {
        let program = &job.applied.program;
        let mut more = More::GoesOn;
        for unmet in &request.unmet {
            let mut budgets = program.earning.rules.budgets();
            let Some(budget) = budgets.find(|budget| budget.id == unmet.budget) else {
                continue;
            };
            let wanted = (budget, unmet.least, job.leased > 0);
            match self.leasing.may_lease(shard, &program.id, wanted) {
                MayLease::Yes if job.leased < LEASED_MAX => {
                    more = More::Waits;
                    self.want(job, (budget, unmet));
                }
                MayLease::No => {}
                // Others were quicker each time, or nothing can be leased now.
                MayLease::Yes | MayLease::Failing => return More::Unknown,
            }
        }
        more
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
    pub(super) fn note_what_came_back(&self, written: Option<&Transaction>) {
        let Some(written) = written else {
            return;
        };
        for draw in written.draws().iter().filter(|draw| draw.points < 0) {
            let name = (written.program.clone(), draw.budget.clone());
            self.leasing.forget(&name);
        }
    }

    /// What is wanted of budgets in the end.
    pub(super) fn into_wants(self) -> Vec<Want> {
        self.wants
    }
}

/// Whether a command may draw on budgets, or give something back to one.
pub(super) fn may_draw(job: &Job, command: &Command) -> bool {
    match command {
        Command::Purchase(_) | Command::Activity(_) => {
            job.applied.program.earning.rules.budgets().next().is_some()
        }
        Command::Return(_) => true,
        _ => false,
    }
}

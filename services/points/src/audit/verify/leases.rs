//! What a shard has of budgets as its log makes it, and whether what budgets' homes moved is
//! what the shards of the leases received.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{
    Entry, LeaseMoved, LeaseReceived, Leases, Notice, Overdrawn, Said, Transaction,
};
use fealty_postgres::{Database, DatabaseError};
use fealty_types::{BudgetId, Position, ProgramId, ShardId, TransactionPlace};

use super::{Programs, VerifyError};
use crate::shard::{budget_home, store};

/// One side of what was moved between a budget's pool and a lease elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Side {
    /// Whose lease it is.
    shard: ShardId,
    program: ProgramId,
    received: LeaseReceived,
}

impl Side {
    /// What the home says, at a place, that the shard of the lease must say.
    fn of(program: &ProgramId, moved: &LeaseMoved, home: TransactionPlace) -> Self {
        Self {
            shard: moved.shard,
            program: program.clone(),
            received: moved.received(home),
        }
    }
}

/// What a shard has of budgets, and how it came there.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Budgets {
    leases: Leases,
    /// What the shard, as a budget's home, moved into leases of others or back.
    moved: BTreeMap<TransactionPlace, Side>,
    /// The other side of that, of homes elsewhere.
    received: BTreeMap<TransactionPlace, Side>,
}

impl Budgets {
    /// What the shard has.
    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Takes in what a notice says of a budget, of so many shards; or says what is wrong
    /// with it.
    pub(super) fn notice(
        &mut self,
        notice: &Notice,
        shards: u16,
        programs: &Programs,
    ) -> Result<(), String> {
        let at_home = |budget: &BudgetId| {
            let is_home = budget_home(&notice.program, budget, shards) == notice.shard;
            is_home.then_some(()).ok_or("the budget has another home")
        };
        match &notice.says {
            Said::LeaseMoved(moved) => {
                let applied = programs.get(&(notice.program.clone(), moved.version));
                let applied = applied.ok_or("the programme version is missing")?;
                let mut budgets = applied.program.earning.rules.budgets();
                let budget = budgets.find(|budget| budget.id == moved.budget);
                if budget.is_none_or(|budget| budget.points != moved.limit) {
                    return Err("the budget has another size".to_owned());
                }
                at_home(&moved.budget)?;
                if moved.shard != notice.shard {
                    let home = TransactionPlace {
                        shard: notice.shard,
                        position: notice.position,
                    };
                    let side = Side::of(&notice.program, moved, home);
                    self.moved.insert(home, side);
                }
            }
            Said::LeaseReceived(received) => {
                let side = Side {
                    shard: notice.shard,
                    program: notice.program.clone(),
                    received: received.clone(),
                };
                if self.received.insert(received.home, side).is_some() {
                    return Err("it was received before".to_owned());
                }
            }
            Said::BudgetWarned { budget, .. } => at_home(budget)?,
            Said::VersionBegins { .. }
            | Said::EndsWritten { .. }
            | Said::CountersBackfilled { .. } => {}
        }
        let taken = self.take_in(&Entry::Notice(notice.clone()));
        taken.map_err(|error| error.to_string())
    }

    /// Takes in what a transaction drew, or gave back.
    pub(super) fn draw(&mut self, transaction: &Transaction) -> Result<(), Overdrawn> {
        self.take_in(&Entry::Transaction(transaction.clone()))
    }

    fn take_in(&mut self, entry: &Entry) -> Result<(), Overdrawn> {
        let taken = self.leases.fold(entry);
        self.leases.settle();
        taken
    }
}

/// The sides of all shards, and how far each was looked at.
#[derive(Default)]
pub(super) struct Sides {
    moved: BTreeMap<TransactionPlace, Side>,
    received: BTreeMap<TransactionPlace, Side>,
    heads: BTreeMap<ShardId, Position>,
}

impl Sides {
    /// Adds those of a shard, which was looked at up to a head.
    pub(super) fn add(&mut self, shard: ShardId, head: Position, budgets: &Budgets) {
        self.heads.insert(shard, head);
        self.moved.extend(budgets.moved.clone());
        self.received.extend(budgets.received.clone());
    }

    /// Checks that each side has another that says the same. Shards are looked at one after
    /// the other, so what was written since then is looked for.
    pub(super) async fn check(mut self, database: &Database) -> Result<(), VerifyError> {
        for (home, side) in std::mem::take(&mut self.moved) {
            let received = self.received.remove(&home);
            let is_same = match received {
                Some(received) => received == side,
                None => self.is_received_later(database, home, &side).await?,
            };
            if !is_same {
                return Err(VerifyError::Difference {
                    shard: home.shard,
                    position: home.position,
                    what: "a lease was moved, and another one received, or none".to_owned(),
                });
            }
        }
        for (home, side) in self.received {
            let shard = side.shard;
            let looked_at = self.heads.get(&home.shard).copied();
            let is_later = looked_at.is_some_and(|head| home.position > head);
            let row = store::log::at(database.pool(), home.shard, home.position).await?;
            let entry = row.map(|row| row.entry()).transpose()?;
            let moved = match entry {
                Some(Entry::Notice(notice)) if is_later => match &notice.says {
                    Said::LeaseMoved(moved) => Some(Side::of(&notice.program, moved, home)),
                    _ => None,
                },
                _ => None,
            };
            if moved != Some(side) {
                return Err(VerifyError::Difference {
                    shard: home.shard,
                    position: home.position,
                    what: format!("shard {shard} received a lease that was not moved"),
                });
            }
        }
        Ok(())
    }

    /// Whether the other side was written after its shard was looked at.
    async fn is_received_later(
        &self,
        database: &Database,
        home: TransactionPlace,
        side: &Side,
    ) -> Result<bool, DatabaseError> {
        let Some(head) = self.heads.get(&side.shard) else {
            return Ok(false);
        };
        let notices = store::log::notices_after(database.pool(), side.shard, *head).await?;
        Ok(notices.iter().any(|notice| match &notice.says {
            Said::LeaseReceived(received) if received.home == home => {
                notice.program == side.program && *received == side.received
            }
            _ => false,
        }))
    }
}

//! Budgets in the books: a shard draws on a lease of its own, so that purchases of different
//! shards do not wait for each other. All leases come from the pool at the budget's home.
//!
//! A lease belongs to the shard, whoever works on it, and does not expire. It moves by
//! entries in the logs of both shards, written together, so what is left of a budget, and
//! who has it, follows from the logs alone.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BudgetId, ProgramId, TransactionPlace};

use crate::{Entry, LeaseMoved, LeaseReceived, Said, Transaction};

/// A budget of a programme.
pub type BudgetName = (ProgramId, BudgetId);

/// What a shard has of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lease {
    /// Points that its purchases may still be given.
    pub lying: i64,
    /// Points that they were given, less those that came back.
    pub used: i64,
    /// The version of the programme by which the budget's home has confirmed it; purchases
    /// that another one plans have nothing of it. 0 where none has.
    pub version: u32,
}

/// What the home of a budget knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pool {
    /// Points that are leased, all shards together.
    pub leased: i64,
    /// The version of the programme by which it was last leased; no earlier one leases.
    pub version: u32,
    /// The size of the budget at which it was told that it is nearly used.
    pub warned: i64,
}

/// What a shard holds of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Held {
    /// Its own lease.
    pub lease: Lease,
    /// The pool, if it is the budget's home.
    pub pool: Pool,
}

/// An entry that no shard can have written: it takes what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes more of a budget than the shard has")]
pub struct Overdrawn;

/// What a shard holds of budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Leases {
    held: BTreeMap<BudgetName, Held>,
    #[borsh(skip)]
    changed: BTreeSet<BudgetName>,
}

impl Leases {
    /// What is stored.
    #[must_use]
    pub fn stored(held: BTreeMap<BudgetName, Held>) -> Self {
        Self {
            held,
            changed: BTreeSet::new(),
        }
    }

    /// What the shard holds of a budget.
    #[must_use]
    pub fn of(&self, program: &ProgramId, budget: &BudgetId) -> Held {
        let name = (program.clone(), budget.clone());
        self.held.get(&name).copied().unwrap_or_default()
    }

    /// What purchases of the shard may be given of a budget that a version plans: what is
    /// leased by another may be more than that one has.
    #[must_use]
    pub fn usable(&self, program: &ProgramId, budget: &BudgetId, version: u32) -> i64 {
        let lease = self.of(program, budget).lease;
        if lease.version == version {
            lease.lying
        } else {
            0
        }
    }

    /// All that is held.
    pub fn iter(&self) -> impl Iterator<Item = (&BudgetName, &Held)> {
        self.held.iter()
    }

    /// What was changed since it was read.
    pub fn changed(&self) -> impl Iterator<Item = (&BudgetName, &Held)> {
        self.changed.iter().map(|name| (name, &self.held[name]))
    }

    /// Forgets what was changed.
    pub fn settle(&mut self) {
        self.changed.clear();
    }

    /// Takes in an entry of the shard's log.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), Overdrawn> {
        match entry {
            Entry::Transaction(transaction) => self.draw(transaction),
            Entry::Notice(notice) => match &notice.says {
                Said::VersionBegins { .. }
                | Said::EndsWritten { .. }
                | Said::CountersBackfilled { .. } => Ok(()),
                Said::LeaseMoved(moved) => {
                    let held = self.change(&notice.program, &moved.budget);
                    let is_own = moved.shard == notice.shard;
                    moved.apply(held, is_own)
                }
                Said::LeaseReceived(received) => {
                    let held = self.change(&notice.program, &received.budget);
                    held.lease.receive(received.points, received.version)
                }
                Said::BudgetWarned { budget, limit, .. } => {
                    self.change(&notice.program, budget).pool.warned = *limit;
                    Ok(())
                }
            },
        }
    }

    /// Takes in what a purchase was given, or what came back of one.
    fn draw(&mut self, transaction: &Transaction) -> Result<(), Overdrawn> {
        for draw in transaction.draws() {
            let lease = &mut self.change(&transaction.program, &draw.budget).lease;
            lease.lying = lease.lying.checked_sub(draw.points).ok_or(Overdrawn)?;
            lease.used = lease.used.checked_add(draw.points).ok_or(Overdrawn)?;
            if lease.lying < 0 || lease.used < 0 {
                return Err(Overdrawn);
            }
        }
        Ok(())
    }

    fn change(&mut self, program: &ProgramId, budget: &BudgetId) -> &mut Held {
        let name = (program.clone(), budget.clone());
        self.changed.insert(name.clone());
        self.held.entry(name).or_default()
    }
}

impl Lease {
    fn receive(&mut self, points: i64, version: u32) -> Result<(), Overdrawn> {
        self.lying = self.lying.checked_add(points).ok_or(Overdrawn)?;
        self.version = version;
        if self.lying < 0 {
            Err(Overdrawn)
        } else {
            Ok(())
        }
    }
}

impl LeaseMoved {
    /// Moves points between the pool and a lease; the lease is the home's own, if that is
    /// whose it is. A lease is confirmed, or grows, only where no more is leased than there
    /// is.
    fn apply(&self, held: &mut Held, is_own: bool) -> Result<(), Overdrawn> {
        let pool = &mut held.pool;
        pool.leased = pool.leased.checked_add(self.points).ok_or(Overdrawn)?;
        let too_much = pool.leased > self.limit && (self.confirms || self.points > 0);
        if pool.leased < 0 || too_much || self.version < pool.version {
            return Err(Overdrawn);
        }
        pool.version = self.version;
        if is_own {
            held.lease.receive(self.points, self.confirmed_by())?;
        }
        Ok(())
    }

    /// The version that confirms the lease; 0 where none does.
    fn confirmed_by(&self) -> u32 {
        if self.confirms { self.version } else { 0 }
    }

    /// What the shard whose lease it is says of it, if that is not the home; this stands
    /// at `home`.
    #[must_use]
    pub fn received(&self, home: TransactionPlace) -> LeaseReceived {
        LeaseReceived {
            budget: self.budget.clone(),
            points: self.points,
            version: self.confirmed_by(),
            home,
        }
    }
}

//! What passes between shards while they are played: budgets, and what one member gives another.

use std::collections::BTreeMap;

use fealty_ledger::Received;
use fealty_program::ProgramVersion;
use fealty_types::TransactionPlace;

use super::budgets::Pool;

/// What passes between shards.
#[derive(Debug)]
pub(super) struct Between {
    pub(super) budgets: Pool,
    /// What was given, by where it was recorded; nothing where there was nothing to give.
    pub(super) gifts: BTreeMap<TransactionPlace, Option<Received>>,
}

impl Between {
    /// Before the first entry; by the budgets of a version.
    pub(super) fn of(version: &ProgramVersion) -> Self {
        Self {
            budgets: Pool::of(version),
            gifts: BTreeMap::new(),
        }
    }
}

//! What shards have of budgets.

use std::{collections::BTreeMap, time::Duration};

use fealty_ledger::{BudgetName, Held, Lease, Leases, Pool};
use fealty_postgres::{DatabaseError, StoredRow};
use fealty_types::{BudgetId, ProgramId, ShardId};
use sqlx::PgExecutor;

use super::{rows::LeaseRow, stored};

/// What a shard has of all budgets.
pub(crate) async fn of_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Leases, DatabaseError> {
    let rows = sqlx::query_as!(
        LeaseRow,
        "-- points.leases.of_shard
        SELECT program, budget, lying, used, confirmed, leased, version, warned
        FROM leases WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    let held: Result<BTreeMap<BudgetName, Held>, DatabaseError> =
        rows.into_iter().map(LeaseRow::into_held).collect();
    Ok(Leases::stored(held?))
}

/// What all shards have of a programme's budgets.
pub(crate) async fn of_program(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Vec<(BudgetId, ShardId, Held)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.leases.of_program
        SELECT budget, shard, lying, used, confirmed, leased, version, warned
        FROM leases WHERE program = $1",
        program.as_str(),
    )
    .fetch_all(executor)
    .await?;
    let held = rows.into_iter().map(|row| {
        let key = StoredRow::of("leases", format!("{program} {} {}", row.budget, row.shard));
        let shard = key.check("shard", u8::try_from(row.shard).ok())?;
        let row = LeaseRow {
            program: program.to_string(),
            budget: row.budget,
            lying: row.lying,
            used: row.used,
            confirmed: row.confirmed,
            leased: row.leased,
            version: row.version,
            warned: row.warned,
        };
        let ((_, budget), held) = row.into_held()?;
        Ok((budget, ShardId::new(shard), held))
    });
    held.collect()
}

/// Has the transaction wait for no lock for longer than this.
pub(crate) async fn wait_no_longer(
    executor: impl PgExecutor<'_>,
    than: Duration,
) -> Result<(), DatabaseError> {
    let millis = format!("{}ms", than.as_millis());
    sqlx::query!(
        "-- points.leases.wait_no_longer
        SELECT set_config('lock_timeout', $1, true)",
        millis,
    )
    .fetch_one(executor)
    .await?;
    Ok(())
}

impl LeaseRow {
    /// What a shard has of a budget.
    #[must_use]
    pub(crate) fn new((program, budget): &BudgetName, held: &Held) -> Self {
        let Held { lease, pool } = *held;
        Self {
            program: program.to_string(),
            budget: budget.to_string(),
            lying: lease.lying,
            used: lease.used,
            confirmed: i32::try_from(lease.version).unwrap_or(i32::MAX),
            leased: pool.leased,
            version: i32::try_from(pool.version).unwrap_or(i32::MAX),
            warned: pool.warned,
        }
    }

    fn into_held(self) -> Result<(BudgetName, Held), DatabaseError> {
        let key = StoredRow::of("leases", format!("{} {}", self.program, self.budget));
        let program = key.check("program", self.program.parse().ok())?;
        let budget = key.check("budget", self.budget.parse().ok())?;
        let version = key.check("version", u32::try_from(self.version).ok())?;
        let confirmed = key.check("confirmed", u32::try_from(self.confirmed).ok())?;
        let held = Held {
            lease: Lease {
                lying: self.lying,
                used: self.used,
                version: confirmed,
            },
            pool: Pool {
                leased: self.leased,
                version,
                warned: self.warned,
            },
        };
        Ok(((program, budget), held))
    }
}

//! The service's own log: changes of tier.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId};
use sqlx::PgExecutor;

use crate::domain::{Change, Reason, Status};

/// A change of a member's tier.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Its place in the log.
    pub(crate) position: i64,
    /// The programme.
    pub(crate) program: ProgramId,
    /// The member.
    pub(crate) member: MemberId,
    /// What changed.
    pub(crate) change: Change,
    /// The points transaction that brought it about; empty where none did.
    pub(crate) transaction: String,
}

/// Locks the log until the transaction ends, and reads its last position.
pub(crate) async fn lock_head(connection: &mut PgConnection) -> Result<i64, DatabaseError> {
    let position =
        sqlx::query_scalar!("-- tiers.changes.lock_head\nSELECT position FROM log_head FOR UPDATE")
            .fetch_one(connection)
            .await?;
    Ok(position)
}

/// Reads the log's last position.
pub(crate) async fn head(executor: impl PgExecutor<'_>) -> Result<i64, DatabaseError> {
    let position = sqlx::query_scalar!("-- tiers.changes.head\nSELECT position FROM log_head")
        .fetch_one(executor)
        .await?;
    Ok(position)
}

/// Adds changes to the locked log.
pub(crate) async fn append(
    connection: &mut PgConnection,
    rows: &[Logged],
) -> Result<(), DatabaseError> {
    let Some(last) = rows.last() else {
        return Ok(());
    };
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let programs: Vec<String> = rows.iter().map(|row| row.program.to_string()).collect();
    let members: Vec<String> = rows.iter().map(|row| row.member.to_string()).collect();
    let previous: Vec<String> = rows
        .iter()
        .map(|row| row.change.previous.to_string())
        .collect();
    let tiers: Vec<String> = rows
        .iter()
        .map(|row| row.change.status.tier.to_string())
        .collect();
    let effective: Vec<Option<PgTime>> = rows
        .iter()
        .map(|row| row.change.status.since.map(to_pg))
        .collect();
    let evaluate: Vec<Option<PgTime>> = rows
        .iter()
        .map(|row| row.change.status.evaluate_at.map(to_pg))
        .collect();
    let reasons: Vec<i16> = rows
        .iter()
        .map(|row| row.change.status.reason.code())
        .collect();
    let transactions: Vec<String> = rows.iter().map(|row| row.transaction.clone()).collect();
    sqlx::query!(
        "-- tiers.changes.append
        INSERT INTO tier_changes (position, program, member, previous_tier, tier, effective_at,
                                  evaluate_at, reason, transaction)
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[],
            $6::timestamptz[], $7::timestamptz[], $8::smallint[], $9::text[])",
        &positions,
        &programs,
        &members,
        &previous,
        &tiers,
        &effective as &[Option<PgTime>],
        &evaluate as &[Option<PgTime>],
        &reasons,
        &transactions,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- tiers.changes.append: head\nUPDATE log_head SET position = $1",
        last.position
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the log on from `after`.
pub(crate) async fn read(
    executor: impl PgExecutor<'_>,
    after: i64,
    limit: i64,
) -> Result<Vec<Logged>, DatabaseError> {
    let rows = sqlx::query!(
        "-- tiers.changes.read
        SELECT position, program, member, previous_tier, tier, effective_at, evaluate_at, reason,
               transaction
        FROM tier_changes WHERE position > $1 ORDER BY position LIMIT $2",
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let stored = StoredRow::of("tier_changes", row.position);
            let status = Status {
                tier: stored.parse("tier", &row.tier)?,
                since: Some(from_pg(row.effective_at)),
                evaluate_at: row.evaluate_at.map(from_pg),
                reason: stored.check("reason", Reason::from_code(row.reason))?,
            };
            Ok(Logged {
                position: row.position,
                program: stored.parse("program", &row.program)?,
                member: stored.parse("member", &row.member)?,
                change: Change {
                    previous: stored.parse("previous_tier", &row.previous_tier)?,
                    status,
                },
                transaction: row.transaction,
            })
        })
        .collect()
}

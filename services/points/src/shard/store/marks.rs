//! Marks: the accounts' totals as they were at earlier positions.

use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{Position, ShardId};

use super::stored;

/// Marks the accounts of a shard at its head, in the batch's transaction.
pub(crate) async fn mark(
    connection: &mut PgConnection,
    shard: ShardId,
    head: Position,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.marks.mark: the accounts that changed
        INSERT INTO account_marks (shard, program, currency, kind, brand, issuer, position,
                                   debits, credits)
        SELECT shard, program, currency, kind, brand, issuer, $2, debits, credits FROM accounts
        WHERE shard = $1
          AND position > (SELECT coalesce(max(position), 0) FROM marks WHERE shard = $1)",
        stored(shard),
        head.get(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- points.marks.mark: the position\nINSERT INTO marks (shard, position) VALUES ($1, $2)",
        stored(shard),
        head.get(),
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}
